//! What is printed: results on standard output, as text or JSON; everything else on standard error.

use std::io::{ErrorKind, Write};

use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets};
use console::style;
use serde::Serialize;

use crate::exit::{Exit, stop};

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
    pub(crate) fn result<T: Serialize>(self, value: &T, text: impl FnOnce() -> String) -> Result<()> {
        if self.json { line(&serde_json::to_string(value)?) } else { line(&text()) }
    }

    /// A list: an object a line, so nothing at all where it is empty; or the text that `text` makes.
    pub(crate) fn list<T: Serialize>(self, values: &[T], text: impl FnOnce() -> String) -> Result<()> {
        if !self.json {
            return line(&text());
        }
        values.iter().try_for_each(|value| line(&serde_json::to_string(value)?))
    }

    /// Something worth knowing that is no result.
    pub(crate) fn note(self, text: &str) {
        if !self.json {
            say(text);
        }
    }
}

/// A line on standard output. A reader that has gone away (`| head`) ends the command, and is no failure.
pub(crate) fn line(text: &str) -> Result<()> {
    write(&mut std::io::stdout().lock(), text)
}

fn write(out: &mut impl Write, text: &str) -> Result<()> {
    match out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(stop(Exit::Done, "")),
        result => Ok(result?),
    }
}

/// A line on standard error. One that nobody can read any more is no reason to stop.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// The same without a line's end.
pub(crate) fn ask(text: &str) {
    let _ = write!(std::io::stderr().lock(), "{text}");
}

/// What went wrong, on standard error.
pub(crate) fn problem(text: &str) {
    say(&format!("{} {text}", style("error:").for_stderr().red().bold()));
}

/// What may be wrong, on standard error.
pub(crate) fn warning(text: &str) {
    say(&format!("{} {text}", style("warning:").for_stderr().yellow().bold()));
}

/// A table without lines, for people and for `awk`.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|name| name.to_uppercase()));
    for row in rows {
        table.add_row(row);
    }
    // The preset pads each cell with a blank on both sides.
    let line = |line: String| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned();
    table.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// A duration as people read it.
pub(crate) fn seconds(seconds: f64) -> String {
    let whole = std::time::Duration::from_secs(seconds.max(0.0).round() as u64);
    humantime::format_duration(whole).to_string()
}

/// Names and values, on standard error.
pub(crate) fn table_of(rows: &[(String, String)]) {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    say("");
    for (name, value) in rows {
        say(&format!("  {name:<width$}  {value}"));
    }
    say("");
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_gone_away_ends_the_command_without_an_error() {
        let error = write(&mut Gone, "text").unwrap_err();
        assert_eq!((crate::exit::of_error(&error), error.to_string().as_str()), (Exit::Done, ""));
    }

    #[test]
    fn a_table_keeps_its_columns_under_their_heads_where_a_first_cell_is_empty() {
        let text = table(&["a", "b"], vec![vec![String::new(), "x".to_owned()]]);
        assert_eq!(text, "A  B\n   x");
    }
}
