//! plan.toml as tables whose every key and value knows its place.
//!
//! The getters report what is wrong and go on, so that one reading finds all errors. What the keys mean is
//! decided by the callers.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::finding::{Code, Findings, Place};
use crate::suggest::did_you_mean;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spot<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

impl<T> Spot<T> {
    /// The value made of this one, at its place.
    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> Spot<U> {
        Spot { value: f(self.value), place: self.place }
    }
}

/// The text of a TOML file, with its lines indexed.
pub(crate) struct Source<'t> {
    file: &'t str,
    text: &'t str,
    line_starts: Vec<usize>,
}

impl<'t> Source<'t> {
    pub(crate) fn new(file: &'t str, text: &'t str) -> Self {
        let behind_breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { file, text, line_starts: std::iter::once(0).chain(behind_breaks).collect() }
    }

    /// The document as far as it can be read. Each error of syntax is a finding.
    pub(crate) fn parse(&self, findings: &mut Findings) -> Spanned<DeTable<'t>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            let place = self.place(error.span().unwrap_or(0..0));
            let what = format!("not TOML: {}", error.message());
            findings.error(Code::TomlSyntax, &place, what, syntax_remedy(error.message()));
        }
        table
    }

    fn place(&self, span: Range<usize>) -> Place {
        let line = self.line_starts.partition_point(|start| *start <= span.start).max(1);
        let line_text = self.text.get(self.line_starts[line - 1]..span.start).unwrap_or_default();
        Place { file: self.file.to_owned(), line: line as u32, column: line_text.chars().count() as u32 + 1 }
    }
}

fn syntax_remedy(message: &str) -> &'static str {
    if message.contains("duplicate key") {
        "keep one of the two"
    } else {
        "correct the syntax; strings stand in double quotes, tables in braces on one line (https://toml.io)"
    }
}

/// A table of the document.
pub(crate) struct Section<'d> {
    source: &'d Source<'d>,
    table: &'d DeTable<'d>,
    /// What messages call it.
    pub(crate) title: String,
    /// Where it begins.
    pub(crate) place: Place,
}

/// A key with its value.
pub(crate) struct Item<'d> {
    pub(crate) key: Spot<String>,
    pub(crate) value: Value<'d>,
}

/// A value that knows its document.
#[derive(Clone, Copy)]
pub(crate) struct Value<'d> {
    source: &'d Source<'d>,
    inner: &'d Spanned<DeValue<'d>>,
}

impl<'d> Section<'d> {
    /// The document itself.
    pub(crate) fn root(source: &'d Source<'d>, table: &'d Spanned<DeTable<'d>>) -> Self {
        Self { source, table: table.get_ref(), title: "the plan".to_owned(), place: Place::top(source.file) }
    }

    /// All keys, in the order of the file.
    pub(crate) fn items(&self) -> Vec<Item<'d>> {
        let mut entries: Vec<_> = self.table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
            .into_iter()
            .map(|(key, value)| Item {
                key: Spot { value: key.get_ref().clone().into_owned(), place: self.source.place(key.span()) },
                value: Value { source: self.source, inner: value },
            })
            .collect()
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn get(&self, key: &str) -> Option<Value<'d>> {
        self.table.get(key).map(|inner| Value { source: self.source, inner })
    }

    /// Where the key stands, or else the section.
    pub(crate) fn place_of(&self, key: &str) -> Place {
        let found = self.table.get_key_value(key).map(|(key, _)| self.source.place(key.span()));
        found.unwrap_or_else(|| self.place.clone())
    }

    /// Reports each key that is not among `known`.
    pub(crate) fn only(&self, known: &[&str], findings: &mut Findings) {
        for Item { key, .. } in self.items() {
            if !known.contains(&key.value.as_str()) {
                let what = format!("unknown key `{}` in {}", shown(&key.value), self.title);
                let list = format!("the keys here are: {}", known.join(", "));
                let remedy = did_you_mean(&key.value, known.iter().copied(), &list);
                findings.error(Code::UnknownKey, &key.place, what, remedy);
            }
        }
    }

    /// Reports the key where it is missing.
    pub(crate) fn need(&self, key: &str, remedy: &str, findings: &mut Findings) {
        if !self.has(key) {
            let what = format!("{} has no `{key}`", self.title);
            findings.error(Code::MissingKey, &self.place, what, remedy);
        }
    }

    pub(crate) fn value(&self, key: &str) -> Option<Value<'d>> {
        self.get(key)
    }

    pub(crate) fn string(&self, key: &str, findings: &mut Findings) -> Option<Spot<String>> {
        self.get(key)?.string(&self.label(key), findings)
    }

    /// An array of strings; an empty one is reported.
    pub(crate) fn strings(&self, key: &str, findings: &mut Findings) -> Option<Vec<Spot<String>>> {
        let label = self.label(key);
        let values = self.get(key)?.array(&label, findings)?;
        if values.is_empty() {
            let what = format!("{label} is empty");
            findings.error(
                Code::MissingKey,
                &self.place_of(key),
                what,
                "name at least one, or remove the key",
            );
        }
        let strings = values.into_iter().map(|value| value.string(&label, findings));
        // All are read before the first bad one ends it, so that each is reported.
        let strings: Vec<_> = strings.collect();
        strings.into_iter().collect()
    }

    pub(crate) fn table(&self, key: &str, findings: &mut Findings) -> Option<Section<'d>> {
        let mut section = self.get(key)?.table(&self.label(key), findings)?;
        section.place = self.place_of(key);
        Some(section)
    }

    /// A table of reasons: each key with a text that must say something.
    pub(crate) fn reasons(&self, key: &str, findings: &mut Findings) -> Vec<(Spot<String>, String)> {
        let Some(section) = self.table(key, findings) else { return Vec::new() };
        let mut reasons = Vec::new();
        for item in section.items() {
            let label = format!("{} of `{}`", section.title, shown(&item.key.value));
            if let Some(reason) = item.value.reason(&label, findings) {
                reasons.push((item.key, reason));
            }
        }
        reasons
    }

    /// A reason under `key`.
    pub(crate) fn reason(&self, key: &str, findings: &mut Findings) -> Option<String> {
        self.get(key)?.reason(&self.label(key), findings)
    }

    fn label(&self, key: &str) -> String {
        format!("`{key}` of {}", self.title)
    }
}

