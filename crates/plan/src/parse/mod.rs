//! plan.toml → what it says, with places. Each key is read here and checked by itself; what depends on other
//! keys or on other files is left to `validate`.

mod entity;
mod fill;
mod legacy;

use handover_canonical::Column;
use handover_postgres::QualifiedName;
use handover_transform::Fill;
use toml::de::DeValue;

use crate::KeyType;
use crate::document::{Section, Source, Spot, shown};
use crate::finding::{Code, Findings};
use crate::limits::{MAX_ENTITIES, MAX_NAME};
use crate::plan::LegacyTable;

/// The format that this program reads.
const FORMAT: i64 = 1;

/// What plan.toml says. A part that could not be read is absent, and has been reported.
#[derive(Debug)]
pub(crate) struct RawPlan {
    pub(crate) name: Option<Spot<String>>,
    pub(crate) user_key: Option<KeyType>,
    pub(crate) legacy: Vec<LegacyTable>,
    /// Listed tables whose entry could not be read.
    pub(crate) broken_legacy: Vec<QualifiedName>,
    pub(crate) entities: Vec<RawEntity>,
}

/// What one `[[entity]]` says.
#[derive(Debug)]
pub(crate) struct RawEntity {
    pub(crate) name: Spot<String>,
    /// Absent where one of them could not be read, so that nothing is said about names that may be there.
    pub(crate) columns: Option<Vec<Spot<Column>>>,
    pub(crate) derived: Vec<Spot<Column>>,
    pub(crate) key: Vec<Spot<String>>,
    pub(crate) parent: Option<Spot<String>>,
    pub(crate) extract: Option<Spot<String>>,
    pub(crate) read_back: Option<Spot<String>>,
    pub(crate) delete: Option<Spot<String>>,
    pub(crate) reverse: Option<Spot<String>>,
    pub(crate) load: Option<Spot<String>>,
    pub(crate) dropped: Vec<(String, String)>,
    pub(crate) into: Option<Spot<QualifiedName>>,
    /// Absent where there is no `fill`.
    pub(crate) fill: Option<Vec<(Spot<String>, Option<Fill>)>>,
    /// Whether the keys `into` and `load` are there, readable or not.
    pub(crate) has_into: bool,
    pub(crate) has_load: bool,
    /// The place of the table's head.
    pub(crate) head: crate::finding::Place,
}

/// Reads the text of plan.toml.
pub(crate) fn parse(file: &str, text: &str, findings: &mut Findings) -> RawPlan {
    let source = Source::new(file, text);
    let table = source.parse(findings);
    let root = Section::root(&source, &table);
    root.only(&["format", "name", "user_key", "legacy", "entity"], findings);
    format(&root, findings);
    root.need("name", "add name = \"…\", the migration's name", findings);
    root.need("user_key", "add user_key = \"int8\", \"uuid\" or \"text\"", findings);
    root.need("entity", "add an [[entity]] for each kind of row that moves", findings);
    let (legacy, broken_legacy) = legacy::parse(&root, findings);
    RawPlan {
        name: root.string("name", findings).and_then(|name| migration_name(name, findings)),
        user_key: root.string("user_key", findings).and_then(|text| user_key(&text, findings)),
        legacy,
        broken_legacy,
        entities: entities(&root, findings),
    }
}

fn format(root: &Section<'_>, findings: &mut Findings) {
    root.need("format", "add format = 1", findings);
    let Some(value) = root.value("format") else { return };
    let number = match value.get() {
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => return value.wrong("`format`", "an integer", "write format = 1", findings).unwrap_or(()),
    };
    if number != Some(FORMAT) {
        let what = "this program does not know the plan's format";
        findings.error(
            Code::UnknownFormat,
            &value.place(),
            what,
            "write format = 1, or use a newer handover",
        );
    }
}

/// The name stands in Redis values, in metrics and in file names.
fn migration_name(name: Spot<String>, findings: &mut Findings) -> Option<Spot<String>> {
    let bytes = name.value.as_bytes();
    let fits = (1..=MAX_NAME).contains(&bytes.len())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
        && bytes[0] != b'-';
    if fits {
        return Some(name);
    }
    let what = format!("`{}` cannot be a migration's name", shown(&name.value));
    let remedy = "use 1 to 63 of a-z, 0-9 and -, not beginning with -";
    findings.error(Code::BadName, &name.place, what, remedy);
    None
}

fn user_key(text: &Spot<String>, findings: &mut Findings) -> Option<KeyType> {
    let key = text.value.parse().ok();
    if key.is_none() {
        let what = format!("`{}` is no type of user keys", shown(&text.value));
        let remedy =
            "write \"int8\", \"uuid\" or \"text\"; an int4 column is read as int8 by `owner_id::int8`";
        findings.error(Code::BadColumn, &text.place, what, remedy);
    }
    key
}

fn entities(root: &Section<'_>, findings: &mut Findings) -> Vec<RawEntity> {
    let Some(value) = root.value("entity") else { return Vec::new() };
    let Some(values) = value.array("`entity`", findings) else { return Vec::new() };
    if values.is_empty() {
        let remedy = "add an [[entity]] for each kind of row that moves";
        findings.error(Code::MissingKey, &value.place(), "the plan has no entity", remedy);
    }
    if values.len() > MAX_ENTITIES {
        let what = format!("the plan has {} entities, and may have {MAX_ENTITIES}", values.len());
        findings.error(Code::Limit, &value.place(), what, "divide it into several migrations");
    }
    let mut entities = Vec::new();
    for (nth, value) in values.into_iter().take(MAX_ENTITIES).enumerate() {
        let title = format!("entity {}", nth + 1);
        if let Some(mut section) = value.table(&title, findings) {
            entities.extend(entity::parse(&mut section, findings));
        }
    }
    entities
}

/// A name of a column as the catalogue can hold it.
pub(crate) fn column_name(name: &Spot<String>, findings: &mut Findings) -> bool {
    let fits = (1..=MAX_NAME).contains(&name.value.len()) && !name.value.contains('\0');
    if !fits {
        let what = format!("`{}` cannot be a column's name", shown(&name.value));
        findings.error(Code::BadName, &name.place, what, "use 1 to 63 bytes, as Postgres does");
    }
    fits
}

/// A name of the form `schema.table`.
fn qualified(name: &Spot<String>, findings: &mut Findings) -> Option<QualifiedName> {
    let parsed = name.value.parse::<QualifiedName>();
    if parsed.is_err() {
        let what = format!("`{}` is not of the form schema.table", shown(&name.value));
        let remedy =
            "write the schema too, as in \"public.invoice\", in the catalogue's spelling and without quotes";
        findings.error(Code::BadName, &name.place, what, remedy);
    }
    parsed.ok()
}
