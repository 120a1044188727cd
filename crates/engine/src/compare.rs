//! Which entity, which row and which field differs: the report that is kept when two sides' digests do.
//!
//! Rows are matched by the entity's key columns. A row is named by its key's values where these are numbers or
//! UUIDs, else by a hash of them; no other value stands in a report. Each side is read twice, in one snapshot: a
//! first pass finds the few buckets of rows in which the sides differ, so that memory stays flat for any user.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use handover_canonical::copy::{RowFields, Tuple};
use handover_canonical::{Layout, Scalar, Type};
use handover_plan::Entity;
use handover_transform::Speller;
use serde::Serialize;
use sha2::Digest as _;
use tokio_postgres::Transaction;

use crate::Error;
use crate::bundle::Bundle;
use crate::rows::{Rows, Side};
use crate::scan::{Access, set_users};

/// How many differences a report lists; the rest are only counted.
const LISTED: usize = 20;

/// Into how many buckets an entity's rows fall, by their keys.
const BUCKETS: usize = 1 << 15;

/// How many rows, of the buckets that differ, are compared one by one; those of the others are not.
const PLACED: usize = 20_000;

/// What differed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    /// Rows that differ, of those that were compared one by one.
    pub(crate) count: usize,
    /// Whether more rows differ than were compared.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) more: bool,
    /// The first of them.
    pub(crate) rows: Vec<Difference>,
}

/// One row that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Difference {
    pub(crate) entity: String,
    pub(crate) key: String,
    pub(crate) kind: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) fields: Vec<String>,
}

/// A row reduced to one hash a column: enough to tell which column differs, in memory that does not depend on
/// how long the values are. These hashes only place a difference that the digests have proven.
type Columns = Vec<u64>;

/// Compares one user's rows in the source with those at the destination.
pub(crate) async fn report(
    source: &Transaction<'_>,
    destination: &Transaction<'_>,
    bundle: &Bundle<'_>,
) -> Result<Report, Error> {
    set_users(source, bundle, Access::Reads).await?;
    set_users(destination, bundle, Access::Reads).await?;
    let mut report = Report::default();
    for entity in bundle.bound.plan.entities() {
        let comparison = Comparison { entity, state: RandomState::new() };
        let differing = comparison.tally(source, destination).await?.differing();
        report.more |= differing.more;
        if differing.any {
            comparison.place(source, destination, &differing, &mut report).await?;
        }
    }
    Ok(report)
}

/// One entity's two sides.
struct Comparison<'e> {
    entity: &'e Entity,
    state: RandomState,
}

/// By bucket: the sum of the source's rows' hashes less the destination's, and how many rows both have.
struct Tally {
    sums: Vec<u64>,
    rows: Vec<usize>,
}

/// The buckets in which the sides differ and whose rows are compared one by one.
struct Differing {
    chosen: Vec<bool>,
    any: bool,
    more: bool,
}

impl Tally {
    fn differing(&self) -> Differing {
        let mut differing = Differing { chosen: vec![false; BUCKETS], any: false, more: false };
        let mut rows = 0;
        for bucket in (0..BUCKETS).filter(|bucket| self.sums[*bucket] != 0) {
            rows += self.rows[bucket];
            // The first is compared however large it is.
            let fits = rows <= PLACED || !differing.any;
            differing.chosen[bucket] = fits;
            differing.any |= fits;
            differing.more |= !fits;
        }
        differing
    }
}

