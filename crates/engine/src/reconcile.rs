//! What the reconciler decides from Postgres alone: which pauses have lasted too long, which attempts were left
//! half taken back, which pauses belong to no attempt.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt;
use handover_fault::point;
use handover_fence::Side;
use handover_identity::{OpenState as IdentityState, Record, Release, Restore};
use handover_tracking::{Claim, Kind, OpenAttempt, OpenState, Standing};

use crate::takeback::identity_users;
use crate::{Engine, Error, Outcome, reason};

/// How many attempts are ended at the same time: one that takes long does not keep the others paused.
const AT_ONCE: usize = 4;

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
            overdue: self.end_overdue().await?,
            failing: self.finish_failing().await?,
            orphans: self.end_orphans().await?,
        })
    }

    async fn end_overdue(&self) -> Result<usize, Error> {
        let age = self.options.max_pause.as_millis() as i64;
        let overdue = self.tracking.overdue(age, self.most()).await?;
        let reason = |attempt: &OpenAttempt| {
            let text = format!("not completed within max_pause ({age} ms), in state {}", attempt.state);
            reason::of_text(attempt.state.as_str(), "max_pause", &text)
        };
        Ok(self.end_each(overdue, reason).await)
    }

    async fn finish_failing(&self) -> Result<usize, Error> {
        let failing = self.tracking.failing(FAILING_AGE_MS, self.most()).await?;
        let reason = |attempt: &OpenAttempt| {
            let unkept = || reason::of_text("reconcile", "interrupted", "taking it back was interrupted");
            attempt.reason.clone().unwrap_or_else(unkept)
        };
        Ok(self.end_each(failing, reason).await)
    }

    /// How many attempts one pass looks at: as many as can be paused and more, so that some that cannot be ended
    /// do not hide the others.
    fn most(&self) -> i64 {
        i64::from(self.options.max_paused) + 1_000
    }

    /// Ends attempts, and says how many it could. One attempt's trouble does not keep the others waiting.
    async fn end_each(
        &self,
        attempts: Vec<(String, OpenAttempt)>,
        reason: impl Fn(&OpenAttempt) -> serde_json::Value,
    ) -> usize {
        let mut ending = Vec::with_capacity(attempts.len());
        for (migration, attempt) in attempts {
            let reason = reason(&attempt);
            ending.push(Box::pin(async move { self.ended(&migration, &attempt, reason).await }));
        }
        let mut done = futures_util::stream::iter(ending).buffer_unordered(AT_ONCE);
        let mut ended = 0;
        while let Some(one) = done.next().await {
            ended += usize::from(one);
        }
        ended
    }

    async fn ended(&self, migration: &str, attempt: &OpenAttempt, reason: serde_json::Value) -> bool {
        match self.end(migration, attempt, reason).await {
            Ok(Outcome::Stale) => false,
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(migration, %error, "an attempt could not be ended yet");
                false
            }
        }
    }

    /// Ends pauses that no attempt stands behind: a refused rollback whose worker died before Identity was told;
    /// or a `begin` that arrived after its attempt had been put back to wait. Migrating, the home is legacy;
    /// rolling back, it is the new system.
    async fn end_orphans(&self) -> Result<usize, Error> {
        // Read before tracking is: an attempt is there before its pause, and closed only after it.
        let mut old: HashMap<String, Vec<Record>> = HashMap::new();
        for record in self.identity.paused().await? {
            let Some(open) = record.open() else { continue };
            if open.since.elapsed().is_ok_and(|age| age >= ORPHAN_AGE) {
                old.entry(open.migration.clone()).or_default().push(record);
            }
        }
        let mut ended = 0;
        for (migration, records) in old {
            let Some(id) = self.tracking.migration_id(&migration).await? else { continue };
            let users: Vec<String> = records.iter().map(|record| record.user().to_owned()).collect();
            let standing = self.tracking.standing_of(id, &users).await?;
            for record in records {
                if self.is_orphan(id, &record, standing.get(record.user())).await? {
                    ended += usize::from(self.end_orphan(&migration, &record).await);
                }
            }
        }
        Ok(ended)
    }

    /// Whether no attempt stands behind a pause. One that waits under the pause's version, or under an older one since
    /// whoever raised the pause died before tracking was, is given the next, which the pause's end leaves free.
    async fn is_orphan(&self, id: i32, record: &Record, attempt: Option<&Standing>) -> Result<bool, Error> {
        let (Some(open), Some(attempt)) = (record.open(), attempt) else { return Ok(true) };
        // Identity is raised first, so that an attempt which is newer than the pause is another one: it waits for
        // this pause to end.
        if attempt.version > open.version {
            return Ok(true);
        }
        if attempt.state != OpenState::Queued {
            return Ok(false);
        }
        let claim = Claim { user: record.user().to_owned(), version: attempt.version };
        Ok(self.tracking.renumber(id, &claim, open.version + 1).await?)
    }

    async fn end_orphan(&self, migration: &str, record: &Record) -> bool {
        let Some(open) = record.open() else { return false };
        let claim = Claim { user: record.user().to_owned(), version: open.version };
        let users = identity_users(std::iter::once(claim));
        // Before the pause ends: on the side where the user lives nothing may stand in the way.
        let home = match open.state {
            IdentityState::RollingBack => Side::Destination,
            IdentityState::Migrating => Side::Legacy,
        };
        if let Err(error) = self.lift_fence(migration, home, &users).await {
            tracing::warn!(migration, %error, "a pause without an attempt could not be ended yet");
            return false;
        }
        if point("reconcile.orphan_lifted").await.is_err() {
            return false;
        }
        let ended = match open.state {
            IdentityState::RollingBack => {
                let done = self.identity.restore(migration, &users).await;
                done.map(|done| done.outcomes.contains(&Restore::Restored))
            }
            IdentityState::Migrating => {
                let done = self.identity.release(migration, &users).await;
                done.map(|done| done.outcomes.contains(&Release::Released))
            }
        };
        ended.unwrap_or_else(|error| {
            tracing::warn!(migration, %error, "a pause without an attempt could not be ended yet");
            false
        })
    }

    /// Jobs that should be on a stage's list: attempts that have stood in their state for `age`, with that stage.
    pub async fn due_jobs(&self, age: Duration) -> Result<Vec<(crate::StageName, crate::Job)>, Error> {
        let mut jobs = Vec::new();
        let each = |due: handover_tracking::Due| {
            if let Some(stage) = stage_of(due.kind, due.state) {
                jobs.push((
                    stage,
                    crate::Job { migration: due.migration, user: due.user, version: due.version },
                ));
            }
        };
        self.tracking.each_due(age.as_millis() as i64, each).await?;
        Ok(jobs)
    }
}

/// Which stage an attempt waits for; none while it is being taken back.
pub(crate) fn stage_of(kind: Kind, state: OpenState) -> Option<crate::StageName> {
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
