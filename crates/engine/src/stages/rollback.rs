//! Rollback: pauses, and behind a fresh fence proves that neither side has changed since `completed`, or carries what
//! has changed back where that was ordered; then removes at the destination, in the transaction that hashed it, and lets
//! the user back onto legacy.

use std::collections::HashMap;

use futures_util::{StreamExt as _, stream};
use handover_canonical::Digest;
use handover_fault::point;
use handover_fence::Side;
use handover_identity::Mirrored;
use handover_identity::{BeginRollback, Release};
use handover_tracking::{Admission, Claim, Closing, Ended, Kind, OpenAttempt, Tracking};
use serde_json::Value;
use tokio_postgres::{IsolationLevel, Transaction};

use super::{Outcomes, by_migration, by_plan, retry, splitting, verify};
use crate::bound::Bound;
use crate::bundle::Bundle;
use crate::carry::{self, Carried, Left};
use crate::error::Disposition;
use crate::fence::Way;
use crate::position::Position;
use crate::scan::Access;
use crate::takeback::identity_users;
use crate::{Engine, Error, Job, Outcome, StageName, Step, position, reason, scan};

/// How many users one batch pauses. Those who changed cost many round trips each, for a report or a reverse load, and
/// the whole batch is paused meanwhile. More processes, and more batches in each, take more users back at a time.
const MOST_AT_ONCE: usize = 8;
/// How many of a batch's changed users are seen to at the same time; each takes a session on either side.
const CHANGED_AT_ONCE: usize = 2;

/// The rollback stage.
pub struct Rollback(pub Engine);

impl Step for Rollback {
    fn stage(&self) -> StageName {
        StageName::Rollback
    }

    async fn capacity(&self, want: usize) -> Result<usize, Error> {
        self.0.room(Kind::Rollback, want.min(MOST_AT_ONCE)).await
    }

    async fn run(&self, jobs: &[Job]) -> Vec<Outcome> {
        by_migration(&self.0, jobs, |migration, id, claims| stage(&self.0, migration, id, claims)).await
    }

    async fn give_up(&self, job: &Job, reason: &str) -> Result<(), Error> {
        self.0.give_up(StageName::Rollback, job, reason).await
    }
}

async fn stage(engine: &Engine, migration: String, id: i32, claims: Vec<Claim>) -> Result<Outcomes, Error> {
    let mut outcomes = Outcomes::new();
    let bound = engine.options.max_paused;
    engine.fence_must_be_whole(id, &claims).await?;
    let Admission { admitted, no_room } = engine.tracking.admit(id, Kind::Rollback, &claims, bound).await?;
    point("rollback.admitted").await?;
    outcomes.set_all(no_room, &Outcome::NotNow);
    let (removed, standing): (Vec<_>, Vec<_>) = admitted.into_iter().partition(|attempt| attempt.removed);
    let gone: Vec<Claim> = removed.iter().map(OpenAttempt::claim).collect();
    outcomes.set_all(back_home(engine, &migration, id, &gone).await?, &Outcome::Finished);
    let paused = begin(engine, &migration, id, standing, &mut outcomes).await?;
    let mut paused = fence(engine, &migration, id, paused, &mut outcomes).await?;
    if !paused.is_empty() {
        point("rollback.fenced").await?;
        let left = carry::claim(engine, &migration, &paused).await?;
        point("rollback.claimed").await?;
        paused.retain(|attempt| left.contains_key(&attempt.claim()));
        let position = position::take(&engine.primary).await?;
        point("rollback.positioned").await?;
        let claims: Vec<Claim> = paused.iter().map(OpenAttempt::claim).collect();
        let fenced = engine.tracking.fenced(id, &claims, &position.lsn, &position.server).await?;
        point("rollback.recorded").await?;
        let mut standing = paused;
        standing.retain(|attempt| fenced.contains(&attempt.claim()));
        for (bound, attempts) in by_plan(engine, "rollback", &migration, standing, &mut outcomes).await {
            let work = |bundle| take_out(engine, &bound, bundle, &position, &left);
            splitting(engine, "rollback", &bound, attempts, &mut outcomes, work).await;
        }
    }
    Ok(outcomes)
}

