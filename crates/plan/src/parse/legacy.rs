//! `[legacy."schema.table"]`: how each legacy table's rows reach their user, and what stays behind.

use std::collections::BTreeMap;

use handover_postgres::QualifiedName;

use super::{column_name, qualified};
use crate::document::{Item, Section, Spot, shown};
use crate::finding::{Code, Findings};
use crate::limits::MAX_LEGACY_TABLES;
use crate::plan::{LegacyOrigin, LegacyTable, Reach};

const KEYS: &[&str] = &["user", "via", "shared", "ignore", "ignore_table"];

/// The tables that can be read, and the names of those that cannot.
pub(super) fn parse(root: &Section<'_>, findings: &mut Findings) -> (Vec<LegacyTable>, Vec<QualifiedName>) {
    root.need("legacy", "add [legacy.\"schema.table\"] for each table that a query reads", findings);
    let Some(section) = root.table("legacy", findings) else { return Default::default() };
    let items = section.items();
    if items.len() > MAX_LEGACY_TABLES {
        let what = format!("{} legacy tables are listed, and {MAX_LEGACY_TABLES} may be", items.len());
        findings.error(Code::Limit, &section.place, what, "divide the plan into several migrations");
    }
    let (mut tables, mut broken) = (Vec::new(), Vec::new());
    for item in items.into_iter().take(MAX_LEGACY_TABLES) {
        let name = qualified(&item.key, findings);
        match table(item, name.clone(), findings) {
            Some(table) => tables.push(table),
            None => broken.extend(name),
        }
    }
    (tables, broken)
}

fn table(item: Item<'_>, name: Option<QualifiedName>, findings: &mut Findings) -> Option<LegacyTable> {
    let title = format!("[legacy.\"{}\"]", shown(&item.key.value));
    let mut section = item.value.table(&title, findings)?;
    section.place = item.key.place;
    section.only(KEYS, findings);
    let reach = reach(&section, findings);
    let ignore_table = section.reason("ignore_table", findings);
    let mut ignore = BTreeMap::new();
    let mut ignore_places = BTreeMap::new();
    for (column, reason) in section.reasons("ignore", findings) {
        if column_name(&column, findings) {
            ignore_places.insert(column.value.clone(), column.place);
            ignore.insert(column.value, reason);
        }
    }
    let reach_key = ["user", "via", "shared"].into_iter().find(|key| section.has(key)).unwrap_or_default();
    Some(LegacyTable {
        table: name?,
        reach: reach?,
        ignore,
        ignore_table,
        origin: LegacyOrigin {
            reach: section.place_of(reach_key),
            place: section.place,
            ignore: ignore_places,
        },
    })
}

/// The one way in which the rows reach their user.
fn reach(section: &Section<'_>, findings: &mut Findings) -> Option<Reach> {
    contradictions(section, findings);
    let given = |key| section.has(key);
    match (given("user"), given("via"), given("shared")) {
        (true, false, false) => {
            let column = section.string("user", findings)?;
            column_name(&column, findings).then_some(Reach::User { column: column.value })
        }
        (false, true, false) => via(section, findings),
        (false, false, true) => {
            let reason = section.reason("shared", findings)?;
            Some(Reach::Shared { reason })
        }
        (false, false, false) => Some(Reach::Unsaid),
        _ => None,
    }
}

fn contradictions(section: &Section<'_>, findings: &mut Findings) {
    let given = |keys: &[&'static str]| keys.iter().filter(|key| section.has(key)).count();
    let mut bad = |what: String, remedy: &str| findings.error(Code::BadReach, &section.place, what, remedy);
    let title = &section.title;
    if given(&["user", "via", "shared"]) > 1 {
        bad(
            format!("{title} says in more than one way how its rows reach their user"),
            "keep one of `user` (a column holds the key), `via` (they hang from another table) and `shared` \
             (they belong to nobody)",
        );
    }
    if given(&["user", "via", "shared", "ignore_table"]) == 0 {
        bad(
            format!("{title} does not say how its rows reach their user"),
            "add `user = \"column\"`, `via = { column = \"schema.table.column\" }`, `shared = \"reason\"`, or \
             `ignore_table = \"reason\"`",
        );
    }
    if given(&["ignore", "ignore_table"]) == 2 {
        bad(
            format!("{title} ignores columns and the whole table"),
            "keep `ignore` where a query reads the table, and `ignore_table` where none does",
        );
    }
    if given(&["shared", "ignore_table"]) == 2 {
        bad(
            format!("{title} is both shared, for queries to look up, and ignored"),
            "keep `shared` where a query reads the table, and `ignore_table` where none does",
        );
    }
}

fn via(section: &Section<'_>, findings: &mut Findings) -> Option<Reach> {
    let table = section.table("via", findings)?;
    let items = table.items();
    if items.is_empty() {
        let remedy = "write via = { invoice_id = \"shop.invoice.id\" }";
        findings.error(Code::BadReach, &table.place, format!("{} is empty", table.title), remedy);
        return None;
    }
    let links: Vec<_> = items.into_iter().map(|item| link(item, &table.title, findings)).collect();
    let links: Vec<(String, QualifiedName, String)> = links.into_iter().collect::<Option<_>>()?;
    let parent = links[0].1.clone();
    if links.iter().any(|(_, table, _)| *table != parent) {
        let what = format!("{} leads to more than one table", table.title);
        let remedy =
            "keep the one table from which the rows hang; several columns are for a key of several columns";
        findings.error(Code::BadReach, &table.place, what, remedy);
        return None;
    }
    let columns = links.into_iter().map(|(child, _, column)| (child, column)).collect();
    Some(Reach::Via { parent, columns })
}

/// `invoice_id = "shop.invoice.id"`: the column here, and the table and column there.
fn link(item: Item<'_>, title: &str, findings: &mut Findings) -> Option<(String, QualifiedName, String)> {
    let there = item.value.string(title, findings)?;
    let named = column_name(&item.key, findings);
    let parts = there.value.rsplit_once('.');
    let parsed = parts.and_then(|(table, column)| Some((table.parse().ok()?, column)));
    let Some((table, column)) = parsed else {
        let what = format!("`{}` is not of the form schema.table.column", shown(&there.value));
        findings.error(Code::BadName, &there.place, what, "write it as in \"shop.invoice.id\"");
        return None;
    };
    let column = Spot { value: column.to_owned(), place: there.place };
    (column_name(&column, findings) && named).then_some((item.key.value, table, column.value))
}
