//! Copy: one snapshot on the replica past the fence, one transaction at the destination, rows hashed as they
//! stream from one to the other.

use bytes::{Bytes, BytesMut};
use futures_util::SinkExt;
use handover_canonical::copy::{HEADER, TRAILER};
use handover_fault::point;
use handover_plan::Entity;
use handover_tracking::{Claim, Copied, OpenAttempt, OpenState, Tracking};
use handover_transform::Scratch;
use tokio_postgres::{CopyInSink, Transaction};

use super::{Outcomes, by_migration, by_plan, splitting, standing};
use crate::bound::{Bound, Load};
use crate::bundle::{Bundle, Hashes};
use crate::compare::row_key;
use crate::rows::{Rows, Side};
use crate::scan::{Access, owner, read_back, set_users, snapshot};
use crate::{Engine, Error, Job, Outcome, StageName, Step, position, scan};

/// How many bytes are sent to the destination at a time.
const CHUNK: usize = 64 * 1024;

/// The copy stage.
pub struct Copy(pub Engine);

impl Step for Copy {
    fn stage(&self) -> StageName {
        StageName::Copy
    }

    async fn capacity(&self, want: usize) -> Result<usize, Error> {
        Ok(want)
    }

    async fn run(&self, jobs: &[Job]) -> Vec<Outcome> {
        by_migration(&self.0, jobs, |migration, id, claims| stage(&self.0, migration, id, claims)).await
    }

    async fn give_up(&self, job: &Job, reason: &str) -> Result<(), Error> {
        self.0.give_up(StageName::Copy, job, reason).await
    }
}

async fn stage(engine: &Engine, migration: String, id: i32, claims: Vec<Claim>) -> Result<Outcomes, Error> {
    let mut outcomes = Outcomes::new();
    let copying = standing(engine, id, &claims, OpenState::Copying).await?;
    for (bound, attempts) in by_plan(engine, "copy", &migration, copying, &mut outcomes).await {
        let work = |bundle| copy(engine, &bound, bundle);
        splitting(engine, "copy", &bound, attempts, &mut outcomes, work).await;
    }
    Ok(outcomes)
}

/// Copies a bundle. Attempts that have moved on meanwhile are left out, and the rest copied without them.
async fn copy(
    engine: &Engine,
    bound: &Bound,
    mut attempts: Vec<OpenAttempt>,
) -> Result<Vec<(Claim, Outcome)>, Error> {
    while !attempts.is_empty() {
        let held = match transfer(engine, bound, &attempts).await {
            Ok(Transfer::Committed(claims)) => return Ok(advance(claims)),
            Ok(Transfer::Outrun(held)) => held,
            Err(error) => return told(engine, bound, &attempts, error).await,
        };
        let before = attempts.len();
        attempts.retain(|attempt| held.contains(&attempt.claim()));
        if attempts.len() == before {
            return Err(Error::Outrun);
        }
    }
    Ok(Vec::new())
}

fn advance(claims: Vec<Claim>) -> Vec<(Claim, Outcome)> {
    claims.into_iter().map(|claim| (claim, Outcome::Advance(StageName::Verify))).collect()
}

/// Where the answer to COMMIT was lost, the attempts' rows tell whether it was done.
async fn told(
    engine: &Engine,
    bound: &Bound,
    attempts: &[OpenAttempt],
    error: Error,
) -> Result<Vec<(Claim, Outcome)>, Error> {
    let claims: Vec<Claim> = attempts.iter().map(OpenAttempt::claim).collect();
    let now = engine.tracking.open(bound.migration_id, &claims).await?;
    if !now.is_empty() && now.iter().all(|attempt| attempt.state == OpenState::Verifying) {
        return Ok(advance(now.iter().map(OpenAttempt::claim).collect()));
    }
    Err(error)
}

enum Transfer {
    /// Committed, for all.
    Committed(Vec<Claim>),
    /// Not committed: only these attempts still stood at the end.
    Outrun(Vec<Claim>),
}

