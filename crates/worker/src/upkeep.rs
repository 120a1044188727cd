//! What each worker does beside its batches: renews the leases of what it holds, brings in what is due for a
//! retry, takes back what vanished workers held, and samples its stage's depth.

use std::sync::Arc;
use std::time::Duration;

use handover_queue::{Error, Queues};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::driver::Worker;
use crate::metric;

/// Time between two samples of the queue's depth.
const SAMPLE: Duration = Duration::from_secs(2);

/// Starts the tasks; they end when the set is dropped.
pub(crate) fn spawn(tasks: &mut JoinSet<()>, worker: &Arc<Worker>) {
    tasks.spawn(renew_leases(Arc::clone(worker)));
    tasks.spawn(keep_up(Arc::clone(worker)));
}

async fn renew_leases(worker: Arc<Worker>) {
    let renewal = worker.limits.renewal();
    let mut wait = renewal;
    loop {
        tokio::time::sleep(wait).await;
        wait = match renew(&worker).await {
            Ok(()) => renewal,
            Err(error) => {
                tracing::warn!(stage = worker.stage.as_str(), %error, "leases could not be renewed; trying again");
                metric::trouble(worker.stage, "renew");
                // Several more attempts fit in what is left of the lease.
                renewal / 8
            }
        };
    }
}

async fn renew(worker: &Worker) -> Result<(), Error> {
    let tokens = worker.held.tokens();
    metric::held(worker.stage, tokens.len());
    if tokens.is_empty() {
        return Ok(());
    }
    let queues = worker.line.queues();
    let lost = queues.renew(worker.stage.as_str(), &tokens, worker.limits.lease).await?;
    // What was settled in between is no loss: it is in neither place any more.
    let held = worker.held.tokens();
    let lost: Vec<_> = lost.into_iter().filter(|token| held.contains(token)).collect();
    if !lost.is_empty() {
        // The jobs may run elsewhere by now; which of the two wins is decided in Postgres, by version.
        tracing::warn!(
            stage = worker.stage.as_str(),
            jobs = lost.len(),
            "leases were lost while the jobs ran"
        );
        worker.held.remove(&lost);
    }
    Ok(())
}

async fn keep_up(worker: Arc<Worker>) {
    let mut ticks = tokio::time::interval(worker.limits.upkeep);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sampled: Option<Instant> = None;
    loop {
        ticks.tick().await;
        let queues = worker.line.queues();
        if let Err(error) = tend(&queues, worker.stage.as_str(), worker.limits.max_recoveries).await {
            tracing::debug!(stage = worker.stage.as_str(), %error, "upkeep failed");
            metric::trouble(worker.stage, "upkeep");
        }
        metric::held(worker.stage, worker.held.count());
        if sampled.is_none_or(|at| at.elapsed() >= SAMPLE)
            && sample(&queues, worker.stage.as_str()).await.is_ok()
        {
            sampled = Some(Instant::now());
        }
    }
}

/// Promotes what is due and recovers what was held by vanished workers, on one stage.
pub(crate) async fn tend(queues: &Queues, stage: &'static str, max_recoveries: u32) -> Result<(), Error> {
    queues.promote(stage).await?;
    let recovered = queues.recover(stage, max_recoveries).await?;
    metric::recovered(stage, recovered.requeued, recovered.poisoned);
    if recovered.requeued + recovered.poisoned > 0 {
        tracing::warn!(
            stage,
            requeued = recovered.requeued,
            poisoned = recovered.poisoned,
            "recovered jobs of a vanished worker"
        );
    }
    Ok(())
}

/// Sets the depth gauges of one stage.
pub(crate) async fn sample(queues: &Queues, stage: &'static str) -> Result<(), Error> {
    metric::depth(stage, queues.depth(stage).await?);
    Ok(())
}
