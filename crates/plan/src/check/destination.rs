//! The check's destination side: read-backs, deletes, loads, and what fills each column.

use std::collections::{BTreeMap, BTreeSet};

use handover_postgres::{Error, QualifiedName};
use handover_transform::{Fill, Problem, Registry, Transform};

use super::session::Session;
use super::statements::{Declared, Piece, compare, prepare};
use super::targets::{self, TargetColumn, TargetTable};
use super::{index, load, staging, uses};
use crate::finding::{Code, Findings, Place};
use crate::plan::{Entity, Plan, TargetKind};
use crate::suggest::did_you_mean;

pub(super) const SERVER: &str = "destination";

/// Checks the plan's destination side.
pub(super) async fn check(
    plan: &Plan,
    session: &Session<'_>,
    registry: Option<&Registry>,
    findings: &mut Findings,
) -> Result<(), Error> {
    if session.is_standby {
        let what = "the destination is a standby, which cannot be loaded";
        findings.error(Code::CannotCheck, &plan.name_place, what, "use the URL of the destination's primary");
        return Ok(());
    }
    if !session.may_create_temporary {
        let what = "the role may not create temporary tables and views at the destination";
        let remedy = "GRANT TEMPORARY ON DATABASE … TO the role that handover connects with";
        findings.error(Code::CannotCheck, &plan.name_place, what, remedy);
    }
    for entity in plan.entities() {
        let used = queries(entity, plan, session, findings).await?;
        match &entity.target {
            TargetKind::Table { table, fill } => {
                let Some(target) = find_target(entity, table, session, findings).await? else { continue };
                columns(entity, fill, &target, findings);
                fills(entity, fill, &target, plan, registry, findings);
                sequences(entity, fill, session, findings).await?;
                read_back(entity, fill, &target, used.as_ref(), findings);
            }
            TargetKind::Load { .. } => {}
        }
    }
    if session.can_create() {
        loads(plan, session, findings).await?;
    }
    Ok(())
}

/// Prepares `read_back` and `delete`; gives what the first uses, if it returns what it should.
async fn queries(
    entity: &Entity,
    plan: &Plan,
    session: &Session<'_>,
    findings: &mut Findings,
) -> Result<Option<uses::Uses>, Error> {
    let key = plan.user_key();
    for piece in Piece::all(&entity.origin.sql.delete, &entity.delete, key) {
        if prepare(session, &piece, SERVER, findings).await?.is_some() {
            indexes(&piece, session, findings).await?;
        }
    }
    let piece = Piece::query(&entity.origin.sql.read_back, &entity.read_back, key);
    let Some(statement) = prepare(session, &piece, SERVER, findings).await? else { return Ok(None) };
    let columns = entity.layout.columns().iter().zip(&entity.origin.columns);
    let derived = entity.derived.iter().zip(&entity.origin.derived);
    let declared = Declared { query: "read_back", columns: columns.chain(derived).collect() };
    let is_right = compare(&statement, &piece, &declared, findings);
    indexes(&piece, session, findings).await?;
    if !session.can_create() || !is_right {
        return Ok(None);
    }
    let found = uses::of_query(session, piece.sql, statement.columns().len()).await?;
    Ok(found.ok().map(|found| found.relations))
}

async fn indexes(piece: &Piece<'_>, session: &Session<'_>, findings: &mut Findings) -> Result<(), Error> {
    match index::unindexed(session, piece.sql).await? {
        Err(refusal) => piece.refused(&refusal, SERVER, findings),
        Ok(scanned) => {
            for table in scanned {
                let what = format!("{} is read whole: no index leads to the users' rows", table.plain());
                let remedy = "create an index on the column by which the statement finds them: without one each \
                              bundle of users reads the table of all";
                findings.warn(Code::NoIndex, &piece.start(), what, remedy);
            }
        }
    }
    Ok(())
}

/// The table of `into`, where it is one that can be loaded.
async fn find_target(
    entity: &Entity,
    table: &QualifiedName,
    session: &Session<'_>,
    findings: &mut Findings,
) -> Result<Option<TargetTable>, Error> {
    let place = &entity.origin.target;
    let plain = table.plain();
    let Some(target) = targets::table(session.client(), table).await? else {
        let names = targets::table_names(session.client()).await?;
        let names = names.iter().map(String::as_str);
        let remedy = did_you_mean(&plain, names, "create the table first, or correct the name");
        findings.error(Code::BadTarget, place, format!("the destination has no table {plain}"), remedy);
        return Ok(None);
    };
    if !target.is_table {
        let what = format!("{plain} is no ordinary or partitioned table");
        findings.error(Code::BadTarget, place, what, "name the table itself");
        return Ok(None);
    }
    if target.is_unlogged {
        let what = format!("{plain} is unlogged: a crash of the destination would empty it");
        findings.error(Code::BadTarget, place, what, format!("ALTER TABLE {table} SET LOGGED"));
    }
    for privilege in &target.missing_privileges {
        let what = format!("the role may not {privilege} on {plain}");
        findings.error(Code::NoPrivilege, place, what, format!("GRANT {privilege} ON {table} TO the role"));
    }
    if target.has_policies {
        let what = format!("row policies of {plain} apply to this role, and would hide its rows");
        findings.error(Code::NoPrivilege, place, what, "give the role BYPASSRLS, or let it own the table");
    }
    for trigger in &target.insert_triggers {
        let what = format!("the trigger `{}` of {plain} fires for each row that is loaded", trigger.name);
        let remedy = "look whether it may: what it changes makes the read-back differ, what it sends is sent again \
                      at each attempt; it can test current_setting('handover.users', true)";
        findings.warn(Code::TargetTrigger, place, what, remedy);
    }
    Ok(Some(target))
}

