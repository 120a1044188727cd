//! Names of all metrics, and what is counted when. `docs/operations.md` has the same table; a test compares.
//!
//! Labels are stages, outcomes and other closed lists, never users, migrations' keys or error texts.

use std::time::Duration;

use handover_queue::Depth;
use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use handover_engine::StageName;

/// A metric's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Counter,
    Gauge,
    Histogram,
}

/// A metric: name, type, labels, help.
pub(crate) type Described = (&'static str, Type, &'static str, &'static str);

const JOBS: &str = "handover_jobs_total";
const BATCH_SECONDS: &str = "handover_batch_seconds";
const BATCH_JOBS: &str = "handover_batch_jobs";
const HELD: &str = "handover_jobs_held";
const QUEUE_JOBS: &str = "handover_queue_jobs";
const QUEUE_OLDEST: &str = "handover_queue_oldest_seconds";
const RECOVERED: &str = "handover_jobs_recovered_total";
const LOST: &str = "handover_leases_lost_total";
const UNSETTLED: &str = "handover_jobs_unsettled_total";
const PANICS: &str = "handover_panics_total";
const TROUBLE: &str = "handover_call_failures_total";
const REBUILDS: &str = "handover_redis_rebuilds_total";
const TRIPPED: &str = "handover_breakers_tripped_total";
const LEADER: &str = "handover_leader";
const DUTY_SECONDS: &str = "handover_duty_seconds";
const DUTY_FAILURES: &str = "handover_duty_failures_total";
const USERS: &str = "handover_users";
const PAUSED: &str = "handover_users_paused";
const UNMIRRORED: &str = "handover_identity_unmirrored";
const REBUILT_MIRROR: &str = "handover_mirror_rebuilds_total";
const ROWS: &str = "handover_rows_total";
const BYTES: &str = "handover_bytes_total";
const PAUSE_SECONDS: &str = "handover_pause_seconds";
const FAILURES: &str = "handover_failures_total";
const SPLITS: &str = "handover_bundle_splits_total";
const ROWS_LEFT: &str = "handover_rows_left_total";
const DIGESTS: &str = "handover_digests_compared_total";
const MISMATCHES: &str = "handover_digest_mismatches_total";
const MIRROR_FAILURES: &str = "handover_identity_mirror_failures_total";

const FENCE_GIVEN_UP: &str = "handover_fence_given_up_total";
const FENCE_MENDED: &str = "handover_fence_mended_total";
const CARRIED_BACK: &str = "handover_carried_back_total";
const DRAIN_SECONDS: &str = "handover_drain_seconds";
const DRAIN_GATES: &str = "handover_drain_gates_total";
const LOOK_UPS: &str = "handover_identity_look_ups_total";
const REQUESTS: &str = "handover_identity_requests_total";
const REQUEST_SECONDS: &str = "handover_identity_request_seconds";

/// Every metric of every process.
pub(crate) const ALL: &[Described] = &[
    (JOBS, Type::Counter, "stage, outcome", "jobs by how they ended"),
    (BATCH_SECONDS, Type::Histogram, "stage", "time that a stage's step took for one batch"),
    (BATCH_JOBS, Type::Histogram, "stage", "jobs in one batch"),
    (HELD, Type::Gauge, "stage", "jobs that this process holds"),
    (
        QUEUE_JOBS,
        Type::Gauge,
        "stage, state",
        "jobs of a stage that wait, are held, wait for a retry, or are dead",
    ),
    (QUEUE_OLDEST, Type::Gauge, "stage", "age of the job that is claimed next"),
    (RECOVERED, Type::Counter, "stage, fate", "jobs taken back from vanished workers"),
    (LOST, Type::Counter, "stage", "jobs that were settled after their lease was lost"),
    (UNSETTLED, Type::Counter, "stage", "jobs that could not be settled and were left to recovery"),
    (PANICS, Type::Counter, "stage", "batches whose step panicked"),
    (TROUBLE, Type::Counter, "stage, call", "failed calls of the queue, or of the stage's capacity"),
    (REBUILDS, Type::Counter, "stage", "connections to Redis that the watchdog rebuilt"),
    (TRIPPED, Type::Counter, "", "cohorts that the circuit breaker held"),
    (LEADER, Type::Gauge, "", "1 where this reconciler leads"),
    (DUTY_SECONDS, Type::Histogram, "duty", "time that one round of a reconciler's duty took"),
    (DUTY_FAILURES, Type::Counter, "duty", "rounds of a duty that failed"),
    (USERS, Type::Gauge, "cohort, migration, state", "users by state, sampled by the leading reconciler"),
    (PAUSED, Type::Gauge, "", "users paused now, over all cohorts"),
    (UNMIRRORED, Type::Gauge, "", "batches of Identity's changes that the mirror does not have yet"),
    (REBUILT_MIRROR, Type::Counter, "", "times that the mirror was rebuilt from Identity's truth"),
    (
        ROWS,
        Type::Counter,
        "side",
        "rows read from the source, written to the destination, and read back there",
    ),
    (BYTES, Type::Counter, "side", "bytes of those rows"),
    (PAUSE_SECONDS, Type::Histogram, "", "time that a user was paused"),
    (FAILURES, Type::Counter, "kind", "attempts that were taken back, by the kind of reason"),
    (SPLITS, Type::Counter, "stage", "bundles that one user's data made fail, and that were split"),
    (ROWS_LEFT, Type::Counter, "", "users back on legacy whose rows could not be removed at the destination"),
    (DIGESTS, Type::Counter, "", "users whose digests were compared"),
    (MISMATCHES, Type::Counter, "", "users whose digests differed"),
    (MIRROR_FAILURES, Type::Counter, "", "changes of Identity that the mirror was told later, by the outbox"),
    (
        FENCE_GIVEN_UP,
        Type::Counter,
        "side",
        "attempts that were given up since transactions in flight did not end in time",
    ),
    (FENCE_MENDED, Type::Counter, "what", "fences that the reconciler put back, settled or lifted"),
    (CARRIED_BACK, Type::Counter, "", "users whose changes were carried back to legacy"),
    (DRAIN_SECONDS, Type::Histogram, "", "time that a drain took"),
    (DRAIN_GATES, Type::Counter, "outcome", "gates that drains waited for, by how each wait ended"),
    (LOOK_UPS, Type::Counter, "source", "users looked up at Identity's service, by what answered"),
    (REQUESTS, Type::Counter, "path, status", "requests to Identity's service"),
    (REQUEST_SECONDS, Type::Histogram, "path", "time that a request to Identity's service took"),
];

const SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0];
const PAUSES: &[f64] =
    &[0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 120.0];
