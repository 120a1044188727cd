//! The late-writer audit: hashes the source of users who have moved once more. Nobody may have written there since, so
//! another digest than the attempt's is a write that escaped.
//!
//! Users go on at the destination, whose rows may rightly differ by now. Which of the rows that differ were written
//! in the source is found out from the attempt's digest: it is a sum over rows, and the rows whose replacement by the
//! destination's gives that digest again are those that escaped.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use handover_canonical::copy::Tuple;
use handover_canonical::{EntityHash, KeyBlock, RowHash, RowHasher, user_digest};
use handover_plan::Entity;
use handover_postgres::Pool;
use handover_tracking::{OpenAttempt, Tracking};
use handover_transform::Speller;
use serde::Serialize;
use tokio_postgres::Transaction;

use crate::bound::{Bound, Plans};
use crate::bundle::Bundle;
use crate::compare::{self, Report, row_key};
use crate::error::Disposition;
use crate::rows::{Rows, Side};
use crate::scan::Access;
use crate::{Error, position, scan};

/// The most rows that differ among which those are sought that escaped: each one more doubles the work.
const SOUGHT: usize = 14;

/// Reads both sides, and writes nothing.
pub struct Auditor {
    /// The legacy primary, which sees one small query a batch.
    pub primary: Pool,
    /// The replica, which is read.
    pub replica: Pool,
    /// The destination, which is read where something has escaped.
    pub destination: Pool,
    /// Tracking, in the destination.
    pub tracking: Tracking,
    /// The plans that attempts are pinned to.
    pub plans: Plans,
    /// How long a batch's statements may take.
    pub patience: Duration,
    /// How long the replica may take to replay past the position.
    pub replica_wait: Duration,
    /// Whether alarms hold the values of fields that differ. They may be personal.
    pub values: bool,
}

/// A user whose source has changed since the move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Alarm {
    /// The user.
    pub user: String,
    /// The attempt that moved the user.
    pub attempt: i64,
    /// Whether these rows alone escaped. `false`: they differ, and which of the two sides changed cannot be told.
    pub certain: bool,
    /// How many rows.
    pub count: usize,
    /// The first of them.
    pub rows: Vec<Escaped>,
}

/// A row that was written in the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Escaped {
    /// The plan's entity.
    pub entity: String,
    /// The row's key; a value that may be personal is named by a hash.
    pub key: String,
    /// What was done to it.
    pub what: Escape,
    /// The fields that differ from the destination's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// Where they were asked for: the values of these fields.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, Values>,
}

/// What was done to a row of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Escape {
    /// It was changed.
    Changed,
    /// It is not at the destination: it was added.
    Added,
    /// It is at the destination alone: it was deleted.
    Deleted,
}

/// A field's values on both sides; `None` is NULL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Values {
    /// In the source.
    pub legacy: Option<String>,
    /// At the destination.
    pub new: Option<String>,
}

impl Auditor {
    /// Hashes these users' source again, past a fresh position; returns those of whom it has changed. All must be of
    /// one migration.
    pub async fn audit(&self, attempts: &[OpenAttempt]) -> Result<Vec<Alarm>, Error> {
        let mut plans: BTreeMap<i32, Vec<OpenAttempt>> = BTreeMap::new();
        for attempt in attempts {
            plans.entry(attempt.plan_id).or_default().push(attempt.clone());
        }
        let mut alarms = Vec::new();
        for (plan_id, attempts) in plans {
            let bound = self.plans.read(plan_id, &self.tracking).await?;
            for attempt in self.changed(&bound, &attempts).await? {
                alarms.extend(self.alarm(&bound, attempt).await?);
            }
        }
        Ok(alarms)
    }