impl<'d> Value<'d> {
    pub(crate) fn get(&self) -> &'d DeValue<'d> {
        self.inner.get_ref()
    }

    pub(crate) fn place(&self) -> Place {
        self.source.place(self.inner.span())
    }

    /// Reports that the value is not what `label` takes.
    pub(crate) fn wrong<T>(
        &self,
        label: &str,
        wanted: &str,
        remedy: &str,
        findings: &mut Findings,
    ) -> Option<T> {
        let found = match self.get().type_str() {
            "array" => "an array".to_owned(),
            "integer" => "an integer".to_owned(),
            kind => format!("a {kind}"),
        };
        let what = format!("{label} takes {wanted}, and this is {found}");
        findings.error(Code::WrongKind, &self.place(), what, remedy);
        None
    }

    pub(crate) fn string(&self, label: &str, findings: &mut Findings) -> Option<Spot<String>> {
        match self.get() {
            DeValue::String(text) => Some(Spot { value: text.clone().into_owned(), place: self.place() }),
            _ => self.wrong(label, "a string", "write it in double quotes", findings),
        }
    }

    pub(crate) fn reason(&self, label: &str, findings: &mut Findings) -> Option<String> {
        let reason = self.string(label, findings)?;
        if reason.value.trim().is_empty() {
            let what = format!("{label} gives no reason");
            let remedy = "say in a few words why; it is what the next person will ask";
            findings.error(Code::EmptyReason, &reason.place, what, remedy);
        }
        Some(reason.value)
    }

    pub(crate) fn array(&self, label: &str, findings: &mut Findings) -> Option<Vec<Value<'d>>> {
        match self.get() {
            DeValue::Array(values) => {
                Some(values.iter().map(|inner| Value { source: self.source, inner }).collect())
            }
            _ => self.wrong(label, "an array", "write it in square brackets", findings),
        }
    }

    pub(crate) fn table(&self, label: &str, findings: &mut Findings) -> Option<Section<'d>> {
        match self.get() {
            DeValue::Table(table) => {
                Some(Section { source: self.source, table, title: label.to_owned(), place: self.place() })
            }
            _ => self.wrong(label, "a table", "write it as { key = value }", findings),
        }
    }
}

/// A text of the plan, cut and escaped for a message.
pub(crate) fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    let escaped = text.escape_debug().to_string();
    match escaped.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}…", &escaped[..cut]),
        None => escaped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, look: impl FnOnce(&Section<'_>, &mut Findings)) -> Vec<crate::Finding> {
        let mut findings = Findings::default();
        let source = Source::new("plan.toml", text);
        let table = source.parse(&mut findings);
        look(&Section::root(&source, &table), &mut findings);
        findings.into_sorted()
    }

    #[test]
    fn every_syntax_error_is_found_with_its_line() {
        let found = read("a = \nb = 1\nc = \"x\nd = 2\nb = 3\n", |_, _| {});
        let lines: Vec<_> = found.iter().map(|f| f.line).collect();
        assert_eq!(lines, [1, 3, 5], "{found:?}");
        assert!(found.iter().all(|f| f.code == Code::TomlSyntax && !f.remedy.is_empty()));
    }

    #[test]
    fn keys_come_in_the_order_of_the_file() {
        read("z = 1\na = 2\nm = 3", |root, _| {
            let keys: Vec<_> = root.items().into_iter().map(|item| item.key.value).collect();
            assert_eq!(keys, ["z", "a", "m"]);
        });
    }

    #[test]
    fn an_array_reports_each_of_its_bad_elements() {
        let found = read("a = [1,\n\"x\",\n2]", |root, findings| {
            assert!(root.strings("a", findings).is_none());
        });
        assert_eq!(found.iter().map(|f| f.line).collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn columns_count_characters() {
        let found = read("\"é\" = 1 # \nx = [ 'é', 1 ]", |root, findings| {
            root.strings("x", findings);
        });
        assert_eq!((found[0].line, found[0].column), (2, 12));
    }
}
