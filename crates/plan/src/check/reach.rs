//! Which legacy tables belong to the user, and whether the plan says something about each.
//!
//! A table belongs to the user if the plan says so; if it is what a user column refers to; if it has a column
//! of a user column's name and kind; or if it refers to a table that belongs to the user. It asks no server.

use std::collections::BTreeMap;

use super::catalogue::{Catalogue, Column, Family, Kind, Table};
use crate::finding::{Code, Findings, Place};
use crate::plan::{LegacyTable, Plan, Reach};
use crate::suggest::did_you_mean;

/// A listed table that exists.
pub(super) struct Listed<'p> {
    pub(super) said: &'p LegacyTable,
    pub(super) table: &'p Table,
}

/// The listed tables by their OID. Those that do not exist, and columns that do not, are findings.
pub(super) fn resolve<'p>(
    plan: &'p Plan,
    catalogue: &'p Catalogue,
    findings: &mut Findings,
) -> BTreeMap<u32, Listed<'p>> {
    let mut listed = BTreeMap::new();
    for said in plan.legacy() {
        let Some((oid, table)) = catalogue.find(&said.table) else {
            let plain = said.table.plain();
            let names = catalogue.plain_names();
            let names = names.iter().map(String::as_str);
            let remedy =
                did_you_mean(&plain, names, "correct the name, or remove the entry if the table is gone");
            let what = format!("legacy has no table {plain}");
            findings.error(Code::UnknownTable, &said.origin.place, what, remedy);
            continue;
        };
        check_columns(said, table, catalogue, findings);
        check_user_type(said, table, plan, findings);
        listed.insert(oid, Listed { said, table });
    }
    listed
}

fn check_columns(said: &LegacyTable, table: &Table, catalogue: &Catalogue, findings: &mut Findings) {
    for column in said.ignore.keys() {
        let place = said.origin.ignore.get(column).unwrap_or(&said.origin.place);
        exists(table, column, place, "`ignore`", findings);
    }
    match &said.reach {
        Reach::User { column } => drop(exists(table, column, &said.origin.reach, "`user`", findings)),
        Reach::Via { parent, columns } => {
            let parent = catalogue.find(parent).map(|(_, parent)| parent);
            for (here, there) in columns {
                let here = exists(table, here, &said.origin.reach, "`via`", findings);
                // A parent that does not exist is reported at its own entry.
                let there =
                    parent.and_then(|parent| exists(parent, there, &said.origin.reach, "`via`", findings));
                if let (Some(here), Some(there)) = (here, there) {
                    compare_types(said, here, there, findings);
                }
            }
        }
        Reach::Shared { .. } | Reach::Unsaid => {}
    }
}

fn exists<'t>(
    table: &'t Table,
    column: &str,
    place: &Place,
    label: &str,
    findings: &mut Findings,
) -> Option<&'t Column> {
    let found = table.column(column);
    if found.is_none() {
        let what = format!("{label} names `{column}`, which {} does not have", table.name.plain());
        let remedy = did_you_mean(
            column,
            table.column_names(),
            "correct the name, or remove it if the column is gone",
        );
        findings.error(Code::UnknownLegacyColumn, place, what, remedy);
    }
    found
}

fn compare_types(said: &LegacyTable, here: &Column, there: &Column, findings: &mut Findings) {
    if here.family() != there.family() {
        let what = format!(
            "`via` of {} joins `{}` of type {} with a column of type {}",
            said.table.plain(),
            here.name,
            here.type_name,
            there.type_name
        );
        let remedy = "look whether these are the columns that belong together; triggers compare them as text";
        findings.warn(Code::KeyTypeDiffers, &said.origin.reach, what, remedy);
    }
}

fn check_user_type(said: &LegacyTable, table: &Table, plan: &Plan, findings: &mut Findings) {
    let Reach::User { column } = &said.reach else { return };
    let Some(column) = table.column(column) else { return };
    let wanted = match plan.user_key() {
        crate::KeyType::Int8 => Family::Int,
        crate::KeyType::Uuid => Family::Uuid,
        crate::KeyType::Text => Family::Text,
    };
    if column.family() != wanted {
        let (name, ty, key) = (&column.name, &column.type_name, plan.user_key());
        let what =
            format!("the user column `{name}` of {} is {ty}, and user keys are {key}", said.table.plain());
        let remedy =
            "look whether this is the user's column; keys are compared in the spelling of their own type";
        findings.warn(Code::KeyTypeDiffers, &said.origin.reach, what, remedy);
    }
}

/// Why a table belongs to the user, and whose place a message shows.
struct Belongs {
    why: String,
    entry: String,
    place: Place,
}

/// Reports each table that belongs to the user and is not listed.
pub(super) fn unmapped(catalogue: &Catalogue, listed: &BTreeMap<u32, Listed<'_>>, findings: &mut Findings) {
    let mut belonging = from_plan(catalogue, listed);
    let names = user_columns(catalogue, listed);
    loop {
        let mut more: Vec<(u32, Belongs)> = Vec::new();
        for (oid, table) in &catalogue.tables {
            let is_candidate = matches!(table.kind, Kind::Table | Kind::Foreign) && table.root == *oid;
            if belonging.contains_key(oid) || !is_candidate || table.is_of_extension {
                continue;
            }
            if table.name.schema == "handover" {
                continue;
            }
            let found = by_foreign_key(table, catalogue, &belonging);
            if let Some(belongs) = found.or_else(|| by_column(table, &names)) {
                more.push((*oid, belongs));
            }
        }
        if more.is_empty() {
            break;
        }
        belonging.extend(more);
    }
    for (oid, belongs) in &belonging {
        if !listed.contains_key(oid) && !is_covered_by_ancestor(*oid, catalogue, listed) {
            let name = catalogue.tables[oid].name.plain();
            let what = format!("{name} belongs to the user ({}) and is not listed", belongs.why);
            let remedy = format!(
                "map it, with [legacy.\"{name}\"] {}, or add ignore_table = \"reason\" there",
                belongs.entry
            );
            findings.error(Code::UnmappedTable, &belongs.place, what, remedy);
        }
    }
}