    /// Those whose source hashes to another digest than their attempt's.
    async fn changed<'a>(
        &self,
        bound: &Bound,
        attempts: &'a [OpenAttempt],
    ) -> Result<Vec<&'a OpenAttempt>, Error> {
        match self.compared(bound, attempts).await {
            // A user of very many rows does not share a bundle.
            Err(error) if error.disposition() == Disposition::Data && attempts.len() > 1 => {
                let mut changed = Vec::new();
                for attempt in attempts {
                    changed.extend(self.compared(bound, std::slice::from_ref(attempt)).await?);
                }
                Ok(changed)
            }
            other => other,
        }
    }

    async fn compared<'a>(
        &self,
        bound: &Bound,
        attempts: &'a [OpenAttempt],
    ) -> Result<Vec<&'a OpenAttempt>, Error> {
        let bundle = Bundle::new(bound, attempts, self.patience)?;
        let past = position::take(&self.primary).await?;
        let mut session = self.replica.get().await?;
        position::wait(&mut session, &past, self.replica_wait).await?;
        let hashes = async {
            let transaction = scan::snapshot(&mut session).await?;
            let hashes = scan::extract(&transaction, &bundle, Access::Reads).await?;
            transaction.rollback().await?;
            Ok::<_, Error>(hashes)
        }
        .await;
        if hashes.is_err() {
            session.discard();
        }
        let hashes = hashes?;
        let differs = |(nth, attempt): &(usize, &OpenAttempt)| {
            attempt.digest.as_deref() != Some(hashes.digest(bound, *nth).as_bytes().as_slice())
        };
        Ok(attempts.iter().enumerate().filter(differs).map(|(_, attempt)| attempt).collect())
    }

    /// What has changed, row by row. Nothing, where the user went back meanwhile and rightly writes there.
    async fn alarm(&self, bound: &Bound, attempt: &OpenAttempt) -> Result<Option<Alarm>, Error> {
        let (mut replica, mut destination) = (self.replica.get().await?, self.destination.get().await?);
        let found = async {
            let source = scan::snapshot(&mut replica).await?;
            let target = scan::snapshot(&mut destination).await?;
            let bundle = Bundle::new(bound, std::slice::from_ref(attempt), self.patience)?;
            let report = compare::report(&source, &target, &bundle).await?;
            let evidence = Evidence::read(&source, &target, bound, attempt, &report).await?;
            Ok::<_, Error>(self.sentence(attempt, &report, &evidence, bound))
        }
        .await;
        if found.is_err() {
            replica.discard();
            destination.discard();
        }
        let alarm = found?;
        Ok(if self.tracking.still_completed(attempt).await? { Some(alarm) } else { None })
    }

    fn sentence(&self, attempt: &OpenAttempt, report: &Report, evidence: &Evidence, bound: &Bound) -> Alarm {
        let guilty = if report.more || report.count != report.rows.len() {
            None
        } else {
            evidence.guilty(bound, attempt.digest.as_deref().unwrap_or_default())
        };
        let certain = guilty.is_some();
        let chosen = |nth: &usize| guilty.as_ref().is_none_or(|guilty| guilty.contains(nth));
        let rows: Vec<Escaped> = (0..evidence.rows.len())
            .filter(chosen)
            .map(|nth| evidence.rows[nth].told(self.values, bound))
            .collect();
        let count = if certain { rows.len() } else { report.count.max(rows.len()) };
        Alarm { user: attempt.user.clone(), attempt: attempt.attempt, certain, count, rows }
    }
}

/// The source's hash by entity, and both sides' hashes of the rows that differ.
struct Evidence {
    source: Vec<EntityHash>,
    rows: Vec<Suspect>,
}

/// A row that differs, or several of one key.
struct Suspect {
    entity: usize,
    key: String,
    what: Escape,
    fields: Vec<String>,
    legacy: Vec<Seen>,
    new: Vec<Seen>,
}

/// One side's row.
struct Seen {
    hash: RowHash,
    /// The canonical row's fields, as on the wire.
    fields: Vec<Option<Vec<u8>>>,
}

impl Evidence {
    /// Reads both sides once more in the snapshots that the report was made in, whose users are set.
    async fn read(
        source: &Transaction<'_>,
        target: &Transaction<'_>,
        bound: &Bound,
        attempt: &OpenAttempt,
        report: &Report,
    ) -> Result<Self, Error> {
        let mut rows = suspects(bound, report);
        let key = key_block(attempt)?;
        let mut hashes = Vec::new();
        for (nth, entity) in bound.plan.entities().iter().enumerate() {
            let hasher = RowHasher::new(&key, &entity.layout);
            let columns = entity.layout.columns().len();
            let mut all = EntityHash::default();
            let mut theirs =
                Rows::of(source, &entity.extract, 1 + columns, &entity.name, Side::Source).await?;
            while let Some(tuple) = theirs.next().await? {
                let seen = Seen::of(entity, &hasher, &tuple)?;
                all.add(&seen.hash);
                if let Some(suspect) = find(&mut rows, nth, entity, &tuple) {
                    suspect.legacy.push(seen);
                }
            }
            let fields = 1 + columns + entity.derived.len();
            let mut ours = Rows::of(target, &entity.read_back, fields, &entity.name, Side::Readback).await?;
            while let Some(tuple) = ours.next().await? {
                if let Some(suspect) = find(&mut rows, nth, entity, &tuple) {
                    suspect.new.push(Seen::of(entity, &hasher, &tuple)?);
                }
            }
            hashes.push(all);
        }
        Ok(Self { source: hashes, rows })
    }

