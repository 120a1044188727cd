//! Taking an attempt back, in the one order that is safe at every crash: raise Identity's row, still paused (if it
//! says `migrated`, roll forward instead); raise tracking's version, which waits for or shuts out a copy that
//! is committing; only then look whether it committed, and remove it; lift the fence; Identity `legacy`; tracking
//! `failed`.
//! Each step is a compare-and-set that can be repeated.

use std::sync::Arc;

use handover_canonical::Digest;
use handover_fault::point;
use handover_fence::Side;
use handover_identity::{Raise, Release};
use handover_tracking::{Claim, Closing, Ended, Kind, OpenAttempt, OpenState};
use serde_json::Value;

use crate::bound::Bound;
use crate::error::Disposition;
use crate::reconcile::stage_of;
use crate::stages;
use crate::{Engine, Error, Job, Outcome, StageName, reason};

impl Engine {
    /// The plan of that number, bound.
    pub(crate) async fn plan(&self, id: i32) -> Result<Arc<Bound>, Error> {
        Box::pin(self.plans.get(id, &self.tracking, &self.replica, &self.destination)).await
    }

    /// Takes an attempt back for that reason, and says what the job's outcome is.
    pub(crate) async fn fail(
        &self,
        migration: &str,
        attempt: &OpenAttempt,
        reason: &Value,
        observed: Option<&Digest>,
    ) -> Outcome {
        match Box::pin(self.take_back(migration, attempt, reason, observed)).await {
            Ok(TakenBack::Failed) => Outcome::Park { reason: reason::message(reason) },
            Ok(TakenBack::Completed) => Outcome::Finished,
            Ok(TakenBack::MovedOn) => Outcome::Stale,
            Err(error) => stages::retry(&error),
        }
    }

    /// Ends an attempt that a stage cannot go on with, unless somebody else has moved it on since it was read: a
    /// late second worker on the same job must not undo what the first one did.
    pub(crate) async fn end_failed(&self, migration: &str, attempt: &OpenAttempt, reason: Value) -> Outcome {
        let stands = |now: &OpenAttempt| now.state == attempt.state && now.removed == attempt.removed;
        match self.tracking.open(attempt.migration_id, &[attempt.claim()]).await {
            Ok(now) if !now.iter().any(stands) => Outcome::Stale,
            Ok(_) => Box::pin(self.end(migration, attempt, reason))
                .await
                .unwrap_or_else(|error| stages::retry(&error)),
            Err(error) => stages::retry(&error.into()),
        }
    }

    /// Takes an attempt to move back. It may be repeated by anybody at any time.
    pub(crate) async fn take_back(
        &self,
        migration: &str,
        attempt: &OpenAttempt,
        reason: &Value,
        observed: Option<&Digest>,
    ) -> Result<TakenBack, Error> {
        let id = attempt.migration_id;
        // One that is failing already was raised by whoever began this, and keeps the version it has.
        let to = attempt.version + i64::from(attempt.reason.is_none());
        let raised = Claim { user: attempt.user.clone(), version: to };
        let users = identity_users(std::iter::once(raised.clone()));
        point("takeback.begins").await?;
        match self.identity.raise(migration, &users).await?.outcomes.first() {
            Some(Raise::HomeIsNew) => return self.roll_forward(migration, attempt).await,
            Some(Raise::Superseded) | None => return Ok(TakenBack::MovedOn),
            Some(Raise::Raised { .. } | Raise::HomeIsLegacy) => {}
        }
        point("takeback.identity_raised").await?;
        let observed = observed.map(|digest| digest.as_bytes().as_slice());
        if !self.tracking.raise(id, &attempt.claim(), to, reason, observed).await? {
            return Ok(TakenBack::MovedOn);
        }
        point("takeback.raised").await?;
        let ended = match self.remove_what_it_wrote(id, &raised).await {
            Ok(()) => Ended::of(raised),
            Err(error) if error.disposition() == Disposition::Retry && !self.is_long_overdue(attempt) => {
                return Err(error);
            }
            // What is there is not provably ours, or cannot be removed: it stays, and the user goes back to legacy
            // all the same. A pause must end.
            Err(error) => {
                tracing::error!(migration, "rows were left at the destination: {error}");
                metrics::counter!("handover_rows_left_total").increment(1);
                Ended { reason: Some(reason::with_rows_left(reason, &error)), ..Ended::of(raised) }
            }
        };
        point("takeback.removed").await?;
        match self.lift_fence(migration, Side::Legacy, &users).await {
            Err(error) if !self.is_long_overdue(attempt) => return Err(error),
            // The reconciler lifts it once the legacy primary can be reached again.
            Err(error) => tracing::error!(migration, "a fence was left on legacy: {error}"),
            Ok(()) => {}
        }
        point("takeback.lifted").await?;
        match self.identity.release(migration, &users).await?.outcomes.first() {
            Some(Release::Released | Release::AlreadyLegacy) => {}
            _ => return Ok(TakenBack::MovedOn),
        }
        point("takeback.released").await?;
        if self.tracking.close(id, Closing::Failed, &[ended]).await?.is_empty() {
            return Ok(TakenBack::MovedOn);
        }
        point("takeback.committed").await?;
        metrics::counter!("handover_failures_total", "kind" => kind(reason)).increment(1);
        Ok(TakenBack::Failed)
    }