/// The listed tables with a way to their user, and the tables that user columns refer to.
fn from_plan(catalogue: &Catalogue, listed: &BTreeMap<u32, Listed<'_>>) -> BTreeMap<u32, Belongs> {
    let mut belonging = BTreeMap::new();
    for (oid, Listed { said, table }) in listed {
        let place = said.origin.place.clone();
        if !matches!(said.reach, Reach::User { .. } | Reach::Via { .. }) {
            continue;
        }
        let of_plan = Belongs { why: String::new(), entry: String::new(), place: place.clone() };
        belonging.insert(*oid, of_plan);
        let Reach::User { column } = &said.reach else { continue };
        for key in &table.foreign_keys {
            let [number] = key.columns[..] else { continue };
            let Some(target) = catalogue.tables.get(&key.target) else { continue };
            if table.column_name(number) == column {
                let why = format!("{}.{column} refers to it", said.table.plain());
                let entry = format!("user = \"{}\"", target.column_name(key.target_columns[0]));
                belonging.entry(key.target).or_insert(Belongs { why, entry, place: place.clone() });
            }
        }
    }
    belonging
}

fn by_foreign_key(
    table: &Table,
    catalogue: &Catalogue,
    belonging: &BTreeMap<u32, Belongs>,
) -> Option<Belongs> {
    table.foreign_keys.iter().find_map(|key| {
        let parent = belonging.get(&key.target)?;
        let target = catalogue.tables.get(&key.target)?;
        let links: Vec<String> = key
            .columns
            .iter()
            .zip(&key.target_columns)
            .map(|(here, there)| {
                let (here, there) = (table.column_name(*here), target.column_name(*there));
                format!("{here} = \"{}.{there}\"", target.name.plain())
            })
            .collect();
        Some(Belongs {
            why: format!("it refers to {}", target.name.plain()),
            entry: format!("via = {{ {} }}", links.join(", ")),
            place: parent.place.clone(),
        })
    })
}

/// A name under which tables hold the user's key.
struct UserColumn {
    name: String,
    family: Family,
    /// It is its own table's primary key and refers to nothing, as `users.id` is: another table's own `id` is
    /// then no sign of the user.
    is_identity: bool,
    place: Place,
}

fn user_columns(catalogue: &Catalogue, listed: &BTreeMap<u32, Listed<'_>>) -> Vec<UserColumn> {
    let mut names = Vec::new();
    for Listed { said, table } in listed.values() {
        let Reach::User { column } = &said.reach else { continue };
        let Some(column) = table.column(column) else { continue };
        let refers = table.foreign_keys.iter().any(|key| key.columns == [column.number]);
        names.push(UserColumn {
            name: column.name.clone(),
            family: column.family(),
            is_identity: table.primary_key == [column.number] && !refers,
            place: said.origin.place.clone(),
        });
        let roots: Vec<u32> = table
            .foreign_keys
            .iter()
            .filter(|key| key.columns == [column.number])
            .map(|key| key.target)
            .chain(
                names
                    .last()
                    .filter(|name| name.is_identity)
                    .and_then(|_| catalogue.find(&said.table))
                    .map(|(oid, _)| oid),
            )
            .collect();
        names.extend(names_of_references(catalogue, &roots, &said.origin.place));
    }
    names
}

/// Columns of other tables that refer to the users' own table: `author_id` is then a user column as well.
fn names_of_references(catalogue: &Catalogue, roots: &[u32], place: &Place) -> Vec<UserColumn> {
    let mut names = Vec::new();
    for table in catalogue.tables.values() {
        for key in table.foreign_keys.iter().filter(|key| roots.contains(&key.target)) {
            let [number] = key.columns[..] else { continue };
            let Some(column) = table.columns.iter().find(|column| column.number == number) else { continue };
            if table.primary_key != [number] {
                let (name, family) = (column.name.clone(), column.family());
                names.push(UserColumn { name, family, is_identity: false, place: place.clone() });
            }
        }
    }
    names
}

fn by_column(table: &Table, names: &[UserColumn]) -> Option<Belongs> {
    names.iter().find_map(|name| {
        let column = table.column(&name.name).filter(|column| column.family() == name.family)?;
        if name.is_identity && table.primary_key == [column.number] {
            return None;
        }
        Some(Belongs {
            why: format!("it has the user column `{}`", name.name),
            entry: format!("user = \"{}\"", name.name),
            place: name.place.clone(),
        })
    })
}

/// Whether the rows are read through a table that this one inherits from, without columns of its own.
fn is_covered_by_ancestor(oid: u32, catalogue: &Catalogue, listed: &BTreeMap<u32, Listed<'_>>) -> bool {
    let Some(table) = catalogue.tables.get(&oid) else { return false };
    table.inherits.iter().any(|parent| {
        let Some(above) = catalogue.tables.get(parent) else { return false };
        let adds_columns = table.column_names().any(|name| above.column(name).is_none());
        !adds_columns && (listed.contains_key(parent) || is_covered_by_ancestor(*parent, catalogue, listed))
    })
}
