//! Truth, then mirror: each operation commits in Postgres, tells Redis, and then forgets the outbox row.
//!
//! A mirror that does not answer is no failure of the operation: the outbox keeps the batch, and
//! [`Identity::flush_outbox`] tells it later. Callers that need the mirror's word look at [`Done::mirrored`].

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use handover_fault::{Mutant, mutated, point};

use crate::error::Error;
use crate::mirror::{Mirror, Position, Rebuilt, Renewal, Verification};
use crate::outcome::{Begin, BeginRollback, Enroll, Flip, Raise, Release, Restore};
use crate::record::{Record, Snapshot};
use crate::truth::{Change, Truth};

/// Outbox rows mirrored in one round.
const FLUSHED: u32 = 100;

/// Identity: its truth and its mirror. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Identity {
    truth: Truth,
    mirror: Mirror,
}

/// What an operation did.
#[derive(Clone, Debug)]
pub struct Done<T> {
    /// One a user, in the order of the input. Committed, whatever the mirror said.
    pub outcomes: Vec<T>,
    /// Whether the mirror knows.
    pub mirrored: Mirrored,
}

/// Whether the mirror has acknowledged the states of *all* the operation's users who have a row, those that
/// a repeat left unchanged included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mirrored {
    /// It has. Who has acted on this entry of the stream knows these states, or newer ones. `None`: none of
    /// the users has a row.
    Yes(Option<Position>),
    /// It has not, for this reason. The outbox keeps the batch. A caller that needs the mirror's word (the
    /// pause stage, before it drains) repeats the operation, which mirrors again.
    NotYet(String),
}

/// What a flush of the outbox did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Batches that are mirrored now, and forgotten.
    pub batches: u64,
    /// Users whose current rows were written.
    pub users: u64,
}

/// What became of the leave to believe the mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// The server was asked; see there.
    Asked(Renewal),
    /// Not renewed: a committed change has been waiting for the mirror for longer than the grace. Flush first.
    Unmirrored {
        /// How long.
        oldest: Duration,
    },
}

impl<T> Done<T> {
    /// Whether the mirror has acknowledged the users' states.
    pub fn is_mirrored(&self) -> bool {
        matches!(self.mirrored, Mirrored::Yes(_))
    }
}

impl Identity {
    /// Identity of that truth and that mirror.
    pub fn new(truth: Truth, mirror: Mirror) -> Self {
        Self { truth, mirror }
    }

    /// The truth alone, for questions and for tests of what a crash leaves.
    pub fn truth(&self) -> &Truth {
        &self.truth
    }

    /// The mirror alone.
    pub fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// [`Truth::begin`], then the mirror.
    pub async fn begin(&self, migration: &str, users: &[(String, i64)]) -> Result<Done<Begin>, Error> {
        if mutated(Mutant::MirrorBeforeTruth) {
            return self.mutant_begin(migration, users).await;
        }
        Ok(self.tell(self.truth.begin(migration, users).await?).await)
    }

    /// [`Truth::flip`], then the mirror.
    pub async fn flip(&self, migration: &str, users: &[(String, i64)]) -> Result<Done<Flip>, Error> {
        Ok(self.tell(self.truth.flip(migration, users).await?).await)
    }

    /// [`Truth::raise`], then the mirror.
    pub async fn raise(&self, migration: &str, users: &[(String, i64)]) -> Result<Done<Raise>, Error> {
        Ok(self.tell(self.truth.raise(migration, users).await?).await)
    }

    /// [`Truth::release`], then the mirror.
    pub async fn release(&self, migration: &str, users: &[(String, i64)]) -> Result<Done<Release>, Error> {
        Ok(self.tell(self.truth.release(migration, users).await?).await)
    }

    /// [`Truth::begin_rollback`], then the mirror.
    pub async fn begin_rollback(
        &self,
        migration: &str,
        users: &[(String, i64)],
    ) -> Result<Done<BeginRollback>, Error> {
        Ok(self.tell(self.truth.begin_rollback(migration, users).await?).await)
    }

    /// [`Truth::restore`], then the mirror.
    pub async fn restore(&self, migration: &str, users: &[(String, i64)]) -> Result<Done<Restore>, Error> {
        Ok(self.tell(self.truth.restore(migration, users).await?).await)
    }

