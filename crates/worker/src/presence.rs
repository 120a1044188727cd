//! A process' entry in the list of live workers: what operators, the demo and dashboards read.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use handover_queue::WorkerId;
use tokio::task::JoinSet;

use crate::line::Line;

/// Time between two heartbeats.
const BEAT: Duration = Duration::from_secs(2);
/// After this without a heartbeat a process is no longer listed.
const TTL: Duration = Duration::from_secs(15);

/// What a process says of itself, beside what all say.
pub(crate) type Facts = Vec<(&'static str, String)>;

/// Starts the heartbeat; it ends when the set is dropped.
pub(crate) fn spawn(
    tasks: &mut JoinSet<()>,
    line: Arc<Line>,
    id: WorkerId,
    stage: &'static str,
    facts: impl Fn() -> Facts + Send + 'static,
) {
    tasks.spawn(async move {
        let started = unix_seconds();
        let mut ticks = tokio::time::interval(BEAT);
        loop {
            ticks.tick().await;
            let mut facts = facts();
            facts.push(("pid", std::process::id().to_string()));
            facts.push(("started", started.to_string()));
            facts.push(("version", env!("CARGO_PKG_VERSION").to_owned()));
            if let Err(error) = line.queues().heartbeat(&id, stage, &facts, TTL).await {
                tracing::debug!(%error, "no heartbeat");
            }
        }
    });
}

/// Takes a stopped process off the list; one that cannot say goodbye is forgotten soon.
pub(crate) async fn leave(line: &Line, id: &WorkerId) {
    if let Err(error) = line.queues().remove_worker(id).await {
        tracing::debug!(%error, "still listed as a worker");
    }
}

/// Seconds since 1970, for people.
fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
