//! Whether every column of every legacy table that is read is either used or ignored with a reason.
//!
//! A field that nobody mapped is the classic silent loss: a digest cannot see it, this can. Both sides of the
//! comparison come from the server's catalogue. It asks no server.

use std::collections::{BTreeMap, BTreeSet};

use super::catalogue::{Catalogue, Kind, Table};
use super::reach::Listed;
use super::uses::Uses;
use crate::finding::{Code, Findings, Place};
use crate::plan::{LegacyTable, Reach};

/// What an extract uses, and the place to show for each relation.
pub(super) struct Read {
    pub(super) uses: Uses,
    pub(super) places: BTreeMap<u32, Place>,
}

/// Reports what is read and not accounted for.
pub(super) fn check(
    read: &Read,
    catalogue: &Catalogue,
    listed: &BTreeMap<u32, Listed<'_>>,
    findings: &mut Findings,
) {
    for (oid, used) in &read.uses {
        // Tables of the system and temporary ones are not in the catalogue as it is read here.
        let Some(table) = catalogue.tables.get(oid) else { continue };
        let place = &read.places[oid];
        check_storage(table, place, findings);
        match listed.get(oid) {
            None if table.kind == Kind::View => view_columns(table, used, place, findings),
            None => unlisted(table, place, findings),
            Some(Listed { said, .. }) => {
                if said.ignore_table.is_some() {
                    ignored_but_read(said, place, findings);
                } else {
                    columns(said, table, used, &linked(listed, said), findings);
                }
            }
        }
    }
    for (oid, entry) in listed {
        if !read.uses.contains_key(oid) && !is_read_through_ancestor(*oid, read, catalogue) {
            unread(entry.said, findings);
        }
    }
}

fn check_storage(table: &Table, place: &Place, findings: &mut Findings) {
    let name = table.name.plain();
    if table.is_unlogged {
        let what = format!("{name} is unlogged, so that no replica has its rows");
        let remedy = format!("make it logged: ALTER TABLE {name} SET LOGGED");
        findings.error(Code::Unlogged, place, what, remedy);
    }
    let what = match table.kind {
        Kind::Materialized => {
            format!("{name} is a materialized view: its rows are as old as its last refresh")
        }
        Kind::Foreign => format!("{name} is a foreign table: its rows are outside the replica's snapshot"),
        Kind::Table | Kind::View => return,
    };
    findings.warn(Code::Opaque, place, what, "read the tables that hold the rows");
}

fn unlisted(table: &Table, place: &Place, findings: &mut Findings) {
    let name = table.name.plain();
    let what = format!("{name} is read, and the plan does not say how its rows reach their user");
    let remedy = format!(
        "add [legacy.\"{name}\"] with `user`, `via`, or, where its rows belong to nobody, `shared = \"reason\"`"
    );
    findings.error(Code::UnlistedTable, place, what, remedy);
}

fn ignored_but_read(said: &LegacyTable, place: &Place, findings: &mut Findings) {
    let name = said.table.plain();
    let what = format!("{name} is listed with `ignore_table`, and is read");
    let remedy = format!(
        "in [legacy.\"{name}\"] use `ignore` for the columns that stay behind, or do not read the table"
    );
    findings.error(Code::IgnoredButRead, place, what, remedy);
}

/// A view that is not listed must be used whole: a column that is left out hides one of its tables'.
fn view_columns(view: &Table, used: &BTreeSet<i16>, place: &Place, findings: &mut Findings) {
    let name = view.name.plain();
    for column in view.columns.iter().filter(|column| !used.contains(&column.number)) {
        let what = format!("the column `{}` of the view {name} is neither used nor ignored", column.name);
        let remedy = format!(
            "use it, read the view's tables instead, or list the view: [legacy.\"{name}\"] with `user`, `via` or \
             `shared`, and ignore = {{ {} = \"reason\" }}",
            column.name
        );
        findings.error(Code::UnusedColumn, place, what, remedy);
    }
}

fn columns(
    said: &LegacyTable,
    table: &Table,
    used: &BTreeSet<i16>,
    linked: &BTreeSet<&str>,
    findings: &mut Findings,
) {
    let name = said.table.plain();
    for column in &table.columns {
        let is_used = used.contains(&column.number);
        match said.origin.ignore.get(&column.name) {
            Some(place) if is_used => {
                let what =
                    format!("`{}` of {name} is listed under `ignore`, and a query uses it", column.name);
                findings.warn(
                    Code::NeedlessIgnore,
                    place,
                    what,
                    "remove it from `ignore`, or from the query",
                );
            }
            None if !is_used && !linked.contains(column.name.as_str()) => {
                let what = format!("the column `{}` of {name} is neither used nor ignored", column.name);
                let remedy = format!(
                    "map it, or say why it stays behind: ignore = {{ {} = \"reason\" }} in [legacy.\"{name}\"]",
                    column.name
                );
                findings.error(Code::UnusedColumn, &said.origin.place, what, remedy);
            }
            _ => {}
        }
    }
}

/// The columns of the table that the plan itself names as links to the user: its own, and its children's to it.
fn linked<'p>(listed: &BTreeMap<u32, Listed<'p>>, said: &'p LegacyTable) -> BTreeSet<&'p str> {
    let own: Vec<&str> = match &said.reach {
        Reach::User { column } => vec![column],
        Reach::Via { columns, .. } => columns.iter().map(|(here, _)| here.as_str()).collect(),
        Reach::Shared { .. } | Reach::Unsaid => Vec::new(),
    };
    let children = listed.values().filter_map(|child| match &child.said.reach {
        Reach::Via { parent, columns } if *parent == said.table => Some(columns),
        _ => None,
    });
    own.into_iter().chain(children.flatten().map(|(_, there)| there.as_str())).collect()
}

fn unread(said: &LegacyTable, findings: &mut Findings) {
    let name = said.table.plain();
    let place = &said.origin.place;
    match (&said.reach, &said.ignore_table) {
        (_, Some(_)) | (Reach::Unsaid, None) => {}
        (Reach::Shared { .. }, None) => {
            let what = format!("{name} is listed as shared, and no query reads it");
            findings.warn(Code::UnreadTable, place, what, "remove the entry");
        }
        (Reach::User { .. } | Reach::Via { .. }, None) => {
            let what = format!("{name} is listed as the user's, and no query reads it");
            let remedy = "read it in an extract, or add ignore_table = \"reason\" beside `user` or `via`";
            findings.error(Code::UnreadTable, place, what, remedy);
        }
    }
}

fn is_read_through_ancestor(oid: u32, read: &Read, catalogue: &Catalogue) -> bool {
    let Some(table) = catalogue.tables.get(&oid) else { return false };
    table
        .inherits
        .iter()
        .any(|parent| read.uses.contains_key(parent) || is_read_through_ancestor(*parent, read, catalogue))
}
