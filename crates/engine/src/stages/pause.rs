//! Pause: admits, tells Identity, drains, raises the database fence where it is on, and only then takes the fence
//! position, once for the batch.

use handover_fault::{Mutant, mutated, point};
use handover_fence::Side;
use handover_identity::{Begin, Mirrored};
use handover_tracking::{Admission, Claim, Closing, Ended, Kind, OpenAttempt};

use super::{Outcomes, by_migration};
use crate::fence::Way;
use crate::position::Position;
use crate::takeback::identity_users;
use crate::{Engine, Error, Job, Outcome, StageName, Step, position, reason};

/// The pause stage.
pub struct Pause(pub Engine);

impl Step for Pause {
    fn stage(&self) -> StageName {
        StageName::Pause
    }

    async fn capacity(&self, want: usize) -> Result<usize, Error> {
        self.0.room(Kind::Move, want).await
    }

    async fn run(&self, jobs: &[Job]) -> Vec<Outcome> {
        by_migration(&self.0, jobs, |migration, id, claims| pause(&self.0, migration, id, claims)).await
    }

    async fn give_up(&self, job: &Job, reason: &str) -> Result<(), Error> {
        self.0.give_up(StageName::Pause, job, reason).await
    }
}

async fn pause(engine: &Engine, migration: String, id: i32, claims: Vec<Claim>) -> Result<Outcomes, Error> {
    let mut outcomes = Outcomes::new();
    let bound = engine.options.max_paused;
    engine.fence_must_be_whole(id, &claims).await?;
    let Admission { admitted, no_room } = engine.tracking.admit(id, Kind::Move, &claims, bound).await?;
    point("pause.admitted").await?;
    outcomes.set_all(no_room, &Outcome::NotNow);
    if admitted.is_empty() {
        return Ok(outcomes);
    }
    // Never, but for a test that proves that it loses what is written while a pause drains.
    let early = if mutated(Mutant::PositionBeforeDrain) { Some(position(engine).await?) } else { None };
    // From here on an error is retried with the users admitted: a second pass finds them so and goes on.
    let paused = begin(engine, &migration, id, &admitted, &mut outcomes).await?;
    let paused = fence(engine, &migration, admitted, &paused, &mut outcomes).await?;
    point("pause.fenced").await?;
    if paused.is_empty() {
        return Ok(outcomes);
    }
    let position = match early {
        Some(position) => position,
        None => position(engine).await?,
    };
    let fenced = engine.tracking.fenced(id, &paused, &position.lsn, &position.server).await?;
    point("pause.committed").await?;
    outcomes.set_all(fenced, &Outcome::Advance(StageName::Copy));
    engine.lift_if_gone(id, &migration, Side::Legacy, &paused).await?;
    Ok(outcomes)
}

/// With the database fence on: refuses writes for these users from here on, and waits for the transactions that wrote
/// for them before.
async fn fence(
    engine: &Engine,
    migration: &str,
    admitted: Vec<OpenAttempt>,
    paused: &[Claim],
    outcomes: &mut Outcomes,
) -> Result<Vec<Claim>, Error> {
    let attempts = admitted.into_iter().filter(|attempt| paused.contains(&attempt.claim())).collect();
    let way = Way::Out(Side::Legacy);
    let fenced = engine.raise_fence(StageName::Pause, migration, way, attempts, outcomes).await?;
    Ok(fenced.iter().map(OpenAttempt::claim).collect())
}

async fn position(engine: &Engine) -> Result<Position, Error> {
    let position = position::take(&engine.primary).await?;
    point("pause.positioned").await?;
    Ok(position)
}

/// Tells Identity, truth and mirror, and drains; returns the claims whose users are paused by them now, and whom
/// nobody serves on an older state.
async fn begin(
    engine: &Engine,
    migration: &str,
    id: i32,
    admitted: &[OpenAttempt],
    outcomes: &mut Outcomes,
) -> Result<Vec<Claim>, Error> {
    let users = identity_users(admitted.iter().map(OpenAttempt::claim));
    let done = engine.identity.begin(migration, &users).await?;
    point("pause.begun").await?;
    let (mut paused, mut skipped, mut busy) = (Vec::new(), Vec::new(), Vec::new());
    for (attempt, outcome) in admitted.iter().zip(done.outcomes) {
        let claim = attempt.claim();
        match outcome {
            Begin::Begun | Begin::AlreadyBegun => paused.push(claim),
            Begin::HomeIsNew => skipped.push(born_on_new(claim)),
            Begin::Busy { .. } => busy.push(claim),
            Begin::Superseded => {
                let text = "Identity has seen a newer attempt of this user than tracking has";
                let reason = reason::of_text("pause", "superseded", text);
                outcomes.set(claim, engine.end_failed(migration, attempt, reason).await);
            }
        }
    }
    let skipped = engine.tracking.close(id, Closing::Skipped, &skipped).await?;
    outcomes.set_all(skipped, &Outcome::Finished);
    let busy = engine.tracking.requeue(id, &busy).await?;
    outcomes.set_all(busy, &Outcome::NotNow);
    let Mirrored::Yes(told) = done.mirrored else {
        // Nobody who looks at the mirror knows of the pause: the drain would prove nothing.
        let reason = "the mirror does not know of the pause yet".to_owned();
        outcomes.set_all(paused, &Outcome::Retry { reason });
        return Ok(Vec::new());
    };
    let users: Vec<String> = paused.iter().map(|claim| claim.user.clone()).collect();
    engine.identity.drain(&users, told.as_ref(), engine.options.drain).await?;
    point("pause.drained").await?;
    Ok(paused)
}

/// The end of an attempt whose user was on the new system already.
pub(crate) fn born_on_new(claim: Claim) -> Ended {
    let text = "the user was on the new system already: there was nothing to move";
    Ended { reason: Some(reason::of_text("pause", "born_on_new", text)), ..Ended::of(claim) }
}
