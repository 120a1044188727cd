//! Gauges of what no single worker knows: depths of all queues, users by state, Identity's outbox.

use handover_engine::StageName;

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
        for (state, users) in status.users.by_state() {
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