async fn transfer(engine: &Engine, bound: &Bound, attempts: &[OpenAttempt]) -> Result<Transfer, Error> {
    let bundle = engine.bundle(bound, attempts)?;
    let mut replica = engine.replica.get().await?;
    let mut destination = engine.destination.get().await?;
    let migration = bound.plan.name();
    if engine.fence.is_some() {
        engine.wait_for_fence(&replica, migration, attempts).await?;
    } else {
        position::wait(&mut replica, &fence(attempts)?, engine.options.replica_wait).await?;
    }
    let done = async {
        point("copy.passed").await?;
        let source = snapshot(&mut replica).await?;
        if !engine.is_fenced_in(&source, migration, attempts).await? {
            return Err(Error::FenceUnseen { waited_ms: 0 });
        }
        point("copy.snapshot").await?;
        let target = destination.transaction().await?;
        let done = load(&source, &target, &bundle, engine.options.verify_before_commit).await?;
        if matches!(done, Transfer::Committed(_)) {
            point("copy.committing").await?;
            target.commit().await?;
            point("copy.committed").await?;
        }
        Ok(done)
    }
    .await;
    if done.is_err() {
        // A refused COPY leaves a session that cannot be used, and a broken stream one that is still busy.
        replica.discard();
        destination.discard();
    }
    done
}

fn fence(attempts: &[OpenAttempt]) -> Result<position::Position, Error> {
    let fences = attempts.iter().filter_map(|a| Some((a.fence_lsn.as_deref()?, a.fence_system.as_deref()?)));
    let damaged =
        || handover_tracking::Error::Damaged("an attempt is copying without a fence position".to_owned());
    let systems: std::collections::BTreeSet<&str> = fences.clone().map(|(_, system)| system).collect();
    if systems.len() > 1 {
        return Err(Error::Replica("the bundle's fence positions are of several systems".to_owned()));
    }
    Ok(position::latest(fences).ok_or_else(damaged)?)
}

async fn load(
    source: &Transaction<'_>,
    target: &Transaction<'_>,
    bundle: &Bundle<'_>,
    verify: bool,
) -> Result<Transfer, Error> {
    set_users(source, bundle, Access::Reads).await?;
    set_users(target, bundle, Access::Writes).await?;
    prove_empty(target, bundle).await?;
    point("copy.proven_empty").await?;
    let mut hashes = Hashes::new(bundle);
    for nth in 0..bundle.bound.plan.entities().len() {
        load_entity(source, target, bundle, nth, &mut hashes).await?;
        point("copy.loading").await?;
    }
    if verify {
        let written = read_back(target, bundle).await?;
        let differs =
            |user: &usize| written.digest(bundle.bound, *user) != hashes.digest(bundle.bound, *user);
        if (0..bundle.len()).any(|user| differs(&user) || written.spoilt(user).is_some()) {
            return Err(Error::Unequal);
        }
    }
    // The last statement before COMMIT: whoever sees the attempt as verifying sees all of its rows.
    let copied: Vec<Copied> = (0..bundle.len()).map(|user| copied(bundle, &hashes, user)).collect();
    point("copy.hashed").await?;
    let claims = Tracking::copied(target, bundle.bound.migration_id, &copied).await?;
    Ok(if claims.len() == bundle.len() { Transfer::Committed(claims) } else { Transfer::Outrun(claims) })
}

fn copied(bundle: &Bundle<'_>, hashes: &Hashes, user: usize) -> Copied {
    let digest = *hashes.digest(bundle.bound, user).as_bytes();
    Copied { claim: bundle.attempts[user].claim(), digest, rows: hashes.rows(user) }
}

/// Proves that the destination holds no row of these users: a second copy of a user would double them.
async fn prove_empty(target: &Transaction<'_>, bundle: &Bundle<'_>) -> Result<(), Error> {
    for entity in bundle.bound.plan.entities() {
        if scan::holds_any(target, &entity.read_back).await? {
            return Err(Error::Occupied { entity: entity.name.clone() });
        }
    }
    Ok(())
}

async fn load_entity(
    source: &Transaction<'_>,
    target: &Transaction<'_>,
    bundle: &Bundle<'_>,
    nth: usize,
    hashes: &mut Hashes,
) -> Result<(), Error> {
    let (entity, load) = (&bundle.bound.plan.entities()[nth], &bundle.bound.loads[nth]);
    let copy = match load {
        Load::Table { copy, .. } => copy,
        Load::Staged { create, copy, .. } => {
            target.batch_execute(create).await?;
            copy
        }
    };
    let fields = 1 + entity.layout.columns().len();
    let mut rows = Rows::of(source, &entity.extract, fields, &entity.name, Side::Source).await?;
    let mut writer = Writer::new(target, copy, "destination").await?;
    let (mut hashing, mut scratch) = (hashes.entity(bundle, nth), Scratch::default());
    while let Some(tuple) = rows.next().await? {
        let user = owner(bundle, &entity.name, &tuple)?;
        point("copy.extracting").await?;
        hashing.add(user, tuple.after(1))?;
        writer.put(entity, load, &tuple, &mut scratch)?;
        if writer.buffer.len() >= CHUNK && !writer.flush().await? {
            break;
        }
    }
    if let Err(error) = writer.finish().await {
        drop(rows);
        return Err(named(source, bundle, entity, error).await);
    }
    if let Load::Staged { sql, .. } = load {
        target.batch_execute(sql).await?;
    }
    Ok(())
}

