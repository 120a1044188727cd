//! What the reconciler decides from Postgres alone: which pauses have lasted too long, which attempts were left
//! half taken back, which pauses belong to no attempt.

use std::time::Duration;

use handover_identity::OpenState as IdentityState;
use handover_tracking::{Kind, OpenState};

use crate::{Engine, Error, Outcome, reason};

/// How many attempts one pass looks at.
const MOST: i64 = 500;

/// How old a pause without an attempt must be before it is ended: longer than any stage is between two writes.
const ORPHAN_AGE: Duration = Duration::from_secs(10);

/// How long an attempt stands half taken back before the reconciler goes on with it.
const FAILING_AGE_MS: i64 = 2_000;

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Pauses that had lasted longer than `max_pause`, ended.
    pub overdue: usize,
    /// Attempts left half taken back, finished.
    pub failing: usize,
    /// Pauses without an attempt, ended.
    pub orphans: usize,
}

impl Engine {
    /// Ends every pause that has lasted longer than `max_pause`, finishes what was left half taken back, and
    /// ends pauses that no attempt stands behind. Anybody may call it at any time.
    pub async fn settle(&self) -> Result<Settled, Error> {
        Ok(Settled {
            overdue: Box::pin(self.end_overdue()).await?,
            failing: Box::pin(self.finish_failing()).await?,
            orphans: self.end_orphans().await?,
        })
    }

    async fn end_overdue(&self) -> Result<usize, Error> {
        let age = self.options.max_pause.as_millis() as i64;
        let mut ended = 0;
        for (migration, attempt) in self.tracking.overdue(age, MOST).await? {
            let text = format!("not completed within max_pause ({} ms), in state {}", age, attempt.state);
            let reason = reason::of_text(attempt.state.as_str(), "max_pause", &text);
            ended += usize::from(self.settled(&migration, &attempt, reason).await);
        }
        Ok(ended)
    }

    async fn finish_failing(&self) -> Result<usize, Error> {
        let mut ended = 0;
        for (migration, attempt) in self.tracking.failing(FAILING_AGE_MS, MOST).await? {
            let unkept = || reason::of_text("reconcile", "interrupted", "taking it back was interrupted");
            let reason = attempt.reason.clone().unwrap_or_else(unkept);
            ended += usize::from(self.settled(&migration, &attempt, reason).await);
        }
        Ok(ended)
    }

    /// One attempt's trouble does not keep the others waiting.
    async fn settled(
        &self,
        migration: &str,
        attempt: &handover_tracking::OpenAttempt,
        reason: serde_json::Value,
    ) -> bool {
        match self.end(migration, attempt, reason).await {
            Ok(Outcome::Retry { reason }) => {
                tracing::warn!(migration, reason, "an attempt could not be ended yet");
                false
            }
            Ok(Outcome::Stale) => false,
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(migration, %error, "an attempt could not be ended yet");
                false
            }
        }
    }

    /// A pause without an attempt: a refused rollback whose worker died before Identity was told. Where tracking
    /// says completed, the user's home is the new system; else legacy.
    async fn end_orphans(&self) -> Result<usize, Error> {
        let mut ended = 0;
        for record in self.identity.paused().await? {
            let Some(open) = record.open() else { continue };
            let old = open.since.elapsed().is_ok_and(|age| age >= ORPHAN_AGE);
            let Some(id) = crate::stages::migration_id(self, &open.migration).await? else { continue };
            if !old || self.tracking.open_of(id, record.user()).await?.is_some() {
                continue;
            }
            let users = [(record.user().to_owned(), open.version)];
            match open.state {
                IdentityState::RollingBack => drop(self.identity.restore(&open.migration, &users).await?),
                IdentityState::Migrating => drop(self.identity.release(&open.migration, &users).await?),
            }
            ended += 1;
        }
        Ok(ended)
    }

    /// Jobs that should be on a stage's list: attempts that have stood in their state for `age`, with that stage.
    pub async fn due_jobs(&self, age: Duration) -> Result<Vec<(crate::StageName, crate::Job)>, Error> {
        let standing = self.tracking.standing(age.as_millis() as i64, i64::from(i32::MAX)).await?;
        let job = |(migration, attempt): (String, handover_tracking::OpenAttempt)| {
            let job = crate::Job { migration, user: attempt.user.clone(), version: attempt.version };
            Some((stage_of(attempt.kind, attempt.state)?, job))
        };
        Ok(standing.into_iter().filter_map(job).collect())
    }
}

/// Which stage an attempt waits for; none while it is being taken back.
fn stage_of(kind: Kind, state: OpenState) -> Option<crate::StageName> {
    use crate::StageName as Stage;
    match (kind, state) {
        (_, OpenState::Failing) | (Kind::Move, OpenState::RollingBack) => None,
        (Kind::Rollback, _) => Some(Stage::Rollback),
        (Kind::Move, OpenState::Queued | OpenState::Pausing) => Some(Stage::Pause),
        (Kind::Move, OpenState::Copying) => Some(Stage::Copy),
        (Kind::Move, OpenState::Verifying) => Some(Stage::Verify),
        (Kind::Move, OpenState::Completing) => Some(Stage::Complete),
    }
}