const ANSWERS: &[f64] = &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
const COUNTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1000.0];

/// Starts recording. Histograms get buckets: without them they are summaries, which cannot be added up
/// over processes. Call `run_upkeep` of the handle from time to time.
pub(crate) fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(PAUSE_SECONDS.to_owned()), PAUSES)?
        .set_buckets_for_metric(Matcher::Full(BATCH_JOBS.to_owned()), COUNTS)?
        .set_buckets_for_metric(Matcher::Full(BATCH_SECONDS.to_owned()), SECONDS)?
        .set_buckets_for_metric(Matcher::Full(DUTY_SECONDS.to_owned()), SECONDS)?
        .set_buckets_for_metric(Matcher::Full(DRAIN_SECONDS.to_owned()), PAUSES)?
        .set_buckets_for_metric(Matcher::Full(REQUEST_SECONDS.to_owned()), ANSWERS)?
        .install_recorder()?;
    describe();
    Ok(handle)
}

fn describe() {
    for (name, kind, _, help) in ALL {
        match kind {
            Type::Counter => metrics::describe_counter!(*name, *help),
            Type::Gauge => metrics::describe_gauge!(*name, *help),
            Type::Histogram => metrics::describe_histogram!(*name, *help),
        }
    }
}

pub(crate) fn outcomes(stage: StageName, outcome: &'static str, jobs: usize) {
    if jobs > 0 {
        counter!(JOBS, "stage" => stage.as_str(), "outcome" => outcome).increment(jobs as u64);
    }
}

pub(crate) fn claimed(stage: StageName, jobs: usize, garbled: usize) {
    outcomes(stage, "claimed", jobs);
    outcomes(stage, "garbled", garbled);
}

pub(crate) fn batch(stage: StageName, jobs: usize, took: Duration) {
    histogram!(BATCH_SECONDS, "stage" => stage.as_str()).record(took.as_secs_f64());
    histogram!(BATCH_JOBS, "stage" => stage.as_str()).record(jobs as f64);
}

pub(crate) fn held(stage: StageName, jobs: usize) {
    gauge!(HELD, "stage" => stage.as_str()).set(jobs as f64);
}

