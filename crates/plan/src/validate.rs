//! What plan.toml says → a valid plan: names that refer to one another, SQL that can be what its key says,
//! and the choices that exclude each other. It asks no database.

use std::collections::{BTreeMap, BTreeSet};

use handover_canonical::{Layout, Scalar};
use handover_postgres::QualifiedName;
use handover_transform::Fill;

use crate::KeyType;
use crate::document::{Spot, shown};
use crate::finding::{Code, Findings, Place};
use crate::limits::MAX_COLUMNS;
use crate::parse::{RawEntity, RawPlan};
use crate::plan::{Entity, LegacyTable, Origin, Plan, Reach, SqlFiles, TargetKind, USER_COLUMN};
use crate::sql::{self, Role};
use crate::suggest::did_you_mean;

/// The plan, where nothing forbids it. Everything that is wrong is a finding.
pub(crate) fn validate(
    raw: RawPlan,
    files: &BTreeMap<String, String>,
    findings: &mut Findings,
) -> Option<Plan> {
    legacy(&raw.legacy, &raw.broken_legacy, findings);
    order(&raw.entities, findings);
    // Where the key's type is unknown, the SQL is still read, for its other errors.
    let user_key = raw.user_key.unwrap_or(KeyType::Int8);
    let entities: Vec<Option<Entity>> =
        raw.entities.into_iter().map(|raw| entity(raw, user_key, files, findings)).collect();
    let name = raw.name?;
    Some(Plan {
        files: BTreeMap::new(),
        name: name.value,
        user_key: raw.user_key?,
        entities: entities.into_iter().collect::<Option<_>>()?,
        legacy: raw.legacy,
        name_place: name.place,
    })
}

/// Each `via` ends, over listed tables, at one with a user column.
fn legacy(tables: &[LegacyTable], broken: &[QualifiedName], findings: &mut Findings) {
    let by_name: BTreeMap<_, _> = tables.iter().map(|table| (&table.table, table)).collect();
    for table in tables {
        let mut seen = BTreeSet::from([&table.table]);
        let mut at = table;
        while let Reach::Via { parent, .. } = &at.reach {
            let Some(next) = by_name.get(parent) else {
                if at.table == table.table && !broken.contains(parent) {
                    unlisted_parent(table, &parent.plain(), &by_name, findings);
                }
                break;
            };
            if !seen.insert(parent) {
                let what = format!("`via` of {} goes round in a circle", table.table.plain());
                findings.error(
                    Code::BadReach,
                    &table.origin.reach,
                    what,
                    "let it end at a table with `user`",
                );
                break;
            }
            if !matches!(next.reach, Reach::User { .. } | Reach::Via { .. }) {
                let what = format!(
                    "`via` of {} ends at {}, which reaches no user",
                    at.table.plain(),
                    parent.plain()
                );
                let remedy = "give that table a `user` or `via`, which may stand beside `ignore_table`";
                findings.error(Code::BadReach, &at.origin.reach, what, remedy);
                break;
            }
            at = next;
        }
    }
}

fn unlisted_parent(
    table: &LegacyTable,
    parent: &str,
    by_name: &BTreeMap<&QualifiedName, &LegacyTable>,
    findings: &mut Findings,
) {
    let listed: Vec<String> = by_name.keys().map(|name| name.plain()).collect();
    let what = format!("`via` of {} leads to {parent}, which is not listed", table.table.plain());
    let otherwise = format!("add [legacy.\"{parent}\"] with its `user` or `via`");
    let remedy = did_you_mean(parent, listed.iter().map(String::as_str), &otherwise);
    findings.error(Code::BadReach, &table.origin.reach, what, remedy);
}

/// Names are unique, and parents come first.
fn order(entities: &[RawEntity], findings: &mut Findings) {
    let mut before: Vec<&str> = Vec::new();
    for entity in entities {
        if let Some(parent) = &entity.parent
            && !before.contains(&parent.value.as_str())
        {
            bad_parent(entity, parent, entities, findings);
        }
        let name = entity.name.value.as_str();
        if before.contains(&name) {
            let what = format!("a second entity is called `{name}`");
            findings.error(Code::Duplicate, &entity.name.place, what, "rename one of them");
        }
        before.push(name);
    }
}

fn bad_parent(entity: &RawEntity, parent: &Spot<String>, all: &[RawEntity], findings: &mut Findings) {
    let names = || all.iter().map(|entity| entity.name.value.as_str());
    let name = &entity.name.value;
    let shown_parent = shown(&parent.value);
    let (what, remedy) = if parent.value == *name {
        (format!("entity `{name}` is its own parent"), "remove `parent`".to_owned())
    } else if names().any(|known| known == parent.value) {
        (
            format!("entity `{name}` stands before its parent `{shown_parent}`"),
            "move the parent above it: entities are loaded in the order of the file".to_owned(),
        )
    } else {
        (
            format!("entity `{name}` has the parent `{shown_parent}`, which there is not"),
            did_you_mean(&parent.value, names(), "name an entity that stands above"),
        )
    };
    findings.error(Code::BadParent, &parent.place, what, remedy);
}

