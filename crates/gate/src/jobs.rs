//! Background jobs: whether a job may run for a user now and on which side, and sweeps over many users at once.
//!
//! A job is never held: it is put off. While it runs its user is not moved.

use std::time::Duration;

use futures_util::{StreamExt, stream};

use crate::decision::{Kind, Side};
use crate::gate::{Gate, Refusal};
use crate::pass::Pass;

/// How many users of a sweep are looked up at once.
const LOOK_UPS: usize = 32;
/// For how long a job is put off, at least; up to half more, at random.
const PUT_OFF: Duration = Duration::from_secs(2);

/// What a job does now.
#[derive(Debug)]
pub enum Turn {
    /// It runs for its user, on the side that the guard tells.
    Go(JobGuard),
    /// It is put back, and comes again after that time.
    PutOff {
        /// How long.
        after: Duration,
        /// Why.
        reason: Refusal,
    },
}

/// Holds a user while a job runs.
#[derive(Debug)]
pub struct JobGuard {
    pass: Pass,
}

/// The job took longer than its pass: the user may have been moved meanwhile. What it did must not be told to
/// anybody as done, and what it still would do must not be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the job took longer than its user could be held")]
pub struct TooLate;

/// Many users, by home, with those who have to wait left out.
#[derive(Debug)]
pub struct Sweep {
    /// Users who are on legacy.
    pub legacy: Vec<String>,
    /// Users who are on the new system.
    pub new: Vec<String>,
    /// Users who are paused or unknown: another time.
    pub later: Vec<String>,
    held: Vec<Pass>,
}

impl Gate {
    /// Whether a job may run for that user now.
    pub async fn job(&self, user: &str) -> Turn {
        match self.admit(user, Kind::Deferrable).await {
            Ok(pass) => Turn::Go(JobGuard { pass }),
            Err(reason) => Turn::PutOff { after: PUT_OFF.mul_f64(1.0 + fastrand::f64() / 2.0), reason },
        }
    }

    /// Splits users by their home in a migration, for a job that handles many in one statement, and holds those
    /// who are not left out until the sweep is dropped or ended.
    ///
    /// Each statement names its users: `… WHERE user_id = ANY($1)`, with [`Sweep::legacy`] in the old system and
    /// [`Sweep::new`] in the new one. A statement over "all users" cannot be split.
    pub async fn sweep(&self, users: impl IntoIterator<Item = String>, migration: &str) -> Sweep {
        let mut sweep = Sweep { legacy: Vec::new(), new: Vec::new(), later: Vec::new(), held: Vec::new() };
        let mut turns = stream::iter(users)
            .map(|user| async {
                let pass = self.admit(&user, Kind::Deferrable).await;
                (user, pass)
            })
            .buffered(LOOK_UPS);
        while let Some((user, pass)) = turns.next().await {
            let list = match pass.as_ref().map(|pass| pass.side(migration)) {
                Ok(Side::Legacy) => &mut sweep.legacy,
                Ok(Side::New) => &mut sweep.new,
                Err(_) => &mut sweep.later,
            };
            list.push(user);
            sweep.held.extend(pass.ok());
        }
        sweep
    }
}

impl JobGuard {
    /// The side that serves the user in that migration.
    pub fn side(&self, migration: &str) -> Side {
        self.pass.side(migration)
    }

    /// How long the job may still take. A job checks this before each write, or sets its time-outs by it.
    pub fn remaining(&self) -> Duration {
        self.pass.remaining()
    }

    /// Ends the job. [`TooLate`]: it was not in time.
    pub fn finish(self) -> Result<(), TooLate> {
        in_time(self.pass.has_expired())
    }

    /// Runs the job, and drops it when its time is over.
    pub async fn run<T>(self, job: impl Future<Output = T>) -> Result<T, TooLate> {
        let done = tokio::time::timeout(self.remaining(), job).await.map_err(|_| TooLate)?;
        self.finish().map(|()| done)
    }
}

impl Sweep {
    /// How long the statements may still take.
    pub fn remaining(&self) -> Duration {
        self.held.iter().map(Pass::remaining).min().unwrap_or_default()
    }

    /// Ends the sweep. [`TooLate`]: some user may have been moved meanwhile. To be asked before the statements'
    /// transactions are committed, and again after.
    pub fn in_time(&self) -> Result<(), TooLate> {
        in_time(self.held.iter().any(Pass::has_expired))
    }
}

fn in_time(expired: bool) -> Result<(), TooLate> {
    if expired { Err(TooLate) } else { Ok(()) }
}