impl Comparison<'_> {
    async fn source(&self, transaction: &Transaction<'_>) -> Result<Rows, Error> {
        let fields = 1 + self.entity.layout.columns().len();
        Rows::of(transaction, &self.entity.extract, fields, &self.entity.name, Side::Source).await
    }

    async fn destination(&self, transaction: &Transaction<'_>) -> Result<Rows, Error> {
        let fields = 1 + self.entity.layout.columns().len() + self.entity.derived.len();
        Rows::of(transaction, &self.entity.read_back, fields, &self.entity.name, Side::Readback).await
    }

    async fn tally(&self, source: &Transaction<'_>, destination: &Transaction<'_>) -> Result<Tally, Error> {
        let mut tally = Tally { sums: vec![0; BUCKETS], rows: vec![0; BUCKETS] };
        let mut theirs = self.source(source).await?;
        while let Some(tuple) = theirs.next().await? {
            let (bucket, hash) = (self.bucket(&tuple), self.state.hash_one(self.hashes(&tuple)?));
            tally.sums[bucket] = tally.sums[bucket].wrapping_add(hash);
            tally.rows[bucket] += 1;
        }
        let mut ours = self.destination(destination).await?;
        while let Some(tuple) = ours.next().await? {
            let (bucket, hash) = (self.bucket(&tuple), self.state.hash_one(self.hashes(&tuple)?));
            tally.sums[bucket] = tally.sums[bucket].wrapping_sub(hash);
            tally.rows[bucket] += 1;
        }
        Ok(tally)
    }

    async fn place(
        &self,
        source: &Transaction<'_>,
        destination: &Transaction<'_>,
        differing: &Differing,
        report: &mut Report,
    ) -> Result<(), Error> {
        let mut rows: HashMap<String, Vec<Columns>> = HashMap::new();
        let mut theirs = self.source(source).await?;
        while let Some(tuple) = theirs.next().await? {
            if differing.chosen[self.bucket(&tuple)] {
                rows.entry(self.key(&tuple)).or_default().push(self.hashes(&tuple)?);
            }
        }
        let mut ours = self.destination(destination).await?;
        while let Some(tuple) = ours.next().await? {
            if differing.chosen[self.bucket(&tuple)] {
                self.match_row(report, &mut rows, &tuple)?;
            }
        }
        for (key, left) in rows {
            for _ in left {
                report.note(self.entity, key.clone(), "missing at the destination", Vec::new());
            }
        }
        Ok(())
    }

    fn match_row(
        &self,
        report: &mut Report,
        rows: &mut HashMap<String, Vec<Columns>>,
        tuple: &Tuple,
    ) -> Result<(), Error> {
        let (key, columns) = (self.key(tuple), self.hashes(tuple)?);
        let Some(candidates) = rows.get_mut(&key).filter(|candidates| !candidates.is_empty()) else {
            report.note(self.entity, key, "only at the destination", Vec::new());
            return Ok(());
        };
        let same = candidates.iter().position(|candidate| *candidate == columns).unwrap_or(0);
        let found = candidates.swap_remove(same);
        let named = found.iter().zip(&columns).zip(self.entity.layout.columns());
        let fields: Vec<String> =
            named.filter(|((a, b), _)| a != b).map(|(_, column)| column.name.clone()).collect();
        if !fields.is_empty() {
            report.note(self.entity, key, "differs", fields);
        }
        Ok(())
    }

    /// Where a row falls: rows of one key fall together.
    fn bucket(&self, tuple: &Tuple) -> usize {
        let positions = self.entity.key.iter().filter_map(|name| self.entity.layout.position(name));
        let values: Vec<Option<&[u8]>> = positions.map(|position| tuple.field(1 + position)).collect();
        self.state.hash_one(values) as usize % BUCKETS
    }

    /// A hash a column, of the row as it is hashed for the digest.
    fn hashes(&self, tuple: &Tuple) -> Result<Columns, Error> {
        let wire = |error| Error::Wire { what: format!("entity {}", self.entity.name), error };
        let columns = self.entity.layout.columns().len();
        let row = self.entity.layout.normalise(tuple.run(1..1 + columns)).map_err(wire)?;
        RowFields::new(&row).map(|field| Ok(self.state.hash_one(field.map_err(wire)?))).collect()
    }

    fn key(&self, tuple: &Tuple) -> String {
        row_key(self.entity, tuple)
    }
}

/// A row's key columns with their values, of a tuple that begins with the user.
pub(crate) fn row_key(entity: &Entity, tuple: &Tuple) -> String {
    let parts = entity.key.iter().map(|name| format!("{name}={}", key_value(&entity.layout, name, tuple)));
    parts.collect::<Vec<_>>().join(" ")
}

impl Report {
    fn note(&mut self, entity: &Entity, key: String, kind: &'static str, fields: Vec<String>) {
        self.count += 1;
        if self.rows.len() < LISTED {
            self.rows.push(Difference { entity: entity.name.clone(), key, kind, fields });
        }
    }

    /// In one line, for messages: `reminder legacy_id=7: subject differs`.
    pub(crate) fn summary(&self) -> String {
        let Some(first) = self.rows.first() else { return "no single row could be named".to_owned() };
        let fields =
            if first.fields.is_empty() { String::new() } else { format!("{} ", first.fields.join(", ")) };
        let more = match (self.count - 1, self.more) {
            (0, false) => String::new(),
            (others, false) => format!(", and {others} more"),
            (others, true) => format!(", and {others} more at least"),
        };
        format!("{} {}: {fields}{}{more}", first.entity, first.key, first.kind)
    }
}

fn key_value(layout: &Layout, name: &str, tuple: &Tuple) -> String {
    let Some(position) = layout.position(name) else { return "?".to_owned() };
    let Some(value) = tuple.field(1 + position) else { return "null".to_owned() };
    let ty = layout.columns()[position].ty;
    if is_plain_number(ty) {
        let mut text = Vec::new();
        if Speller::of(ty).is_some_and(|speller| speller.text(value, &mut text).is_ok()) {
            return String::from_utf8_lossy(&text).into_owned();
        }
    }
    // A value that may be personal is named by a digest that the operator can compute.
    let digest = sha2::Sha256::digest(value);
    format!("sha256:{}", hex::encode(&digest[..8]))
}

fn is_plain_number(ty: Type) -> bool {
    !ty.is_array() && matches!(ty.scalar(), Scalar::Int2 | Scalar::Int4 | Scalar::Int8 | Scalar::Uuid)
}