/// The error with the key of the row that the destination refused, where the user stands alone and the server
/// told the row's number: the same query in the same snapshot gives the rows in the same order.
async fn named(source: &Transaction<'_>, bundle: &Bundle<'_>, entity: &Entity, error: Error) -> Error {
    let Error::Postgres(refusal) = error else { return error };
    let (Some(line), true) = (refusal.copy_line(), bundle.len() == 1) else { return refusal.into() };
    match nth_row(source, entity, line).await {
        Ok(Some(row)) => Error::Refused { entity: entity.name.clone(), row, error: refusal },
        // The key is a help, not the reason.
        Ok(None) | Err(_) => refusal.into(),
    }
}

async fn nth_row(source: &Transaction<'_>, entity: &Entity, line: u64) -> Result<Option<String>, Error> {
    let fields = 1 + entity.layout.columns().len();
    let mut rows = Rows::of(source, &entity.extract, fields, &entity.name, Side::Source).await?;
    for _ in 1..line {
        rows.next().await?;
    }
    Ok(rows.next().await?.map(|tuple| row_key(entity, &tuple)))
}

/// A binary COPY into a table.
pub(crate) struct Writer {
    sink: std::pin::Pin<Box<CopyInSink<Bytes>>>,
    buffer: BytesMut,
    rows: u64,
    bytes: u64,
    side: &'static str,
}

impl Writer {
    /// Begins it; its rows are counted as that side's, which is also the name of the server.
    pub(crate) async fn new(target: &Transaction<'_>, copy: &str, side: &'static str) -> Result<Self, Error> {
        let sink = Box::pin(target.copy_in(copy).await?);
        let mut buffer = BytesMut::with_capacity(CHUNK + CHUNK / 8);
        buffer.extend_from_slice(&HEADER);
        Ok(Self { sink, buffer, rows: 0, bytes: 0, side })
    }

    fn put(
        &mut self,
        entity: &Entity,
        load: &Load,
        tuple: &handover_canonical::copy::Tuple,
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        self.rows += 1;
        match load {
            Load::Table { transform, .. } => transform
                .encode_row(
                    tuple.field(0).unwrap_or_default(),
                    tuple.after(1),
                    &[],
                    scratch,
                    &mut self.buffer,
                )
                .map_err(|error| Error::Row { entity: entity.name.clone(), error }),
            Load::Staged { .. } => {
                self.buffer.extend_from_slice(tuple.wire());
                Ok(())
            }
        }
    }

    /// Puts a row of so many fields as it stands on the wire, and sends what has gathered; false as for `flush`.
    pub(crate) async fn pass(&mut self, fields: i16, row: &[u8]) -> Result<bool, Error> {
        self.rows += 1;
        self.buffer.extend_from_slice(&fields.to_be_bytes());
        self.buffer.extend_from_slice(row);
        if self.buffer.len() < CHUNK { Ok(true) } else { self.flush().await }
    }

    /// Sends what has been put; false when the server has ended the COPY, whose reason `finish` then gives.
    async fn flush(&mut self) -> Result<bool, Error> {
        self.bytes += self.buffer.len() as u64;
        let chunk = self.buffer.split().freeze();
        self.buffer.reserve(CHUNK + CHUNK / 8);
        match self.sink.send(chunk).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_closed() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends it, and proves that every row was taken.
    pub(crate) async fn finish(mut self) -> Result<(), Error> {
        self.buffer.extend_from_slice(&TRAILER);
        self.flush().await?;
        let finished = self.sink.as_mut().finish().await;
        let loaded = finished.map_err(|error| handover_postgres::Error::from(error).of(self.side))?;
        metrics::counter!("handover_rows_total", "side" => self.side).increment(self.rows);
        metrics::counter!("handover_bytes_total", "side" => self.side).increment(self.bytes);
        if loaded == self.rows {
            return Ok(());
        }
        // A trigger or a rule took rows away: the read-back would find it too, but here it is named.
        let text = format!("{} rows were sent and {loaded} were taken", self.rows);
        Err(Error::Swallowed(text))
    }
}