/// Tells Identity, and drains; returns the attempts whose users it pauses now, and whom nobody serves on an older
/// state.
async fn begin(
    engine: &Engine,
    migration: &str,
    id: i32,
    attempts: Vec<OpenAttempt>,
    outcomes: &mut Outcomes,
) -> Result<Vec<OpenAttempt>, Error> {
    if attempts.is_empty() {
        return Ok(attempts);
    }
    let users = identity_users(attempts.iter().map(OpenAttempt::claim));
    let done = engine.identity.begin_rollback(migration, &users).await?;
    point("rollback.begun").await?;
    let (mut paused, mut busy) = (Vec::new(), Vec::new());
    for (attempt, outcome) in attempts.into_iter().zip(done.outcomes) {
        match outcome {
            BeginRollback::Begun | BeginRollback::AlreadyBegun => paused.push(attempt),
            BeginRollback::Busy { .. } => busy.push(attempt.claim()),
            BeginRollback::HomeIsLegacy | BeginRollback::Superseded => {
                let text = "Identity does not know this user as migrated by the attempt that is to be undone";
                let reason = reason::of_text("rollback", "identity_disagrees", text);
                outcomes.set(attempt.claim(), engine.end_failed(migration, &attempt, reason).await);
            }
        }
    }
    let busy = engine.tracking.requeue(id, &busy).await?;
    outcomes.set_all(busy, &Outcome::NotNow);
    if let Mirrored::Yes(told) = done.mirrored {
        let users: Vec<String> = paused.iter().map(|attempt| attempt.claim().user).collect();
        engine.identity.drain(&users, told.as_ref(), engine.options.drain).await?;
        point("rollback.drained").await?;
        return Ok(paused);
    }
    let reason = "the mirror does not know of the pause yet".to_owned();
    outcomes.set_all(paused.iter().map(OpenAttempt::claim), &Outcome::Retry { reason });
    Ok(Vec::new())
}

/// Closes both sides' fences: the destination's, which the users may leave, and legacy's, which they may come back to.
async fn fence(
    engine: &Engine,
    migration: &str,
    id: i32,
    mut paused: Vec<OpenAttempt>,
    outcomes: &mut Outcomes,
) -> Result<Vec<OpenAttempt>, Error> {
    let claims: Vec<Claim> = paused.iter().map(OpenAttempt::claim).collect();
    for way in [Way::Out(Side::Destination), Way::Back] {
        paused = engine.raise_fence(StageName::Rollback, migration, way, paused, outcomes).await?;
    }
    // Taken back meanwhile: the user goes on at the destination, and must not wait there for the reconciler.
    engine.lift_if_gone(id, migration, Side::Destination, &claims).await?;
    Ok(paused)
}

/// An attempt whose user may go back: legacy's rows are those that were moved, or that a reverse load left there.
struct Going {
    attempt: OpenAttempt,
    /// What legacy holds.
    source: Digest,
    /// Whether that is what a reverse load left.
    carried: bool,
}

/// Takes those of the users back to legacy whom neither side has changed, and those whose changes may be carried back;
/// refuses the others.
async fn take_out(
    engine: &Engine,
    bound: &Bound,
    attempts: Vec<OpenAttempt>,
    position: &Position,
    left: &HashMap<Claim, Left>,
) -> Result<Vec<(Claim, Outcome)>, Error> {
    let migration = bound.plan.name();
    let source = scan::source(engine, &engine.bundle(bound, &attempts)?, position).await?;
    point("rollback.hashed").await?;
    let (mut going, mut legacy_changed) = (Vec::new(), Vec::new());
    for (nth, attempt) in attempts.into_iter().enumerate() {
        let digest = source.digest(bound, nth);
        let bytes = Some(digest.as_bytes().as_slice());
        let carried = left.get(&attempt.claim()).is_some_and(|left| left.as_deref() == bytes);
        if carried || attempt.digest.as_deref() == bytes {
            going.push(Going { attempt, source: digest, carried });
        } else {
            legacy_changed.push(attempt);
        }
    }
    let (removed, changed) = remove(engine, bound, going).await?;
    let home = back_home(engine, migration, bound.migration_id, &removed).await?;
    let mut outcomes: Vec<(Claim, Outcome)> =
        home.into_iter().map(|claim| (claim, Outcome::Finished)).collect();
    let on_legacy = legacy_changed.into_iter().map(|attempt| Changed::OnLegacy(Box::new(attempt)));
    let changed = on_legacy.chain(changed.into_iter().map(|going| Changed::OnNew(Box::new(going))));
    let seen_to =
        stream::iter(changed).map(|changed| see_to(engine, bound, changed)).buffered(CHANGED_AT_ONCE);
    outcomes.extend(seen_to.collect::<Vec<_>>().await);
    Ok(outcomes)
}