    /// The user's home is the new system: Identity flipped this attempt and nobody told tracking; or, where the
    /// attempt was not even paused, the user was born there.
    async fn roll_forward(&self, migration: &str, attempt: &OpenAttempt) -> Result<TakenBack, Error> {
        let (id, claim) = (attempt.migration_id, attempt.claim());
        point("takeback.forward").await?;
        let closed = if attempt.state == OpenState::Pausing {
            self.tracking.close(id, Closing::Skipped, &[stages::born_on_new(claim)]).await?
        } else {
            stages::flip(self, migration, id, &[claim]).await?
        };
        Ok(if closed.is_empty() { TakenBack::MovedOn } else { TakenBack::Completed })
    }

    /// Gives a rollback up: tracking `completed` first, which shuts out the removal, then Identity `migrated`.
    async fn refuse(&self, migration: &str, attempt: &OpenAttempt, reason: Value) -> Result<Outcome, Error> {
        point("refuse.begins").await?;
        let message = reason::message(&reason);
        let ended = Ended { reason: Some(reason), ..Ended::of(attempt.claim()) };
        if self.tracking.close(attempt.migration_id, Closing::Refused, &[ended]).await?.is_empty() {
            return Ok(Outcome::Stale);
        }
        point("refuse.committed").await?;
        if let Err(error) = self.restore(migration, &attempt.claim()).await {
            // The reconciler finds a pause without an attempt, and ends it.
            tracing::warn!(%error, "a refused rollback's pause is left to the reconciler");
        }
        Ok(Outcome::Park { reason: message })
    }

    /// Ends a refused rollback's pause, under the next number, which the refusal has taken with it: a `begin_rollback`
    /// that is still on its way is shut out by it, or its pause is taken over and ended; and no newer rollback's is.
    async fn restore(&self, migration: &str, claim: &Claim) -> Result<(), Error> {
        let users = identity_users(std::iter::once(claim.clone()));
        // Before Identity's change: whoever is let onto the new system again may write there at once.
        self.lift_fence(migration, Side::Destination, &users).await?;
        self.settle_fence_later(migration, Side::Legacy, &users).await;
        point("refuse.lifted").await?;
        let next = [(claim.user.clone(), claim.version + 1)];
        self.identity.raise(migration, &next).await?;
        point("refuse.raised").await?;
        self.identity.restore(migration, &next).await?;
        point("refuse.restored").await?;
        Ok(())
    }

    /// A job's tries are used up. An attempt that has moved past the job's stage meanwhile is left alone.
    pub(crate) async fn give_up(&self, stage: StageName, job: &Job, why: &str) -> Result<(), Error> {
        let Some(id) = stages::migration_id(self, &job.migration).await? else { return Ok(()) };
        let Some(attempt) = self.tracking.open(id, &[job.claim()]).await?.pop() else { return Ok(()) };
        if stage_of(attempt.kind, attempt.state).is_some_and(|due| due != stage) {
            return Ok(());
        }
        let reason = reason::of_text(stage.as_str(), "tries_used_up", why);
        self.end(&job.migration, &attempt, reason).await.map(|_| ())
    }

    /// Whether an attempt has been overdue for as long as a pause may last: then not even a server that may
    /// answer later is waited for.
    fn is_long_overdue(&self, attempt: &OpenAttempt) -> bool {
        let bound = self.options.max_pause.as_millis() as i64;
        attempt.admitted_ms.is_some_and(|admitted| admitted >= bound.saturating_mul(2))
    }

    /// Ends an attempt at the user's home of now, whichever way it goes and however far it has come.
    pub(crate) async fn end(
        &self,
        migration: &str,
        attempt: &OpenAttempt,
        reason: Value,
    ) -> Result<Outcome, Error> {
        if attempt.kind == Kind::Move {
            return match Box::pin(self.take_back(migration, attempt, &reason, None)).await? {
                TakenBack::Failed => Ok(Outcome::Park { reason: reason::message(&reason) }),
                TakenBack::Completed => Ok(Outcome::Finished),
                TakenBack::MovedOn => Ok(Outcome::Stale),
            };
        }
        if attempt.removed {
            let gone = stages::back_home(self, migration, attempt.migration_id, &[attempt.claim()]).await?;
            return Ok(if gone.is_empty() { Outcome::Stale } else { Outcome::Finished });
        }
        self.refuse(migration, attempt, reason).await
    }
}

/// Claims as Identity takes them.
pub(crate) fn identity_users(claims: impl Iterator<Item = Claim>) -> Vec<(String, i64)> {
    claims.map(|claim| (claim.user, claim.version)).collect()
}

fn kind(reason: &Value) -> String {
    reason.get("kind").and_then(Value::as_str).unwrap_or("unknown").to_owned()
}

/// What taking back came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TakenBack {
    /// The user is on legacy, unpaused.
    Failed,
    /// It had been flipped: it was rolled forward.
    Completed,
    /// Somebody else has moved it on.
    MovedOn,
}