/// Each column of the table is filled, or has a default that someone gave a reason for.
fn columns(entity: &Entity, fill: &[(String, Fill)], target: &TargetTable, findings: &mut Findings) {
    let fills: BTreeMap<&str, &Fill> = fill.iter().map(|(column, fill)| (column.as_str(), fill)).collect();
    for column in &target.columns {
        let name = column.target.name.as_str();
        match fills.get(name) {
            None => unlisted(entity, column, findings),
            Some(Fill::Default { .. }) => defaulted(entity, column, target, findings),
            Some(_) if column.is_generated => {
                let what = format!("`{name}` is generated by the destination and cannot be filled");
                let remedy = format!("write {name} = {{ default = \"generated\" }}");
                findings.error(Code::FillMismatch, &entity.origin.fills[name], what, remedy);
            }
            Some(_) => {}
        }
    }
    for (column, _) in fill {
        if !target.columns.iter().any(|known| known.target.name == *column) {
            let names = target.columns.iter().map(|known| known.target.name.as_str());
            let what = format!("`fill` names `{column}`, which {} does not have", target.name.plain());
            let remedy = did_you_mean(column, names, "correct the name, or remove it");
            findings.error(Code::UnknownColumn, &entity.origin.fills[column.as_str()], what, remedy);
        }
    }
}

fn unlisted(entity: &Entity, column: &TargetColumn, findings: &mut Findings) {
    let name = &column.target.name;
    if column.is_generated {
        return;
    }
    let place = &entity.origin.target;
    if column.has_default {
        let what = format!("the destination column `{name}` is left to its default, and nobody said why");
        let remedy = format!("fill it, or write {name} = {{ default = \"reason\" }}");
        findings.warn(Code::NoDefault, place, what, remedy);
    } else {
        let what = format!("the destination column `{name}` is neither filled nor has it a default");
        let remedy = if column.target.not_null {
            "fill it: it is NOT NULL".to_owned()
        } else {
            format!("fill it, or write {name} = {{ default = \"reason\" }} to leave it NULL")
        };
        findings.error(Code::Unfilled, place, what, remedy);
    }
}

fn defaulted(entity: &Entity, column: &TargetColumn, target: &TargetTable, findings: &mut Findings) {
    let name = column.target.name.as_str();
    if column.has_default || column.is_generated || !column.target.not_null {
        return;
    }
    let place = &entity.origin.fills[name];
    let what = format!("the destination column `{name}` is NOT NULL and has no default");
    if target.insert_triggers.iter().any(|trigger| trigger.is_before_row) {
        findings.warn(
            Code::NoDefault,
            place,
            format!("{what}: only a trigger can fill it"),
            "look whether one does",
        );
    } else {
        findings.error(
            Code::NoDefault,
            place,
            what,
            "fill it, or give it a default: ALTER TABLE … ALTER … SET DEFAULT",
        );
    }
}

/// Each fill suits its column's type.
fn fills(
    entity: &Entity,
    fill: &[(String, Fill)],
    target: &TargetTable,
    plan: &Plan,
    registry: Option<&Registry>,
    findings: &mut Findings,
) {
    let find = |name: &String| target.columns.iter().find(|column| column.target.name == *name);
    let pairs: Vec<_> = fill
        .iter()
        .filter_map(|(name, fill)| {
            let column = find(name).filter(|column| !column.is_generated)?;
            Some((column.target.clone(), fill.clone()))
        })
        .collect();
    let none = Registry::new();
    let user = plan.user_key().wire_type();
    let compiled = Transform::compile_with(&entity.layout, &user, &pairs, registry.unwrap_or(&none));
    let errors = match compiled {
        Ok(transform) => return recomputed(entity, &transform, findings),
        Err(errors) => errors,
    };
    for error in errors {
        let place = entity.origin.fills.get(&error.column).unwrap_or(&entity.origin.target);
        let what = format!("the fill of `{}`: {}", error.column, error.problem);
        if registry.is_none() && matches!(error.problem, Problem::Unregistered { .. }) {
            let what = format!("the fill of `{}` is a Rust transform, which is not known here", error.column);
            findings.warn(Code::Opaque, place, what, "run the check of the worker that has it registered");
        } else {
            findings.error(Code::FillMismatch, place, what, error.remedy());
        }
    }
}

