//! What every stage works with.

use std::time::Duration;

use handover_identity::Identity;
use handover_postgres::Pool;
use handover_tracking::{Kind, OpenAttempt, Tracking};

use crate::Error;
use crate::bound::{Bound, Plans};
use crate::bundle::Bundle;
use crate::fence::Fence;

/// The bounds that stages keep.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many users may be paused at once.
    pub max_paused: u32,
    /// How long a user may be paused before the attempt is taken back.
    pub max_pause: Duration,
    /// How long the pause and rollback stages wait at least between a pause and its position, for those who ask
    /// Identity without being members; gates are waited for by their acknowledgement.
    pub drain: Duration,
    /// How long a stage waits for the replica to replay past a position.
    pub replica_wait: Duration,
    /// Whether the copy also compares before it commits.
    pub verify_before_commit: bool,
    /// Whether the verify stage hashes the source again, past a fresh position.
    pub recheck_source: bool,
}

/// Source, destination, tracking and Identity.
#[derive(Clone)]
pub struct Engine {
    /// The legacy primary, which sees one small query a pause batch.
    pub primary: Pool,
    /// The replica, which all data is read from.
    pub replica: Pool,
    /// The destination.
    pub destination: Pool,
    /// Tracking, in the destination.
    pub tracking: Tracking,
    /// Who is where.
    pub identity: Identity,
    /// The plans that attempts are pinned to.
    pub plans: Plans,
    /// The bounds.
    pub options: Options,
    /// The database fence, where it is switched on.
    pub fence: Option<Fence>,
}

/// How long a statement over users' rows may take at least, however short a pause is to be.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much longer than the drain an attempt may stand at its first stage before its job is taken to have been
/// interrupted.
const STALL: Duration = Duration::from_secs(1);

impl Engine {
    /// How many jobs of a first stage, of at most `want`, may be claimed now. Beyond the room there is, as many
    /// as were admitted and then left: when dead workers' users fill all of it, their jobs must still be claimed,
    /// or they would stay paused until `max_pause`.
    pub(crate) async fn room(&self, kind: Kind, want: usize) -> Result<usize, Error> {
        let room = self.tracking.room(self.options.max_paused).await?;
        if room >= want {
            return Ok(want);
        }
        let age = (self.options.drain + STALL).as_millis() as i64;
        Ok((room + self.tracking.stalled(kind, age).await?).min(want))
    }

    /// These attempts as a bundle, whose statements may take as long as a pause.
    pub(crate) fn bundle<'a>(
        &self,
        bound: &'a Bound,
        attempts: &'a [OpenAttempt],
    ) -> Result<Bundle<'a>, Error> {
        Bundle::new(bound, attempts, self.options.max_pause.max(PATIENCE))
    }
}
