//! Identity's mirror: its heartbeats, what it was not told yet, and the leave to believe it.
//!
//! The leave (`!ready`) is given only to a server that this process has rebuilt, and only while nothing
//! committed waits. A server that was restarted, emptied or replaced is rebuilt before it is believed.

use std::time::Duration;

use handover_fault::point;
use handover_identity::{Identity, Readiness, Renewal};
use tokio::sync::Mutex;

use super::Context;
use crate::metric;

/// Time between two rounds of telling the mirror what it has missed.
pub(super) const FLUSH_EVERY: Duration = Duration::from_millis(250);
/// What is younger is most likely being mirrored by the one who wrote it.
const FLUSH_AGE: Duration = Duration::from_millis(500);
/// A committed change that has waited for longer stops the leave from being renewed.
const GRACE: Duration = Duration::from_secs(2);

/// Gives the leave to believe the mirror.
#[derive(Debug)]
pub(crate) struct Keeper {
    identity: Identity,
    ready_for: Duration,
    /// The run id of the server that was rebuilt from the truth.
    rebuilt: Mutex<Option<String>>,
}

impl Keeper {
    pub(crate) fn new(identity: Identity, ready_for: Duration) -> Self {
        Self { identity, ready_for, rebuilt: Mutex::default() }
    }

    async fn keep(&self) -> anyhow::Result<()> {
        let mut rebuilt = self.rebuilt.lock().await;
        let adopted = self.identity.truth().mirror_server().await?;
        // Another leader may have gone on with another server since.
        if let Some(run_id) = rebuilt.as_deref().filter(|run_id| adopted.as_deref() == Some(run_id)) {
            match self.identity.renew_ready(run_id, self.ready_for, GRACE).await? {
                Readiness::Asked(Renewal::Renewed) => return Ok(()),
                Readiness::Unmirrored { oldest } => {
                    let waited_ms = oldest.as_millis() as u64;
                    tracing::warn!(waited_ms, "the mirror is behind and not to be believed for now");
                    self.identity.flush_outbox(Duration::ZERO).await?;
                    return Ok(());
                }
                // The field has vanished, and with it perhaps all others; or another server answers.
                Readiness::Asked(Renewal::First | Renewal::OtherServer { .. }) => {}
            }
        }
        *rebuilt = None;
        *rebuilt = Some(self.rebuild().await?);
        Ok(())
    }

    async fn rebuild(&self) -> anyhow::Result<String> {
        // Before the first field is written: until the last is, Identity itself is asked.
        self.identity.mirror().clear_ready().await?;
        point("reconcile.cleared").await?;
        let done = self.identity.rebuild_mirror().await?;
        point("reconcile.rebuilt").await?;
        metric::mirror_rebuilt();
        tracing::info!(
            users = done.users,
            written = done.written,
            newer = done.newer,
            "the mirror was rebuilt"
        );
        self.identity.adopt(&done.run_id).await?;
        point("reconcile.adopted").await?;
        // What was committed meanwhile is in the outbox, and younger than the grace.
        self.identity.renew_ready(&done.run_id, self.ready_for, GRACE).await?;
        Ok(done.run_id)
    }
}

/// Appends an entry to the stream of changes, by which gates know that they still hear it.
pub(super) async fn heartbeat(context: &Context) -> anyhow::Result<()> {
    if context.engine.identity.heartbeat().await?.is_none() {
        tracing::debug!("no heartbeat: the mirror is on another server, or is being rebuilt");
    }
    Ok(())
}

/// Tells the mirror what it was not told when it was committed.
pub(super) async fn flush_outbox(context: &Context) -> anyhow::Result<()> {
    let flushed = context.engine.identity.flush_outbox(FLUSH_AGE).await?;
    if flushed.batches > 0 {
        tracing::info!(
            batches = flushed.batches,
            users = flushed.users,
            "told the mirror what it had missed"
        );
    }
    Ok(())
}

/// Renews the leave to believe the mirror, or rebuilds it.
pub(super) async fn keep_ready(context: &Context) -> anyhow::Result<()> {
    context.keeper.keep().await
}

/// Compares the mirror with the truth, and puts right what somebody overwrote.
pub(super) async fn verify(context: &Context) -> anyhow::Result<()> {
    let identity = &context.engine.identity;
    let found = identity.verify_mirror().await?;
    if found.is_equal() {
        return Ok(());
    }
    let repaired = identity.mirror().repair(identity.truth(), &found.differences).await?;
    tracing::warn!(
        missing = found.missing,
        stale = found.stale,
        wrong = found.wrong,
        repaired,
        "the mirror differed from the truth"
    );
    Ok(())
}
