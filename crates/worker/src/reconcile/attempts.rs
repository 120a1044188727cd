//! Attempts and their jobs: what tracking says should be queued is queued, and no pause outlasts its bound.

use handover_tracking::Kind;

use super::Context;

/// A draw as large as this means that more may wait: the next one follows at once.
const LARGE_DRAW: usize = 500;

/// Fills the windows of the pause and rollback queues, drawn in turn from the launched cohorts.
pub(super) async fn fill_windows(context: &Context) -> anyhow::Result<()> {
    let producer = context.producer();
    let window = context.settings.pause.window as usize;
    // Rollbacks first: they are ordered by a person, and few.
    for kind in [Kind::Rollback, Kind::Move] {
        while producer.fill(kind, window).await? >= LARGE_DRAW {}
    }
    Ok(())
}

/// Queues jobs again that should be queued and are in no queue: Redis was emptied, or a push was lost.
pub(super) async fn restore_jobs(context: &Context) -> anyhow::Result<()> {
    let age = context.settings.reconcile.requeue_after;
    let restored = context.producer().restore(&context.engine, age).await?;
    if restored > 0 {
        tracing::warn!(jobs = restored, "jobs that were in no queue are queued again");
    }
    Ok(())
}

/// Ends pauses that have lasted too long, and finishes what was left half taken back.
pub(super) async fn settle(context: &Context) -> anyhow::Result<()> {
    let settled = context.engine.settle().await?;
    if settled.overdue + settled.failing + settled.orphans > 0 {
        tracing::warn!(
            overdue = settled.overdue,
            failing = settled.failing,
            orphans = settled.orphans,
            "ended pauses"
        );
    }
    Ok(())
}

/// Folds the counters' appended deltas, so that a status reads few rows.
pub(super) async fn fold_counters(context: &Context) -> anyhow::Result<()> {
    context.engine.tracking.fold_counters().await?;
    Ok(())
}
