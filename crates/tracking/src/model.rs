//! The words of tracking as types.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// Which way an attempt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// From legacy to the new system.
    Move,
    /// From the new system back to legacy.
    Rollback,
}

impl Kind {
    /// The word in the tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Move => "move",
            Self::Rollback => "rollback",
        }
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "move" => Ok(Self::Move),
            "rollback" => Ok(Self::Rollback),
            other => Err(Error::Damaged(format!("kind `{other}`"))),
        }
    }
}

/// How far an open attempt has come. `docs/state_machine.md` shows who sets each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenState {
    /// Drawn; the user is not paused. Set by the producer.
    Queued,
    /// Admitted: Identity is being told, gates drain. Set by the pause stage.
    Pausing,
    /// Fenced at a position. Set by the pause stage.
    Copying,
    /// Committed at the destination with its digest. Set by the copy stage, in the copy's transaction.
    Verifying,
    /// Proven. Set by the verify stage.
    Completing,
    /// Admitted for the way back. Set by the rollback stage.
    RollingBack,
    /// Being taken back. Set by whichever process found the failure, or by the reconciler.
    Failing,
}

impl OpenState {
    /// Every state, in the order of a user's way.
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Pausing,
        Self::Copying,
        Self::Verifying,
        Self::Completing,
        Self::RollingBack,
        Self::Failing,
    ];

    /// The word in the tables, in logs and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Pausing => "pausing",
            Self::Copying => "copying",
            Self::Verifying => "verifying",
            Self::Completing => "completing",
            Self::RollingBack => "rolling_back",
            Self::Failing => "failing",
        }
    }
}

impl fmt::Display for OpenState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for OpenState {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let known = Self::ALL.into_iter().find(|state| state.as_str() == text);
        known.ok_or_else(|| Error::Damaged(format!("state `{text}`")))
    }
}

/// A user's attempt as a job names it: what a compare-and-set compares.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The user, in the key type's own spelling.
    pub user: String,
    /// The fencing token.
    pub version: i64,
}

/// An attempt in progress, as it stands in the table.
#[derive(Clone)]
pub struct OpenAttempt {
    /// The migration's number.
    pub migration_id: i32,
    /// The user, in the key type's own spelling.
    pub user: String,
    /// The cohort's number.
    pub cohort_id: i32,
    /// Which way it goes.
    pub kind: Kind,
    /// The fencing token.
    pub version: i64,
    /// The number it began with.
    pub attempt: i64,
    /// How far it has come.
    pub state: OpenState,
    /// The plan it is pinned to.
    pub plan_id: i32,
    /// The secret 64 bytes that key its digests.
    pub key_block: Vec<u8>,
    /// The position on the legacy primary past which the replica must have replayed.
    pub fence_lsn: Option<String>,
    /// Which primary that position is of: system identifier and timeline.
    pub fence_system: Option<String>,
    /// The digest that the copy committed; for a rollback, that of the attempt it undoes.
    pub digest: Option<Vec<u8>>,
    /// What the verify stage read back instead, where it differed.
    pub observed: Option<Vec<u8>>,
    /// Whether the copy committed.
    pub copied: bool,
    /// Whether a rollback's removal committed.
    pub removed: bool,
    /// Why it is being taken back.
    pub reason: Option<serde_json::Value>,
    /// Milliseconds since it was admitted, by the destination's clock; none while queued.
    pub admitted_ms: Option<i64>,
    /// Whether a rollback may carry changes back to legacy.
    pub carry_back: bool,
}

impl fmt::Debug for OpenAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = (self.migration_id, &self.user, self.version);
        f.debug_struct("OpenAttempt").field("id", &id).field("state", &self.state).finish_non_exhaustive()
    }
}

/// The columns that [`OpenAttempt::from_row`] reads, in its order, of the table under the alias `o`.
pub(crate) const OPEN_COLUMNS: &str = "o.migration_id, o.user_key, o.cohort_id, o.kind::text, o.version, o.attempt, \
     o.state::text, o.plan_id, o.key_block, o.fence_lsn::text, o.fence_system, o.digest, o.observed, \
     o.copied_at IS NOT NULL, o.removed_at IS NOT NULL, o.reason, \
     (extract(epoch FROM clock_timestamp() - o.admitted_at) * 1000)::int8, o.carry_back";

impl OpenAttempt {
    pub(crate) fn from_row(row: &tokio_postgres::Row) -> Result<Self, Error> {
        Ok(Self {
            migration_id: row.get(0),
            user: row.get(1),
            cohort_id: row.get(2),
            kind: row.get::<_, &str>(3).parse()?,
            version: row.get(4),
            attempt: row.get(5),
            state: row.get::<_, &str>(6).parse()?,
            plan_id: row.get(7),
            key_block: row.get(8),
            fence_lsn: row.get(9),
            fence_system: row.get(10),
            digest: row.get(11),
            observed: row.get(12),
            copied: row.get(13),
            removed: row.get(14),
            reason: row.get(15),
            admitted_ms: row.get(16),
            carry_back: row.get(17),
        })
    }

    /// The attempt as a job names it.
    pub fn claim(&self) -> Claim {
        Claim { user: self.user.clone(), version: self.version }
    }
}

/// What admission did with a batch.
#[derive(Debug, Default)]
pub struct Admission {
    /// Attempts that are now, or were already, admitted under this claim.
    pub admitted: Vec<OpenAttempt>,
    /// Claims for which there was no room: to be handed back.
    pub no_room: Vec<Claim>,
    // What is in neither list is stale.
}