    /// [`Truth::enroll`], then the mirror.
    pub async fn enroll(&self, user: &str, migrations: &[String]) -> Result<Done<Enroll>, Error> {
        Ok(self.tell(self.truth.enroll(user, migrations).await?).await)
    }

    /// The users' records, from the truth; in the order of the input.
    pub async fn get(&self, users: &[String]) -> Result<Vec<Record>, Error> {
        self.truth.get(users).await
    }

    /// All paused users, from the truth.
    pub async fn paused(&self) -> Result<Vec<Record>, Error> {
        self.truth.paused().await
    }

    /// Tells the mirror of a committed batch, then forgets the outbox row.
    async fn tell<T>(&self, change: Change<T>) -> Done<T> {
        let snapshots: Vec<Snapshot> = change.records.iter().map(Record::snapshot).collect();
        let told = match point("identity.between").await {
            Ok(()) => self.write(&snapshots).await,
            Err(injected) => Err(injected.into()),
        };
        let mirrored = match told {
            Ok(position) => {
                if point("identity.mirrored").await.is_ok() {
                    self.forget(&change.outbox).await;
                }
                Mirrored::Yes(position)
            }
            Err(error) => {
                metrics::counter!("handover_identity_mirror_failures_total").increment(1);
                tracing::warn!(%error, users = snapshots.len(), "the mirror was not told; the outbox keeps the batch");
                Mirrored::NotYet(error.to_string())
            }
        };
        Done { outcomes: change.outcomes, mirrored }
    }

    /// Writes to the mirror; an error, if that is not the server that the mirror is on.
    async fn write(&self, snapshots: &[Snapshot]) -> Result<Option<Position>, Error> {
        let position = self.mirror.write(snapshots).await?;
        if self.stands(position.as_ref()).await? { Ok(position) } else { Err(Error::MirrorElsewhere) }
    }

    /// Deletes outbox rows that are mirrored. One that stays is only mirrored once more.
    async fn forget(&self, outbox: &[i64]) {
        if let Err(error) = self.truth.outbox_done(outbox).await {
            tracing::warn!(%error, batches = outbox.len(), "outbox rows were mirrored and not deleted");
        }
    }

    /// Mirrors what was committed at least `min_age` ago and is not known to be mirrored: the users' rows as
    /// they are now. Several programs may do so at once. An error leaves the rest in the outbox.
    pub async fn flush_outbox(&self, min_age: Duration) -> Result<Flushed, Error> {
        let mut done = Flushed::default();
        loop {
            let rows = self.truth.outbox_rows(min_age, FLUSHED).await?;
            if rows.is_empty() {
                return Ok(done);
            }
            let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
            let users: BTreeSet<String> = rows.into_iter().flat_map(|row| row.users).collect();
            let users: Vec<String> = users.into_iter().collect();
            let snapshots: Vec<Snapshot> =
                self.truth.get(&users).await?.iter().map(Record::snapshot).collect();
            point("identity.flushing").await?;
            self.write(&snapshots).await?;
            point("identity.flushed").await?;
            self.truth.outbox_done(&ids).await?;
            done.batches += ids.len() as u64;
            done.users += snapshots.len() as u64;
        }
    }

    /// Says for `validity` from now (this machine's clock) that the mirror may be believed: only if nothing
    /// committed has waited for it for longer than `grace`, and the server is the one that was verified.
    ///
    /// `grace` is what a batch takes between commit and acknowledgement when all is well.
    pub async fn renew_ready(
        &self,
        run_id: &str,
        validity: Duration,
        grace: Duration,
    ) -> Result<Readiness, Error> {
        // The time is taken before the outbox is read: what is committed after that is no older than this.
        let until = SystemTime::now() + validity;
        match self.truth.outbox().await?.oldest {
            Some(oldest) if oldest > grace => Ok(Readiness::Unmirrored { oldest }),
            _ => Ok(Readiness::Asked(self.mirror.renew_ready(run_id, until).await?)),
        }
    }

    /// [`Mirror::rebuild`] from this truth.
    pub async fn rebuild_mirror(&self) -> Result<Rebuilt, Error> {
        self.mirror.rebuild(&self.truth).await
    }

    /// [`Mirror::verify`] against this truth.
    pub async fn verify_mirror(&self) -> Result<Verification, Error> {
        self.mirror.verify(&self.truth).await
    }
}
