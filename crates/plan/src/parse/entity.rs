//! `[[entity]]`: one kind of row that moves.

use handover_canonical::Column;

use super::{RawEntity, column_name, fill, qualified};
use crate::document::{Section, Spot, shown};
use crate::finding::{Code, Findings};
use crate::limits::{MAX_COLUMNS, MAX_NAME};

const KEYS: &[&str] = &[
    "name",
    "parent",
    "key",
    "columns",
    "extract",
    "read_back",
    "delete",
    "reverse",
    "derived",
    "dropped",
    "into",
    "fill",
    "load",
];

/// Reads one entity; absent where it has no name that others could refer to.
pub(super) fn parse(section: &mut Section<'_>, findings: &mut Findings) -> Option<RawEntity> {
    section.need("name", "add name = \"…\", by which children and the temporary table refer to it", findings);
    let name = section.string("name", findings).filter(|name| entity_name(name, findings));
    if let Some(name) = &name {
        section.title = format!("entity \"{}\"", name.value);
    }
    section.only(KEYS, findings);
    required(section, findings);
    let entity = RawEntity {
        columns: columns(section, "columns", findings),
        derived: columns(section, "derived", findings).unwrap_or_default(),
        key: section.strings("key", findings).unwrap_or_default(),
        parent: section.string("parent", findings),
        extract: section.string("extract", findings),
        read_back: section.string("read_back", findings),
        delete: section.string("delete", findings),
        reverse: section.string("reverse", findings),
        load: section.string("load", findings),
        dropped: dropped(section, findings),
        into: into(section, findings),
        fill: fill::parse(section, findings),
        has_into: section.has("into"),
        has_load: section.has("load"),
        head: section.place.clone(),
        name: name?,
    };
    Some(entity)
}

fn required(section: &Section<'_>, findings: &mut Findings) {
    for (key, remedy) in [
        ("key", "name the columns that tell a user's rows apart, as in key = [\"legacy_id\"]"),
        ("columns", "list the canonical columns, as in columns = [\"legacy_id int8\", \"title text\"]"),
        ("extract", "name the file with the query over legacy"),
        ("read_back", "name the file with the query over the destination that returns the same rows"),
        ("delete", "name the file with the statement that removes the users' rows from the destination"),
    ] {
        section.need(key, remedy, findings);
    }
}

/// The entity's name is a temporary table's, and is hashed.
fn entity_name(name: &Spot<String>, findings: &mut Findings) -> bool {
    let bytes = name.value.as_bytes();
    let fits = (1..=MAX_NAME).contains(&bytes.len())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_')
        && !bytes[0].is_ascii_digit();
    if !fits {
        let what = format!("`{}` cannot be an entity's name", shown(&name.value));
        let remedy = "use 1 to 63 of a-z, 0-9 and _, not beginning with a digit";
        findings.error(Code::BadName, &name.place, what, remedy);
    }
    fits
}

fn columns(section: &Section<'_>, key: &str, findings: &mut Findings) -> Option<Vec<Spot<Column>>> {
    let texts = section.strings(key, findings)?;
    if texts.len() > MAX_COLUMNS {
        let what =
            format!("`{key}` of {} lists {} columns, and may list {MAX_COLUMNS}", section.title, texts.len());
        findings.error(
            Code::Limit,
            &section.place_of(key),
            what,
            "divide the entity, or gather columns in a json value",
        );
        return None;
    }
    let columns: Vec<_> = texts.into_iter().map(|text| column(text, findings)).collect();
    columns.into_iter().collect()
}

fn column(text: Spot<String>, findings: &mut Findings) -> Option<Spot<Column>> {
    match text.value.parse::<Column>() {
        Ok(column) => {
            let name = Spot { value: column.name.clone(), place: text.place.clone() };
            column_name(&name, findings).then(|| text.map(|_| column))
        }
        Err(error) => {
            let what = format!("`{}` is no column: {}", shown(&text.value), shown_error(&error));
            let remedy = "write it as \"name type\" with a type of docs/digest.md, and let both queries return that type";
            findings.error(Code::BadColumn, &text.place, what, remedy);
            None
        }
    }
}

/// The error without what the message already quotes, cut where the plan's text is long.
fn shown_error(error: &impl std::fmt::Display) -> String {
    error.to_string().chars().take(400).filter(|c| !c.is_control()).collect()
}

fn dropped(section: &Section<'_>, findings: &mut Findings) -> Vec<(String, String)> {
    let reasons = section.reasons("dropped", findings);
    for (condition, _) in reasons.iter().filter(|(condition, _)| condition.value.trim().is_empty()) {
        let what = format!("`dropped` of {} has an empty condition", section.title);
        findings.error(
            Code::EmptyReason,
            &condition.place,
            what,
            "write the condition in the extract's words, as in \"r.deleted_at IS NOT NULL\"",
        );
    }
    reasons.into_iter().map(|(condition, reason)| (condition.value, reason)).collect()
}

fn into(section: &Section<'_>, findings: &mut Findings) -> Option<Spot<handover_postgres::QualifiedName>> {
    let text = section.string("into", findings)?;
    let name = qualified(&text, findings)?;
    Some(text.map(|_| name))
}