/// An attempt that cannot simply be undone.
enum Changed {
    OnLegacy(Box<OpenAttempt>),
    OnNew(Box<Going>),
}

/// Carries changes back where that was ordered; refuses otherwise.
async fn see_to(engine: &Engine, bound: &Bound, changed: Changed) -> (Claim, Outcome) {
    match changed {
        Changed::OnLegacy(attempt) => {
            (attempt.claim(), refused(engine, bound, &attempt, LEGACY_CHANGED).await)
        }
        Changed::OnNew(going) if going.attempt.carry_back => {
            (going.attempt.claim(), Box::pin(carry_back(engine, bound, *going)).await)
        }
        Changed::OnNew(going) => {
            (going.attempt.claim(), refused(engine, bound, &going.attempt, CHANGED).await)
        }
    }
}

/// Carries one user's changes back, and then removes what was carried. One user's trouble stays that user's.
async fn carry_back(engine: &Engine, bound: &Bound, going: Going) -> Outcome {
    let attempt = going.attempt.clone();
    match carried_back(engine, bound, going).await {
        Ok(outcome) => outcome,
        Err(error) if error.disposition() == Disposition::Retry => retry(&error),
        Err(error) => {
            let reason = reason::of_error("rollback", &error);
            engine.end_failed(bound.plan.name(), &attempt, reason).await
        }
    }
}

async fn carried_back(engine: &Engine, bound: &Bound, going: Going) -> Result<Outcome, Error> {
    let digest = match carry::carry(engine, bound, &going.attempt, &going.source).await? {
        Carried::Loaded(digest) => digest,
        Carried::LegacyChanged => return Ok(refused(engine, bound, &going.attempt, LEGACY_CHANGED).await),
    };
    let damaged = |_| handover_tracking::Error::Damaged("a carried digest's length".to_owned());
    let source = Digest::from_bytes(digest.try_into().map_err(damaged)?);
    let claim = going.attempt.claim();
    let (removed, changed) = remove(engine, bound, vec![Going { source, carried: true, ..going }]).await?;
    if let Some(going) = changed.first() {
        return Ok(refused(engine, bound, &going.attempt, CHANGED).await);
    }
    let home = back_home(engine, bound.plan.name(), bound.migration_id, &removed).await?;
    Ok(if home.contains(&claim) { Outcome::Finished } else { Outcome::Stale })
}

/// Removes, in one transaction that hashes first, the rows of those whose rows are what legacy holds; returns their
/// claims, and the others.
async fn remove(
    engine: &Engine,
    bound: &Bound,
    going: Vec<Going>,
) -> Result<(Vec<Claim>, Vec<Going>), Error> {
    if going.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let mut session = engine.destination.get().await?;
    let done = async {
        // Repeatable read: a row that somebody changes between the hash and the removal makes the removal fail.
        let builder = session.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
        let transaction = builder.start().await?;
        let (same, changed) = compare_all(engine, &transaction, bound, going).await?;
        point("rollback.compared").await?;
        let claims: Vec<Claim> = same.iter().map(|going| going.attempt.claim()).collect();
        let held: Vec<(Claim, Digest)> =
            same.iter().map(|going| (going.attempt.claim(), going.source)).collect();
        carry::spend(engine, bound.plan.name(), &held).await?;
        point("rollback.spent").await?;
        let same: Vec<OpenAttempt> = same.into_iter().map(|going| going.attempt).collect();
        if !same.is_empty() {
            delete(&transaction, &engine.bundle(bound, &same)?).await?;
        }
        let removed = Tracking::removed(&transaction, bound.migration_id, &claims).await?;
        if removed.len() != claims.len() {
            // Somebody took one of them back meanwhile: nothing is removed, and the next pass sees who is left.
            return Err(Error::Outrun);
        }
        point("rollback.removing").await?;
        transaction.commit().await?;
        point("rollback.removed").await?;
        Ok((removed, changed))
    }
    .await;
    if done.is_err() {
        session.discard();
    }
    done
}