    /// The smallest set of suspects whose replacement by the destination's rows gives the digest again.
    fn guilty(&self, bound: &Bound, digest: &[u8]) -> Option<BTreeSet<usize>> {
        if self.rows.len() > SOUGHT {
            return None;
        }
        let mut sets: Vec<u32> = (0..1_u32 << self.rows.len()).collect();
        sets.sort_by_key(|set| set.count_ones());
        let set = sets.into_iter().find(|set| self.without(bound, *set) == digest)?;
        Some((0..self.rows.len()).filter(|nth| set & (1 << nth) != 0).collect())
    }

    /// The digest that the source would have if these suspects were as the destination has them.
    fn without(&self, bound: &Bound, set: u32) -> Vec<u8> {
        let mut hashes = self.source.clone();
        for (_, suspect) in self.rows.iter().enumerate().filter(|(nth, _)| set & (1 << nth) != 0) {
            let hash = &mut hashes[suspect.entity];
            suspect.legacy.iter().for_each(|seen| hash.sub(&seen.hash));
            suspect.new.iter().for_each(|seen| hash.add(&seen.hash));
        }
        let entities: Vec<_> = bound.layouts().zip(&hashes).collect();
        user_digest(&bound.hash, &entities).as_bytes().to_vec()
    }
}

fn key_block(attempt: &OpenAttempt) -> Result<KeyBlock, Error> {
    let damaged = |_| handover_tracking::Error::Damaged("a key block's length".to_owned());
    Ok(KeyBlock::from_bytes(attempt.key_block.as_slice().try_into().map_err(damaged)?))
}

/// The report's rows, each key of an entity once.
fn suspects(bound: &Bound, report: &Report) -> Vec<Suspect> {
    let mut suspects: Vec<Suspect> = Vec::new();
    for row in &report.rows {
        let entity = bound.plan.entities().iter().position(|entity| entity.name == row.entity).unwrap_or(0);
        if suspects.iter().any(|known| known.entity == entity && known.key == row.key) {
            continue;
        }
        let (key, fields) = (row.key.clone(), row.fields.clone());
        let what = match row.kind {
            "missing at the destination" => Escape::Added,
            "only at the destination" => Escape::Deleted,
            _ => Escape::Changed,
        };
        suspects.push(Suspect { entity, key, what, fields, legacy: Vec::new(), new: Vec::new() });
    }
    suspects
}

fn find<'s>(
    suspects: &'s mut [Suspect],
    nth: usize,
    entity: &Entity,
    tuple: &Tuple,
) -> Option<&'s mut Suspect> {
    if !suspects.iter().any(|suspect| suspect.entity == nth) {
        return None;
    }
    let key = row_key(entity, tuple);
    suspects.iter_mut().find(|suspect| suspect.entity == nth && suspect.key == key)
}

impl Seen {
    fn of(entity: &Entity, hasher: &RowHasher, tuple: &Tuple) -> Result<Self, Error> {
        let columns = entity.layout.columns().len();
        let wire = |error| Error::Wire { what: format!("entity {}", entity.name), error };
        let hash = hasher.hash(tuple.run(1..1 + columns)).map_err(wire)?;
        let fields = (1..=columns).map(|nth| tuple.field(nth).map(<[u8]>::to_vec)).collect();
        Ok(Self { hash, fields })
    }
}

impl Suspect {
    fn told(&self, values: bool, bound: &Bound) -> Escaped {
        let entity = &bound.plan.entities()[self.entity];
        let value = |side: &[Seen], field: &str| {
            let position = entity.layout.position(field)?;
            let wire = side.first()?.fields.get(position)?.as_deref()?;
            Some(spelled(entity, position, wire))
        };
        let both = |field: &String| {
            (field.clone(), Values { legacy: value(&self.legacy, field), new: value(&self.new, field) })
        };
        Escaped {
            entity: entity.name.clone(),
            key: self.key.clone(),
            what: self.what,
            fields: self.fields.clone(),
            values: if values { self.fields.iter().map(both).collect() } else { BTreeMap::new() },
        }
    }
}

/// A value as Postgres writes it; its bytes, where we have no spelling of the type.
fn spelled(entity: &Entity, position: usize, wire: &[u8]) -> String {
    let mut text = Vec::new();
    let speller = Speller::of(entity.layout.columns()[position].ty);
    if speller.is_some_and(|speller| speller.text(wire, &mut text).is_ok()) {
        return String::from_utf8_lossy(&text).into_owned();
    }
    format!("\\x{}", hex::encode(wire))
}
