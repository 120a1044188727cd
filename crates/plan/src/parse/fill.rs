//! `[entity.fill]`: destination column = what fills it.

use std::collections::BTreeMap;

use handover_transform::{Fill, Value};
use toml::de::DeValue;
use uuid::Uuid;

use super::column_name;
use crate::document::{self, Section, Spot, shown};
use crate::finding::{Code, Findings};
use crate::limits::{MAX_FILLS, MAX_NAME};

/// Each kind of fill, with the keys that go with it.
const KINDS: &[(&str, &[&str])] = &[
    ("user", &[]),
    ("column", &["map"]),
    ("uuid5", &["namespace"]),
    ("json", &[]),
    ("constant", &[]),
    ("default", &[]),
    ("sequence", &["key"]),
    ("rust", &["from"]),
];

pub(super) type Fills = Vec<(Spot<String>, Option<Fill>)>;

pub(super) fn parse(entity: &Section<'_>, findings: &mut Findings) -> Option<Fills> {
    let section = entity.table("fill", findings)?;
    let items = section.items();
    if items.len() > MAX_FILLS {
        let what = format!("`fill` of {} has more than {MAX_FILLS} columns", entity.title);
        findings.error(Code::Limit, &section.place, what, "no Postgres table has as many");
    }
    let mut fills = Vec::new();
    for item in items.into_iter().take(MAX_FILLS) {
        let title = format!("the fill of `{}` in {}", shown(&item.key.value), entity.title);
        let named = column_name(&item.key, findings);
        let fill = fill(item.value, &item.key, &title, findings);
        if named {
            fills.push((item.key, fill));
        }
    }
    Some(fills)
}

fn fill(
    value: document::Value<'_>,
    key: &Spot<String>,
    title: &str,
    findings: &mut Findings,
) -> Option<Fill> {
    if let DeValue::String(text) = value.get() {
        let remedy = format!("write {{ column = \"{0}\" }} or {{ constant = \"{0}\" }}", shown(text));
        return value.wrong(title, "a table", &remedy, findings);
    }
    let mut section = value.table(title, findings)?;
    section.place = key.place.clone();
    let given: Vec<_> = KINDS.iter().filter(|(kind, _)| section.has(kind)).collect();
    let [(kind, companions)] = given[..] else {
        return wrong_number(&section, given.len(), findings);
    };
    let known: Vec<&str> = std::iter::once(*kind).chain(companions.iter().copied()).collect();
    section.only(&known, findings);
    match *kind {
        "user" => user(&section, findings),
        "column" => column(&section, findings),
        "uuid5" => uuid5(&section, findings),
        "json" => json(&section, findings),
        "constant" => Some(Fill::Constant(scalar(section.value("constant")?, &section.title, findings)?)),
        "default" => Some(Fill::Default { reason: section.reason("default", findings)? }),
        "sequence" => sequence(&section, findings),
        _ => rust(&section, findings),
    }
}

fn wrong_number(section: &Section<'_>, given: usize, findings: &mut Findings) -> Option<Fill> {
    let kinds: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
    let list = kinds.join(", ");
    if given == 0 {
        let mut known = kinds;
        known.extend(KINDS.iter().flat_map(|(_, companions)| companions.iter().copied()));
        section.only(&known, findings);
        let what = format!("{} says nothing that could fill it", section.title);
        findings.error(Code::BadFill, &section.place, what, format!("use one of: {list}"));
    } else {
        let what = format!("{} says more than one thing", section.title);
        findings.error(Code::BadFill, &section.place, what, format!("keep one of: {list}"));
    }
    None
}

fn bad(section: &Section<'_>, what: &str, remedy: &str, findings: &mut Findings) -> Option<Fill> {
    findings.error(Code::BadFill, &section.place, format!("{} {what}", section.title), remedy);
    None
}

