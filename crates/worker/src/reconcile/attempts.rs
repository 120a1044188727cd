//! Attempts and their jobs: what tracking says should be queued is queued, and no pause outlasts its bound.

use std::collections::HashSet;

use handover_engine::{Complete, Copy, Engine, Error, Job, Pause, Rollback, StageName, Step as _, Verify};
use handover_queue::Dead;
use handover_tracking::Kind;
use tokio::sync::Mutex;

use super::Context;

/// A draw as large as this means that more may wait: the next one follows at once.
const LARGE_DRAW: usize = 500;
/// How many of a stage's newest dead are looked at.
const NEWEST_DEAD: usize = 100;

/// The poisoned jobs whose attempts have been taken back, by their records.
#[derive(Debug, Default)]
pub(crate) struct Buried(Mutex<HashSet<String>>);

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

/// Takes back the attempts of jobs that were set aside for killing their workers: else the job would be found
/// missing, queued again, and kill on.
pub(super) async fn bury_poisoned(context: &Context) -> anyhow::Result<()> {
    let queues = context.line.queues();
    let most = context.settings.worker.max_recoveries;
    let mut buried = context.buried.0.lock().await;
    let mut seen = HashSet::new();
    for stage in StageName::ALL {
        for dead in queues.dead_list::<Job>(stage.as_str(), 0, NEWEST_DEAD).await? {
            let Some(job) = poisoned(&dead, most) else { continue };
            let record = dead.record();
            if !buried.contains(&record) {
                Box::pin(give_up(&context.engine, stage, job, &dead.error)).await?;
                buried.insert(record.clone());
                tracing::warn!(
                    stage = stage.as_str(),
                    reason = dead.error,
                    "took a poisoned job's attempt back"
                );
            }
            seen.insert(record);
        }
    }
    // What has left the list is forgotten, so that this does not grow.
    buried.retain(|record| seen.contains(record));
    Ok(())
}

/// The job, if it is dead because it lost too many workers.
fn poisoned(dead: &Dead<Job>, max_recoveries: u32) -> Option<&Job> {
    dead.entry.as_ref().filter(|entry| entry.recoveries > max_recoveries).map(|entry| &entry.job)
}

async fn give_up(engine: &Engine, stage: StageName, job: &Job, reason: &str) -> Result<(), Error> {
    let engine = engine.clone();
    match stage {
        StageName::Pause => Pause(engine).give_up(job, reason).await,
        StageName::Copy => Copy(engine).give_up(job, reason).await,
        StageName::Verify => Verify(engine).give_up(job, reason).await,
        StageName::Complete => Complete(engine).give_up(job, reason).await,
        StageName::Rollback => Rollback(engine).give_up(job, reason).await,
    }
}
