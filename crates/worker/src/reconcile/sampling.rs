//! Gauges of what no single worker knows: depths of all queues, users by state, Identity's outbox.

use handover_engine::StageName;
use handover_tracking::StatusCounts;

use super::Context;
use crate::{metric, upkeep};

/// Samples each stage's queue.
pub(super) async fn queues(context: &Context) -> anyhow::Result<()> {
    let queues = context.line.queues();
    for stage in StageName::ALL {
        upkeep::sample(&queues, stage.as_str()).await?;
    }
    Ok(())
}

/// Samples users by cohort and state.
pub(super) async fn users(context: &Context) -> anyhow::Result<()> {
    let tracking = &context.engine.tracking;
    let mut paused = 0;
    for cohort in tracking.cohorts().await? {
        let status = tracking.status(&cohort).await?;
        paused += status.users.paused();
        for (state, users) in by_state(&status.users) {
            metric::users(&status.cohort, &status.migration, state, users);
        }
    }
    metric::paused(paused);
    Ok(())
}

/// Samples what the mirror was not told yet.
pub(super) async fn outbox(context: &Context) -> anyhow::Result<()> {
    metric::unmirrored(context.engine.identity.truth().outbox().await?.rows);
    Ok(())
}

/// The counts with the states' words, as the command line and tracking spell them.
fn by_state(users: &StatusCounts) -> [(&'static str, i64); 12] {
    [
        ("not_started", users.not_started),
        ("queued", users.queued),
        ("pausing", users.pausing),
        ("copying", users.copying),
        ("verifying", users.verifying),
        ("completing", users.completing),
        ("completed", users.completed),
        ("failing", users.failing),
        ("failed", users.failed),
        ("rolling_back", users.rolling_back),
        ("rolled_back", users.rolled_back),
        ("skipped", users.skipped),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_that_makes_up_the_total_is_sampled() {
        let users =
            StatusCounts { not_started: 1, queued: 2, completing: 3, skipped: 4, ..StatusCounts::default() };
        assert_eq!(by_state(&users).iter().map(|(_, count)| count).sum::<i64>(), users.total());
        let json = serde_json::to_value(users).unwrap();
        for (state, count) in by_state(&users) {
            assert_eq!(json[state], count, "{state}");
        }
    }
}