fn entity(
    raw: RawEntity,
    user_key: KeyType,
    files: &BTreeMap<String, String>,
    findings: &mut Findings,
) -> Option<Entity> {
    columns(&raw, findings);
    references(&raw, findings);
    derived(&raw, findings);
    target_choice(&raw, findings);
    staging(&raw, findings);
    let mut compile = |file: &Option<Spot<String>>, role| {
        let file = file.as_ref()?;
        compile(file, role, user_key, &raw.name.value, files, findings)
    };
    let extract = compile(&raw.extract, Role::Query);
    let read_back = compile(&raw.read_back, Role::Query);
    let delete = compile(&raw.delete, Role::Delete);
    let reverse = compile(&raw.reverse, Role::Load);
    let load = compile(&raw.load, Role::Load);
    let target_place =
        raw.into.as_ref().map(|into| &into.place).or(raw.load.as_ref().map(|load| &load.place));
    let origin = Origin {
        target: target_place.unwrap_or(&raw.head).clone(),
        place: raw.head,
        columns: raw.columns.iter().flatten().map(|column| column.place.clone()).collect(),
        derived: raw.derived.iter().map(|column| column.place.clone()).collect(),
        fills: raw
            .fill
            .iter()
            .flatten()
            .map(|(column, _)| (column.value.clone(), column.place.clone()))
            .collect(),
        sql: SqlFiles {
            extract: raw.extract?.value,
            read_back: raw.read_back?.value,
            delete: raw.delete?.value,
            reverse: raw.reverse.as_ref().map(|file| file.value.clone()),
            load: raw.load.as_ref().map(|file| file.value.clone()),
        },
    };
    let target = match raw.into {
        Some(table) => {
            let fill = raw.fill.unwrap_or_default().into_iter();
            let fill: Vec<Option<_>> = fill.map(|(column, fill)| Some((column.value, fill?))).collect();
            TargetKind::Table { table: table.value, fill: fill.into_iter().collect::<Option<_>>()? }
        }
        None => TargetKind::Load { sql: load? },
    };
    let columns = raw.columns?.into_iter().map(|column| column.value).collect();
    Some(Entity {
        layout: Layout::new(raw.name.value.clone(), columns).ok()?,
        name: raw.name.value,
        key: raw.key.into_iter().map(|key| key.value).collect(),
        parent: raw.parent.map(|parent| parent.value),
        extract: extract?,
        read_back: read_back?,
        delete: delete?,
        reverse,
        derived: raw.derived.into_iter().map(|column| column.value).collect(),
        dropped: raw.dropped,
        target,
        origin,
    })
}

/// Names of columns, derived ones included, are unique and not the temporary table's own.
fn columns(raw: &RawEntity, findings: &mut Findings) {
    let all = || raw.columns.iter().flatten().chain(&raw.derived);
    let mut seen = BTreeSet::new();
    for column in all() {
        let name = &column.value.name;
        if !seen.insert(name) {
            let what = format!("the column `{}` of entity `{}` is listed twice", shown(name), raw.name.value);
            findings.error(Code::Duplicate, &column.place, what, "remove or rename one of them");
        }
        if name == USER_COLUMN {
            let what = format!("`{USER_COLUMN}` is the name of the user's own column in the temporary table");
            let remedy =
                "rename the canonical column; the user comes before the columns and is not among them";
            findings.error(Code::BadName, &column.place, what, remedy);
        }
    }
    if all().count() > MAX_COLUMNS {
        let what =
            format!("entity `{}` has more than {MAX_COLUMNS} columns with its derived ones", raw.name.value);
        findings.error(Code::Limit, &raw.head, what, "divide the entity");
    }
}

/// Keys and fills refer to canonical columns that there are.
fn references(raw: &RawEntity, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for key in &raw.key {
        if !seen.insert(&key.value) {
            let what = format!("the key column `{}` is listed twice", shown(&key.value));
            findings.error(Code::Duplicate, &key.place, what, "remove one of them");
        }
        known_column(raw, &key.value, &key.place, "`key`", findings);
    }
    for (column, fill) in raw.fill.iter().flatten() {
        let label = format!("the fill of `{}`", shown(&column.value));
        for source in fill.iter().flat_map(fill_sources) {
            known_column(raw, source, &column.place, &label, findings);
        }
    }
}