fn user(section: &Section<'_>, findings: &mut Findings) -> Option<Fill> {
    match section.value("user")?.get() {
        DeValue::Boolean(true) => Some(Fill::User),
        _ => bad(section, "has a `user` that is not true", "write { user = true }", findings),
    }
}

fn column(section: &Section<'_>, findings: &mut Findings) -> Option<Fill> {
    let column = section.string("column", findings);
    if !section.has("map") {
        return Some(Fill::Column { column: column?.value });
    }
    let table = section.table("map", findings)?;
    let mut map = BTreeMap::new();
    let mut complete = true;
    for item in table.items() {
        match scalar(item.value, &table.title, findings) {
            Some(value) => drop(map.insert(item.key.value, value)),
            None => complete = false,
        }
    }
    if map.is_empty() && complete {
        return bad(
            section,
            "has an empty map",
            "list the values, as in map = { 0 = \"open\", 1 = \"paid\" }",
            findings,
        );
    }
    complete.then_some(())?;
    Some(Fill::Map { column: column?.value, map })
}

fn uuid5(section: &Section<'_>, findings: &mut Findings) -> Option<Fill> {
    section.need("namespace", "add namespace = \"…\", a UUID drawn once for this table (uuidgen)", findings);
    let columns = section.strings("uuid5", findings);
    let namespace = section.string("namespace", findings)?;
    let Ok(namespace) = Uuid::try_parse(&namespace.value) else {
        let what = "has a namespace that is no UUID";
        return bad(section, what, "draw one, for instance with uuidgen", findings);
    };
    let columns: Vec<String> = columns?.into_iter().map(|column| column.value).collect();
    (!columns.is_empty()).then_some(Fill::Uuid5 { columns, namespace })
}

fn json(section: &Section<'_>, findings: &mut Findings) -> Option<Fill> {
    let table = section.table("json", findings)?;
    let items = table.items();
    if items.is_empty() {
        let remedy = "write json = { key = \"column\" }";
        return bad(section, "has an empty json object", remedy, findings);
    }
    let fields: Vec<_> = items
        .into_iter()
        .map(|item| Some((item.key.value, item.value.string(&table.title, findings)?.value)))
        .collect();
    Some(Fill::Json { fields: fields.into_iter().collect::<Option<_>>()? })
}

fn sequence(section: &Section<'_>, findings: &mut Findings) -> Option<Fill> {
    section.need("key", "add key = \"…\", the column under whose value the drawn number is kept", findings);
    let sequence = section.string("sequence", findings);
    let key = section.string("key", findings);
    let sequence = super::qualified(&sequence?, findings)?;
    Some(Fill::Sequence { sequence: sequence.plain(), key: key?.value })
}

fn rust(section: &Section<'_>, findings: &mut Findings) -> Option<Fill> {
    section.need("from", "add from = [\"…\"], the columns that the transform reads", findings);
    let name = section.string("rust", findings);
    let from = section.strings("from", findings);
    let name = name?.value;
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        let remedy = "use the name under which the transform is registered in the worker";
        return bad(section, "has a transform's name that none can have", remedy, findings);
    }
    Some(Fill::Rust { name, from: from?.into_iter().map(|column| column.value).collect() })
}

fn scalar(value: document::Value<'_>, label: &str, findings: &mut Findings) -> Option<Value> {
    let remedy = "write a string, a whole number, a float or a boolean; dates and the rest as a string";
    let scalar = match value.get() {
        DeValue::String(text) => Some(Value::String(text.clone().into_owned())),
        DeValue::Boolean(truth) => Some(Value::Bool(*truth)),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(Value::Int),
        // A float that is no number or not finite would be another value on each way that it is written.
        DeValue::Float(number) => {
            number.as_str().parse().ok().filter(|f: &f64| f.is_finite()).map(Value::Float)
        }
        _ => None,
    };
    match scalar {
        Some(scalar) => Some(scalar),
        None => value.wrong(label, "a scalar value that 64 bits can hold", remedy, findings),
    }
}