pub(crate) fn depth(stage: &'static str, depth: Depth) {
    let states = [
        ("waiting", depth.waiting),
        ("held", depth.inflight),
        ("delayed", depth.delayed),
        ("dead", depth.dead),
    ];
    for (state, jobs) in states {
        gauge!(QUEUE_JOBS, "stage" => stage, "state" => state).set(jobs as f64);
    }
    let oldest = depth.oldest_age_ms.unwrap_or_default();
    gauge!(QUEUE_OLDEST, "stage" => stage).set(oldest as f64 / 1000.0);
}

pub(crate) fn recovered(stage: &'static str, requeued: usize, poisoned: usize) {
    for (fate, jobs) in [("requeued", requeued), ("poisoned", poisoned)] {
        if jobs > 0 {
            counter!(RECOVERED, "stage" => stage, "fate" => fate).increment(jobs as u64);
        }
    }
}

pub(crate) fn lost(stage: StageName, jobs: usize) {
    if jobs > 0 {
        counter!(LOST, "stage" => stage.as_str()).increment(jobs as u64);
    }
}

pub(crate) fn unsettled(stage: StageName, jobs: usize) {
    counter!(UNSETTLED, "stage" => stage.as_str()).increment(jobs as u64);
}

pub(crate) fn panicked(stage: StageName) {
    counter!(PANICS, "stage" => stage.as_str()).increment(1);
}

pub(crate) fn trouble(stage: StageName, call: &'static str) {
    counter!(TROUBLE, "stage" => stage.as_str(), "call" => call).increment(1);
}

pub(crate) fn rebuilt(stage: StageName) {
    counter!(REBUILDS, "stage" => stage.as_str()).increment(1);
}

pub(crate) fn tripped() {
    counter!(TRIPPED).increment(1);
}

pub(crate) fn leads(leads: bool) {
    gauge!(LEADER).set(if leads { 1.0 } else { 0.0 });
}

pub(crate) fn duty(duty: &'static str, took: Duration, failed: bool) {
    histogram!(DUTY_SECONDS, "duty" => duty).record(took.as_secs_f64());
    if failed {
        counter!(DUTY_FAILURES, "duty" => duty).increment(1);
    }
}

pub(crate) fn users(cohort: &str, migration: &str, state: &'static str, users: i64) {
    let labels =
        [("cohort", cohort.to_owned()), ("migration", migration.to_owned()), ("state", state.to_owned())];
    gauge!(USERS, &labels).set(users as f64);
}

pub(crate) fn paused(users: i64) {
    gauge!(PAUSED).set(users as f64);
}

pub(crate) fn unmirrored(batches: u64) {
    gauge!(UNMIRRORED).set(batches as f64);
}

pub(crate) fn mirror_rebuilt() {
    counter!(REBUILT_MIRROR).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = include_str!("../../../docs/operations.md");

    #[test]
    fn the_documentation_lists_every_metric_with_its_labels() {
        for (name, kind, labels, _) in ALL {
            let row = TABLE.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
            let row = row.unwrap_or_else(|| panic!("{name} is missing"));
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            assert_eq!(cells[2], format!("{kind:?}").to_lowercase(), "{name}");
            let documented: Vec<&str> = cells[3].split(", ").filter(|label| !label.is_empty()).collect();
            let ours: Vec<String> = labels
                .split(", ")
                .filter(|label| !label.is_empty())
                .map(|label| format!("`{label}`"))
                .collect();
            assert_eq!(documented, ours, "{name}");
        }
    }

    #[test]
    fn the_documentation_lists_no_metric_that_is_not_there() {
        let rows = TABLE.lines().filter_map(|line| line.strip_prefix("| `handover_"));
        for row in rows {
            let name = format!("handover_{}", row.split('`').next().unwrap());
            assert!(ALL.iter().any(|(known, ..)| *known == name), "{name}");
        }
    }

    #[test]
    fn histograms_are_rendered_with_buckets_and_help() {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Full(BATCH_SECONDS.to_owned()), SECONDS)
            .unwrap()
            .build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            describe();
            batch(StageName::Copy, 3, Duration::from_millis(30));
        });
        let text = handle.render();
        assert!(text.contains(r#"handover_batch_seconds_bucket{stage="copy",le="0.05"} 1"#), "{text}");
        assert!(text.contains("# HELP handover_batch_seconds"), "{text}");
    }
}