fn known_column(raw: &RawEntity, name: &str, place: &Place, label: &str, findings: &mut Findings) {
    let Some(columns) = &raw.columns else { return };
    let names = || columns.iter().map(|column| column.value.name.as_str());
    if !names().any(|known| known == name) {
        let what =
            format!("{label} names `{}`, which is no column of entity `{}`", shown(name), raw.name.value);
        let remedy =
            did_you_mean(name, names(), "name one of `columns`, or add it there and to both queries");
        findings.error(Code::UnknownColumn, place, what, remedy);
    }
}

/// The canonical columns that a fill reads.
pub(crate) fn fill_sources(fill: &Fill) -> Vec<&str> {
    match fill {
        Fill::User | Fill::Constant(_) | Fill::Default { .. } => Vec::new(),
        Fill::Column { column } | Fill::Map { column, .. } => vec![column],
        Fill::Uuid5 { columns, .. } => columns.iter().map(String::as_str).collect(),
        Fill::Json { fields } => fields.iter().map(|(_, column)| column.as_str()).collect(),
        Fill::Sequence { key, .. } => vec![key],
        Fill::Rust { from, .. } => from.iter().map(String::as_str).collect(),
    }
}

/// A derived column is a destination column that the fill computes from the row.
fn derived(raw: &RawEntity, findings: &mut Findings) {
    if raw.has_load && !raw.has_into && !raw.derived.is_empty() {
        let what = format!(
            "entity `{}` has derived columns and `load`, which nothing can recompute",
            raw.name.value
        );
        let remedy = "return the value in both queries as a canonical column, or use `into` with `fill`";
        findings.error(Code::BadDerived, &raw.derived[0].place, what, remedy);
        return;
    }
    let Some(fills) = &raw.fill else { return };
    for column in &raw.derived {
        let name = &column.value.name;
        let what = match fills.iter().find(|(filled, _)| filled.value == *name) {
            Some((_, Some(Fill::Default { .. } | Fill::Sequence { .. }))) => {
                format!("the derived column `{}` is left to the destination or drawn", shown(name))
            }
            Some(_) => continue,
            None => format!("the derived column `{}` is not filled", shown(name)),
        };
        let remedy = "list only destination columns that `fill` computes from the row, by the same name";
        findings.error(Code::BadDerived, &column.place, what, remedy);
    }
}

/// Exactly one of `into` (with `fill`) and `load`.
fn target_choice(raw: &RawEntity, findings: &mut Findings) {
    let name = &raw.name.value;
    let (what, remedy) = match (raw.has_into, raw.has_load, raw.fill.is_some()) {
        (true, false, true) | (false, true, false) => return,
        (true, true, _) => (format!("entity `{name}` has both `into` and `load`"), "keep one of them"),
        (false, false, _) => (
            format!("entity `{name}` has neither `into` nor `load`"),
            "add into = \"schema.table\" with [entity.fill], or load = \"….sql\"",
        ),
        (true, false, false) => (
            format!("entity `{name}` has `into` and no `fill`"),
            "add [entity.fill] with an entry for each column of the table",
        ),
        (false, true, true) => (
            format!("entity `{name}` has `load` and `fill`"),
            "remove `fill`: with `load` the SQL fills the columns; or use `into`",
        ),
    };
    findings.error(Code::TargetChoice, &raw.head, what, remedy);
}

/// Arrays of types that each database numbers for itself cannot be copied into a temporary table.
fn staging(raw: &RawEntity, findings: &mut Findings) {
    if !raw.has_load && raw.reverse.is_none() {
        return;
    }
    for column in raw.columns.iter().flatten() {
        let ty = column.value.ty;
        if ty.is_array() && matches!(ty.scalar(), Scalar::Enum | Scalar::Citext) {
            let what = format!("`{}` is {ty}, which no temporary table can hold", shown(&column.value.name));
            let remedy =
                "declare it text[] and cast to text[] in both queries: `load` and `reverse` need that";
            findings.error(Code::BadColumn, &column.place, what, remedy);
        }
    }
}

fn compile(
    file: &Spot<String>,
    role: Role,
    key: KeyType,
    entity: &str,
    files: &BTreeMap<String, String>,
    findings: &mut Findings,
) -> Option<String> {
    // A file that could not be read has been reported.
    let text = files.get(&file.value)?;
    match sql::compile(text, role, key, entity) {
        Ok(compiled) => Some(compiled),
        Err(problems) => {
            for problem in problems {
                let place = Place::of_byte(&file.value, text, problem.at);
                findings.error(Code::BadSql, &place, problem.what, problem.remedy);
            }
            None
        }
    }
}