async fn compare_all(
    engine: &Engine,
    transaction: &Transaction<'_>,
    bound: &Bound,
    going: Vec<Going>,
) -> Result<(Vec<Going>, Vec<Going>), Error> {
    let attempts: Vec<OpenAttempt> = going.iter().map(|going| going.attempt.clone()).collect();
    let bundle = engine.bundle(bound, &attempts)?;
    scan::set_users(transaction, &bundle, Access::Writes).await?;
    let written = scan::read_back(transaction, &bundle).await?;
    let (mut same, mut changed) = (Vec::new(), Vec::new());
    for (nth, going) in going.into_iter().enumerate() {
        // What a row's derived columns are does not matter to legacy, which has none.
        let is_spoilt = !going.carried && written.spoilt(nth).is_some();
        if written.digest(bound, nth) == going.source && !is_spoilt {
            same.push(going);
        } else {
            changed.push(going);
        }
    }
    Ok((same, changed))
}

/// Deletes the bundle's rows, children first, and proves that none is left.
pub(crate) async fn delete(transaction: &Transaction<'_>, bundle: &Bundle<'_>) -> Result<(), Error> {
    scan::set_users(transaction, bundle, Access::Writes).await?;
    for entity in bundle.bound.plan.entities().iter().rev() {
        transaction.batch_execute(&entity.delete).await?;
    }
    for entity in bundle.bound.plan.entities() {
        if scan::holds_any(transaction, &entity.read_back).await? {
            return Err(Error::Remains { entity: entity.name.clone() });
        }
    }
    Ok(())
}

/// A kind of refusal, with its text.
type Refusal = (&'static str, &'static str);
const CHANGED: Refusal = ("changed", "the new system's rows have changed since the user moved");
const LEGACY_CHANGED: Refusal = ("legacy_changed", "legacy's rows are no longer those that were moved");

async fn refused(engine: &Engine, bound: &Bound, attempt: &OpenAttempt, refusal: Refusal) -> Outcome {
    let (kind, text) = refusal;
    let reason: Value = match verify::differences(engine, bound, attempt).await {
        Ok(report) => reason::of_report("rollback", kind, &format!("{text}: {}", report.summary()), &report),
        Err(error) => reason::of_text("rollback", kind, &format!("{text} (no report: {error})")),
    };
    engine.end_failed(bound.plan.name(), attempt, reason).await
}

/// Lets users whose rows are removed back onto legacy, and closes their attempts.
pub(crate) async fn back_home(
    engine: &Engine,
    migration: &str,
    id: i32,
    gone: &[Claim],
) -> Result<Vec<Claim>, Error> {
    if gone.is_empty() {
        return Ok(Vec::new());
    }
    let users = identity_users(gone.iter().cloned());
    // Before the release: whoever is let back onto legacy may write there at once, and nowhere else.
    engine.settle_fence(migration, Side::Destination, &users).await?;
    point("rollback.settled").await?;
    engine.lift_fence(migration, Side::Legacy, &users).await?;
    point("rollback.lifted").await?;
    let done = engine.identity.release(migration, &users).await?;
    point("rollback.released").await?;
    let mut ended = Vec::with_capacity(gone.len());
    for (claim, outcome) in gone.iter().zip(done.outcomes) {
        match outcome {
            Release::Released | Release::AlreadyLegacy => ended.push(Ended::of(claim.clone())),
            // Nothing that this program does leads here; closed, it would be forgotten.
            Release::NotOurs | Release::HomeIsNew => tracing::error!(
                migration,
                version = claim.version,
                ?outcome,
                "a user's rows are removed and Identity does not let the user back onto legacy"
            ),
        }
    }
    let closed = engine.tracking.close(id, Closing::RolledBack, &ended).await?;
    point("rollback.committed").await?;
    Ok(closed)
}
