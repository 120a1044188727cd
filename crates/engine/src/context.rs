//! What every stage works with.

use std::time::Duration;

use handover_identity::Identity;
use handover_postgres::Pool;
use handover_tracking::Tracking;

use crate::bound::Plans;

/// The bounds that stages keep.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many users may be paused at once.
    pub max_paused: u32,
    /// How long a user may be paused before the attempt is taken back.
    pub max_pause: Duration,
    /// How long the pause stage waits for requests in flight to end.
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
}