/// What is derived can be recomputed byte by byte.
fn recomputed(entity: &Entity, transform: &Transform, findings: &mut Findings) {
    for (column, place) in entity.derived.iter().zip(&entity.origin.derived) {
        if transform.derived(&column.name).is_none() {
            let what = format!(
                "the derived column `{}` cannot be recomputed as Postgres would spell it",
                column.name
            );
            let remedy = "return its parts as canonical columns in `read_back` instead";
            findings.error(Code::BadDerived, place, what, remedy);
        }
    }
}

async fn sequences(
    entity: &Entity,
    fill: &[(String, Fill)],
    session: &Session<'_>,
    findings: &mut Findings,
) -> Result<(), Error> {
    for (column, fill) in fill {
        let Fill::Sequence { sequence, .. } = fill else { continue };
        let place = &entity.origin.fills[column.as_str()];
        findings.error(
            Code::Unsupported,
            place,
            format!("`{column}` is to be drawn from a sequence, which this version's engine does not do"),
            "keep the legacy value, or leave the column to its default where nothing refers to it",
        );
        // Validation has read the name already.
        let Ok(name) = sequence.parse::<QualifiedName>() else { continue };
        match targets::sequence(session.client(), &name).await? {
            None => {
                let what = format!("the destination has no sequence {sequence}");
                let remedy = "correct the name: pg_get_serial_sequence('schema.table', 'column') tells it";
                findings.error(Code::BadTarget, place, what, remedy);
            }
            Some(false) => {
                let what = format!("the role may not draw from the sequence {sequence}");
                findings.error(
                    Code::NoPrivilege,
                    place,
                    what,
                    format!("GRANT USAGE ON SEQUENCE {name} TO the role"),
                );
            }
            Some(true) => {}
        }
    }
    Ok(())
}

/// What is computed from the row should be read back, or no digest can tell that it arrived.
fn read_back(
    entity: &Entity,
    fill: &[(String, Fill)],
    target: &TargetTable,
    used: Option<&uses::Uses>,
    findings: &mut Findings,
) {
    let Some(used) = used else { return };
    let nothing = BTreeSet::new();
    let read = used.get(&target.oid).unwrap_or(&nothing);
    for (name, fill) in fill {
        let carries_data = !matches!(fill, Fill::Constant(_) | Fill::Default { .. } | Fill::Sequence { .. });
        let Some(column) = target.columns.iter().find(|column| column.target.name == *name) else { continue };
        if carries_data && !read.contains(&column.number) {
            let what =
                format!("`{name}` is filled and `read_back` does not use it, so that nothing verifies it");
            let remedy = "return from it in `read_back`, or list it under `derived` and return it";
            findings.warn(Code::NotReadBack, &entity.origin.fills[name.as_str()], what, remedy);
        }
    }
}

async fn loads(plan: &Plan, session: &Session<'_>, findings: &mut Findings) -> Result<(), Error> {
    let is_load = |entity: &&Entity| matches!(entity.target, TargetKind::Load { .. });
    for entity in plan.entities() {
        let (TargetKind::Load { sql }, Some(file)) = (&entity.target, &entity.origin.sql.load) else {
            continue;
        };
        // One after the other, as they are loaded: the rows of later entities are not there yet.
        staging::create(entity, plan, session, findings).await?;
        for piece in Piece::all(file, sql, plan.user_key()) {
            if prepare(session, &piece, SERVER, findings).await?.is_some() {
                privileges(&piece, session, findings).await?;
                load::check(&piece, session, findings).await?;
            }
        }
    }
    staging::drop_all(plan, session, is_load).await
}

/// EXPLAIN checks privileges, and preparing does not.
async fn privileges(piece: &Piece<'_>, session: &Session<'_>, findings: &mut Findings) -> Result<(), Error> {
    if let Err(refusal) = index::unindexed(session, piece.sql).await? {
        piece.refused(&refusal, SERVER, findings);
    }
    Ok(())
}

/// Reports a column that a statement of `load` leaves out.
pub(super) fn left_out(place: &Place, table: &TargetTable, column: &TargetColumn, findings: &mut Findings) {
    let name = &column.target.name;
    let plain = table.name.plain();
    if column.has_default {
        let what = format!("`load` leaves `{name}` of {plain} to its default");
        let remedy = "name it in the INSERT: with its value, or with the default's own expression";
        findings.warn(Code::NoDefault, place, what, remedy);
    } else {
        let what = format!("`load` does not fill `{name}` of {plain}, which has no default");
        let remedy = "name it in the INSERT: with its value, or with NULL and a comment that says why";
        findings.error(Code::Unfilled, place, what, remedy);
    }
}
