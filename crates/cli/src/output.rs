//! What is printed: results on standard output, as text or JSON; everything else on standard error.

use std::io::Write;

use comfy_table::{ContentArrangement, Table, presets};
use console::style;
use serde::Serialize;

/// How results are printed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether results are JSON.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// One result: an object on one line, or the text that `text` makes.
    pub(crate) fn result<T: Serialize>(self, value: &T, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        if self.json { line(&serde_json::to_string(value)?) } else { line(&text()) }
    }

    /// Something worth knowing that is no result.
    pub(crate) fn note(self, text: &str) {
        if !self.json {
            eprintln!("{text}");
        }
    }
}

/// A line on standard output. A reader that has gone away (`| head`) is no failure.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// What went wrong, on standard error.
pub(crate) fn problem(text: &str) {
    eprintln!("{} {text}", style("error:").for_stderr().red().bold());
}

/// What may be wrong, on standard error.
pub(crate) fn warning(text: &str) {
    eprintln!("{} {text}", style("warning:").for_stderr().yellow().bold());
}

/// A table without lines, for people and for `awk`.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|name| name.to_uppercase()));
    rows.into_iter().for_each(|row| {
        table.add_row(row);
    });
    table.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>().join("\n")
}

/// A duration as people read it.
pub(crate) fn seconds(seconds: f64) -> String {
    let whole = std::time::Duration::from_secs(seconds.max(0.0).round() as u64);
    humantime::format_duration(whole).to_string()
}

/// Names and values, on standard error.
pub(crate) fn table_of(rows: &[(String, String)]) {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    eprintln!();
    for (name, value) in rows {
        eprintln!("  {name:<width$}  {value}");
    }
    eprintln!();
}
