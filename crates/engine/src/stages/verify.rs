//! Verify: reads the destination back in a new transaction, hashes, compares with what the copy committed; where
//! told to, hashes the source again past a fresh position, to prove that nothing wrote during the pause.

use handover_canonical::Digest;
use handover_fault::point;
use handover_tracking::{Claim, OpenAttempt, OpenState};

use super::{Outcomes, by_migration, by_plan, splitting, standing};
use crate::bound::Bound;
use crate::bundle::Hashes;
use crate::{Engine, Error, Job, Outcome, StageName, Step, compare, position, reason, scan};

/// The verify stage.
pub struct Verify(pub Engine);

impl Step for Verify {
    fn stage(&self) -> StageName {
        StageName::Verify
    }

    async fn capacity(&self, want: usize) -> Result<usize, Error> {
        Ok(want)
    }

    async fn run(&self, jobs: &[Job]) -> Vec<Outcome> {
        by_migration(&self.0, jobs, |migration, id, claims| stage(&self.0, migration, id, claims)).await
    }

    async fn give_up(&self, job: &Job, reason: &str) -> Result<(), Error> {
        self.0.give_up(StageName::Verify, job, reason).await
    }
}

async fn stage(engine: &Engine, migration: String, id: i32, claims: Vec<Claim>) -> Result<Outcomes, Error> {
    let mut outcomes = Outcomes::new();
    let verifying = standing(engine, id, &claims, OpenState::Verifying).await?;
    for (bound, attempts) in by_plan(engine, "verify", &migration, verifying, &mut outcomes).await {
        let work = |bundle| verify(engine, &bound, bundle);
        splitting(engine, "verify", &bound, attempts, &mut outcomes, work).await;
    }
    Ok(outcomes)
}

async fn verify(
    engine: &Engine,
    bound: &Bound,
    attempts: Vec<OpenAttempt>,
) -> Result<Vec<(Claim, Outcome)>, Error> {
    let bundle = engine.bundle(bound, &attempts)?;
    let written = scan::destination(&engine.destination, &bundle).await?;
    point("verify.read_back").await?;
    let again = if engine.options.recheck_source {
        Some(scan::source(engine, &bundle, &position::take(&engine.primary).await?).await?)
    } else {
        None
    };
    metrics::counter!("handover_digests_compared_total").increment(bundle.len() as u64);
    point("verify.compared").await?;
    let (mut equal, mut outcomes) = (Vec::new(), Vec::new());
    for (nth, attempt) in attempts.iter().enumerate() {
        match fault(bound, attempt, nth, &written, again.as_ref()) {
            None => equal.push(attempt.claim()),
            Some(fault) => outcomes.push((attempt.claim(), unequal(engine, bound, attempt, fault).await)),
        }
    }
    let verified = engine.tracking.verified(bound.migration_id, &equal).await?;
    point("verify.committed").await?;
    outcomes.extend(verified.into_iter().map(|claim| (claim, Outcome::Advance(StageName::Complete))));
    Ok(outcomes)
}

/// What is wrong with a user, and what was read back instead.
struct Fault {
    kind: &'static str,
    what: String,
    observed: Digest,
}

fn fault(
    bound: &Bound,
    attempt: &OpenAttempt,
    nth: usize,
    written: &Hashes,
    again: Option<&Hashes>,
) -> Option<Fault> {
    let observed = written.digest(bound, nth);
    let copied = attempt.digest.as_deref();
    if copied != Some(observed.as_bytes().as_slice()) {
        let what = "the destination, read back, is not what was copied".to_owned();
        return Some(Fault { kind: "mismatch", what, observed });
    }
    if let Some(column) = written.spoilt(nth) {
        let what = format!("the derived column {column} is not what its row makes of it");
        return Some(Fault { kind: "derived", what, observed });
    }
    let changed = again.is_some_and(|again| copied != Some(again.digest(bound, nth).as_bytes().as_slice()));
    let what = || "the source changed while the user was paused".to_owned();
    changed.then(|| Fault { kind: "source_changed", what: what(), observed })
}

/// Reports which rows and fields differ, and takes the attempt back.
async fn unequal(engine: &Engine, bound: &Bound, attempt: &OpenAttempt, fault: Fault) -> Outcome {
    metrics::counter!("handover_digest_mismatches_total").increment(1);
    let reason = match differences(engine, bound, attempt).await {
        Ok(report) => {
            let message = format!("{}: {}", fault.what, report.summary());
            reason::of_report("verify", fault.kind, &message, &report)
        }
        // The report is a help, not the proof: without it the attempt is taken back all the same.
        Err(error) => reason::of_text("verify", fault.kind, &format!("{} (no report: {error})", fault.what)),
    };
    engine.fail(bound.plan.name(), attempt, &reason, Some(&fault.observed)).await
}

/// The rows of one user that differ between source and destination now.
pub(crate) async fn differences(
    engine: &Engine,
    bound: &Bound,
    attempt: &OpenAttempt,
) -> Result<compare::Report, Error> {
    let attempts = std::slice::from_ref(attempt);
    let bundle = engine.bundle(bound, attempts)?;
    let (mut replica, mut destination) = (engine.replica.get().await?, engine.destination.get().await?);
    let report = async {
        let source = scan::snapshot(&mut replica).await?;
        let target = scan::snapshot(&mut destination).await?;
        compare::report(&source, &target, &bundle).await
    }
    .await;
    if report.is_err() {
        replica.discard();
        destination.discard();
    }
    report
}
