//! What a worker hands to a stage, and what the stage answers.

use std::fmt;
use std::future::Future;
use std::str::FromStr;

use handover_plan::MAX_KEY_BYTES;
use handover_tracking::Claim;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::Error;

/// A job: a hint that this user's attempt may be due at a stage. The attempt's row decides.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Job {
    /// The migration's name.
    #[serde(deserialize_with = "storable")]
    pub migration: String,
    /// The user.
    #[serde(deserialize_with = "storable")]
    pub user: String,
    /// The attempt's fencing token.
    pub version: i64,
}

/// A text that tracking could know. Postgres refuses a NUL, and with it the statement for all jobs of a batch: one
/// such entry on a queue would hold up the others for ever.
fn storable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.contains('\0') || text.len() > MAX_KEY_BYTES {
        return Err(D::Error::custom("no migration and no user has such a name"));
    }
    Ok(text)
}

impl Job {
    /// The job as tracking compares it.
    pub fn claim(&self) -> Claim {
        Claim { user: self.user.clone(), version: self.version }
    }
}

/// A stage. The words are the same in code, keys, logs, metrics and commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StageName {
    /// Pauses, drains, takes the fence position.
    Pause,
    /// Reads, loads, commits with the digest.
    Copy,
    /// Reads back and compares.
    Verify,
    /// Lets the user onto the new system.
    Complete,
    /// Takes a completed user back to legacy.
    Rollback,
}

impl StageName {
    /// Every stage, in the order of a user's way.
    pub const ALL: [Self; 5] = [Self::Pause, Self::Copy, Self::Verify, Self::Complete, Self::Rollback];

    /// The stage's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Copy => "copy",
            Self::Verify => "verify",
            Self::Complete => "complete",
            Self::Rollback => "rollback",
        }
    }
}

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for StageName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|stage| stage.as_str() == text);
        known.ok_or_else(|| "a stage is one of pause, copy, verify, complete, rollback".to_owned())
    }
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The attempt is due at that stage now.
    Advance(StageName),
    /// The attempt has ended as it should.
    Finished,
    /// The attempt has moved on without this job: drop it.
    Stale,
    /// It cannot be begun yet; nothing was tried.
    NotNow,
    /// It failed in a way that may pass.
    Retry {
        /// Why, without values of users' rows.
        reason: String,
    },
    /// It failed for good, and the attempt has been taken back.
    Park {
        /// Why, without values of users' rows.
        reason: String,
    },
}

/// A stage's work on a batch of jobs.
pub trait Step: Send + Sync + 'static {
    /// Which stage.
    fn stage(&self) -> StageName;

    /// How many jobs, of at most `want`, may be claimed now.
    fn capacity(&self, want: usize) -> impl Future<Output = Result<usize, Error>> + Send;

    /// Works on the jobs; one outcome a job, in their order.
    fn run(&self, jobs: &[Job]) -> impl Future<Output = Vec<Outcome>> + Send;

    /// The job's tries are used up: takes the attempt back, for that reason.
    fn give_up(&self, job: &Job, reason: &str) -> impl Future<Output = Result<(), Error>> + Send;
}
