//! The check's legacy side: extracts, reverse loads, coverage, indexes.

use std::collections::{BTreeMap, BTreeSet};

use handover_postgres::{Error, QualifiedName};
use tokio_postgres::error::SqlState;

use super::catalogue::{Catalogue, Table};
use super::coverage::{self, Read};
use super::reach::{self, Listed};
use super::session::Session;
use super::statements::{Declared, Piece, compare, prepare};
use super::{index, staging, uses};
use crate::finding::{Code, Findings, Place};
use crate::plan::{Entity, Plan, Reach};
use crate::sql;

const SERVER: &str = "legacy";

/// Of a table with next to no rows the planner drops the search as pointless, whatever it is told.
const FEW_ROWS: f64 = 100.0;

/// Checks the plan's legacy side.
pub(super) async fn check(plan: &Plan, session: &Session<'_>, findings: &mut Findings) -> Result<(), Error> {
    if !session.can_create() {
        cannot_check(plan, session, findings);
    }
    let catalogue = Catalogue::read(session.client()).await?;
    let listed = reach::resolve(plan, &catalogue, findings);
    reach::unmapped(&catalogue, &listed, findings);
    let mut read = Read { uses: BTreeMap::new(), places: BTreeMap::new() };
    let mut is_complete = session.can_create();
    for entity in plan.entities() {
        let piece = Piece::query(&entity.origin.sql.extract, &entity.extract, plan.user_key());
        let Some(width) = extract(entity, &piece, session, findings).await? else {
            is_complete = false;
            continue;
        };
        stars(&piece, findings);
        indexes(&piece, session, &catalogue, &listed, findings).await?;
        if session.can_create() {
            is_complete &= add_uses(&mut read, &piece, width, session, &catalogue, findings).await?;
        }
    }
    // With an extract missing, columns that it uses would be reported as forgotten.
    if is_complete {
        coverage::check(&read, &catalogue, &listed, findings);
    }
    if session.can_create() {
        reverses(plan, session, findings).await?;
    }
    Ok(())
}

fn cannot_check(plan: &Plan, session: &Session<'_>, findings: &mut Findings) {
    let (what, remedy) = if session.is_standby {
        (
            "legacy is a standby here, and which columns a query uses can only be asked of the primary",
            "run the check with the legacy primary's URL: it makes temporary views in a transaction that is rolled back",
        )
    } else {
        (
            "the role may not create temporary views at legacy, so that nobody can tell which columns the queries use",
            "GRANT TEMPORARY ON DATABASE … TO the role that handover connects with",
        )
    };
    findings.error(Code::CannotCheck, &plan.name_place, what, remedy);
}

/// Prepares the extract and compares its columns; gives their number.
async fn extract(
    entity: &Entity,
    piece: &Piece<'_>,
    session: &Session<'_>,
    findings: &mut Findings,
) -> Result<Option<usize>, Error> {
    let Some(statement) = prepare(session, piece, SERVER, findings).await? else { return Ok(None) };
    let columns = entity.layout.columns().iter().zip(&entity.origin.columns).collect();
    compare(&statement, piece, &Declared { query: "extract", columns }, findings);
    Ok(Some(statement.columns().len()))
}

/// A `*` counts every column of what it ranges over as used.
fn stars(piece: &Piece<'_>, findings: &mut Findings) {
    for offset in sql::stars(piece.whole) {
        let place = piece.place_of_byte(offset);
        findings.warn(
            Code::Opaque,
            &place,
            "`*` counts each column of its table as used, so that a forgotten one is not found",
            "name the columns; inside EXISTS write SELECT 1",
        );
    }
}

async fn add_uses(
    read: &mut Read,
    piece: &Piece<'_>,
    width: usize,
    session: &Session<'_>,
    catalogue: &Catalogue,
    findings: &mut Findings,
) -> Result<bool, Error> {
    let found = match uses::of_query(session, piece.sql, width).await? {
        Ok(found) => found,
        // A column of no storable type, which is outside the list and has been reported.
        Err(refusal) if refusal.code == SqlState::INVALID_TABLE_DEFINITION => return Ok(false),
        Err(refusal) => {
            let what = format!("which columns the query uses cannot be told: {}", refusal.message);
            let remedy = "write the query so that a view could be made of it";
            findings.error(Code::CannotCheck, &piece.start(), what, remedy);
            return Ok(false);
        }
    };
    for function in found.functions {
        let what = format!("the query calls {function}, and what that reads cannot be seen");
        let remedy = "look at its source, or say it in the query; declare it IMMUTABLE if it reads no table";
        findings.warn(Code::Opaque, &piece.start(), what, remedy);
    }
    for (relation, columns) in found.relations {
        let place = catalogue.tables.get(&relation).map(|table| mention(piece, table));
        read.places.entry(relation).or_insert_with(|| place.unwrap_or_else(|| piece.start()));
        read.uses.entry(relation).or_default().extend(columns);
    }
    Ok(true)
}

/// Where the query names the table.
fn mention(piece: &Piece<'_>, table: &Table) -> Place {
    sql::mention(piece.whole, &table.name).map_or_else(|| piece.start(), |offset| piece.place_of_byte(offset))
}

async fn indexes(
    piece: &Piece<'_>,
    session: &Session<'_>,
    catalogue: &Catalogue,
    listed: &BTreeMap<u32, Listed<'_>>,
    findings: &mut Findings,
) -> Result<(), Error> {
    let scanned = match index::unindexed(session, piece.sql).await? {
        Ok(scanned) => roots(&scanned, catalogue),
        Err(refusal) => {
            piece.refused(&refusal, SERVER, findings);
            return Ok(());
        }
    };
    for oid in scanned {
        let Some(Listed { said, table }) = listed.get(&oid) else { continue };
        let columns: Vec<&str> = match &said.reach {
            Reach::User { column } => vec![column],
            Reach::Via { columns, .. } => columns.iter().map(|(here, _)| here.as_str()).collect(),
            Reach::Shared { .. } | Reach::Unsaid => continue,
        };
        if (0.0..FEW_ROWS).contains(&table.rows) && table.is_indexed_by(&columns) {
            continue;
        }
        let name = said.table.plain();
        let what = format!("{name} is read whole: no index leads to the users' rows");
        let remedy = format!(
            "CREATE INDEX CONCURRENTLY ON {} ({}), or compare the bare column with `:users`",
            said.table,
            columns
                .iter()
                .map(|column| handover_postgres::quote_ident(column))
                .collect::<Vec<_>>()
                .join(", ")
        );
        findings.error(Code::NoIndex, &mention(piece, table), what, remedy);
    }
    Ok(())
}

/// The tables at the top of what was scanned: the plan names a partitioned table, the planner its partitions.
fn roots(scanned: &BTreeSet<QualifiedName>, catalogue: &Catalogue) -> BTreeSet<u32> {
    scanned.iter().filter_map(|name| catalogue.find(name)).map(|(_, table)| table.root).collect()
}

async fn reverses(plan: &Plan, session: &Session<'_>, findings: &mut Findings) -> Result<(), Error> {
    let has_reverse = |entity: &&Entity| entity.reverse.is_some();
    for entity in plan.entities().iter().filter(has_reverse) {
        staging::create(entity, plan, session, findings).await?;
    }
    for entity in plan.entities() {
        let (Some(sql), Some(file)) = (&entity.reverse, &entity.origin.sql.reverse) else { continue };
        for piece in Piece::all(file, sql, plan.user_key()) {
            prepare(session, &piece, SERVER, findings).await?;
        }
    }
    staging::drop_all(plan, session, has_reverse).await
}
