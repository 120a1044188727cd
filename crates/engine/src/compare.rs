//! Which entity, which row and which field differs: the report that is kept when two sides' digests do.
//!
//! Rows are matched by the entity's key columns. A row is named by its key's values where these are numbers or
//! UUIDs, else by a hash of them; no other value stands in a report.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use handover_canonical::copy::Tuple;
use handover_canonical::{Layout, Scalar, Type};
use handover_plan::Entity;
use handover_transform::Speller;
use serde::Serialize;
use tokio_postgres::Transaction;

use crate::Error;
use crate::bundle::Bundle;
use crate::rows::{Rows, Side};
use crate::scan::set_users;

/// How many differences a report lists; the rest are only counted.
const LISTED: usize = 20;

/// How many rows of an entity are compared one by one; a larger one is only counted.
const COMPARED: usize = 1_000_000;

/// What differed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    /// Rows that differ, in all.
    pub(crate) count: usize,
    /// The first of them.
    pub(crate) rows: Vec<Difference>,
}

/// One row that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Difference {
    entity: String,
    key: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<String>,
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
    set_users(source, &bundle.literal).await?;
    set_users(destination, &bundle.literal).await?;
    let mut report = Report::default();
    let state = RandomState::new();
    for entity in bundle.bound.plan.entities() {
        let columns = entity.layout.columns().len();
        let mut theirs = Rows::of(source, &entity.extract, 1 + columns, &entity.name, Side::Source).await?;
        let mut rows: HashMap<String, Vec<Columns>> = HashMap::new();
        let mut count = 0;
        while let Some(tuple) = theirs.next().await? {
            count += 1;
            if count <= COMPARED {
                rows.entry(key(entity, &tuple)).or_default().push(hashes(&state, &tuple, columns));
            }
        }
        let fields = 1 + columns + entity.derived.len();
        let mut ours = Rows::of(destination, &entity.read_back, fields, &entity.name, Side::Readback).await?;
        while let Some(tuple) = ours.next().await? {
            match_row(&mut report, entity, &mut rows, &state, &tuple);
        }
        for (key, left) in rows {
            (0..left.len())
                .for_each(|_| report.note(entity, key.clone(), "missing at the destination", Vec::new()));
        }
    }
    Ok(report)
}

fn match_row(
    report: &mut Report,
    entity: &Entity,
    rows: &mut HashMap<String, Vec<Columns>>,
    state: &RandomState,
    tuple: &Tuple,
) {
    let key = key(entity, tuple);
    let columns = hashes(state, tuple, entity.layout.columns().len());
    let Some(candidates) = rows.get_mut(&key).filter(|candidates| !candidates.is_empty()) else {
        return report.note(entity, key, "only at the destination", Vec::new());
    };
    let same = candidates.iter().position(|candidate| *candidate == columns).unwrap_or(0);
    let found = candidates.swap_remove(same);
    let named = found.iter().zip(&columns).zip(entity.layout.columns());
    let fields: Vec<String> =
        named.filter(|((a, b), _)| a != b).map(|(_, column)| column.name.clone()).collect();
    if !fields.is_empty() {
        report.note(entity, key, "differs", fields);
    }
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
        let more = if self.count > 1 { format!(", and {} more", self.count - 1) } else { String::new() };
        format!("{} {}: {fields}{}{more}", first.entity, first.key, first.kind)
    }
}

fn hashes(state: &RandomState, tuple: &Tuple, columns: usize) -> Columns {
    (1..=columns).map(|field| state.hash_one(tuple.field(field))).collect()
}

fn key(entity: &Entity, tuple: &Tuple) -> String {
    let parts = entity.key.iter().map(|name| format!("{name}={}", key_value(&entity.layout, name, tuple)));
    parts.collect::<Vec<_>>().join(" ")
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

use sha2::Digest as _;
