//! Complete: Identity `migrated`, the one moment at which a user's home changes; then tracking.

use std::time::{SystemTime, UNIX_EPOCH};

use handover_fault::point;
use handover_fence::Side;
use handover_identity::{Flip, Record};
use handover_tracking::{Claim, Closing, Ended, OpenAttempt, OpenState};

use super::{Outcomes, by_migration, standing};
use crate::takeback::identity_users;
use crate::{Engine, Error, Job, Outcome, StageName, Step};

/// The complete stage.
pub struct Complete(pub Engine);

impl Step for Complete {
    fn stage(&self) -> StageName {
        StageName::Complete
    }

    async fn capacity(&self, want: usize) -> Result<usize, Error> {
        Ok(want)
    }

    async fn run(&self, jobs: &[Job]) -> Vec<Outcome> {
        by_migration(&self.0, jobs, |migration, id, claims| complete(&self.0, migration, id, claims)).await
    }

    async fn give_up(&self, job: &Job, reason: &str) -> Result<(), Error> {
        self.0.give_up(StageName::Complete, job, reason).await
    }
}

async fn complete(
    engine: &Engine,
    migration: String,
    id: i32,
    claims: Vec<Claim>,
) -> Result<Outcomes, Error> {
    let mut outcomes = Outcomes::new();
    let proven = standing(engine, id, &claims, OpenState::Completing).await?;
    let claims: Vec<Claim> = proven.iter().map(OpenAttempt::claim).collect();
    let closed = flip(engine, &migration, id, &claims).await?;
    outcomes.set_all(closed, &Outcome::Finished);
    Ok(outcomes)
}

/// Flips users whose attempts are proven, and closes those that were; returns them.
pub(crate) async fn flip(
    engine: &Engine,
    migration: &str,
    id: i32,
    proven: &[Claim],
) -> Result<Vec<Claim>, Error> {
    if proven.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<String> = proven.iter().map(|claim| claim.user.clone()).collect();
    point("complete.begins").await?;
    let before = engine.identity.get(&names).await?;
    let users = identity_users(proven.iter().cloned());
    // Before the flip: whoever is let onto the new system may write there at once.
    engine.open_destination(migration, &users).await?;
    point("complete.opened").await?;
    let done = engine.identity.flip(migration, &users).await?;
    point("complete.flipped").await?;
    let now = microseconds(SystemTime::now());
    let mut ended = Vec::with_capacity(proven.len());
    for ((claim, outcome), record) in proven.iter().zip(done.outcomes).zip(&before) {
        match outcome {
            Flip::Flipped => ended.push(times(claim, record, now)),
            // By a worker that died before it told tracking.
            Flip::AlreadyFlipped => ended.push(Ended::of(claim.clone())),
            // Somebody is taking the attempt back, and will find that it was not flipped.
            Flip::NotOurs => {}
        }
    }
    let moved = identity_users(ended.iter().map(|ended| ended.claim.clone()));
    engine.settle_fence_later(migration, Side::Legacy, &moved).await;
    point("complete.settled").await?;
    let closed = engine.tracking.close(id, Closing::Completed, &ended).await?;
    point("complete.committed").await?;
    Ok(closed)
}

fn times(claim: &Claim, record: &Record, now: i64) -> Ended {
    let paused_us = record.open().map(|open| microseconds(open.since));
    if let Some(paused) = paused_us {
        metrics::histogram!("handover_pause_seconds").record((now - paused) as f64 / 1e6);
    }
    Ended { claim: claim.clone(), paused_us, unpaused_us: Some(now), reason: None }
}

fn microseconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}
