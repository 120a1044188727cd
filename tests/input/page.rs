//! `docs/bad_input.md` is made of the rows. Run with `HANDOVER_WRITE_DOCS=1` to write it anew.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};

use crate::row::Section;
use crate::{bodies, cohorts, corpus, keys, plans, queues, settings};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/bad_input.md");

const ABOUT: &str = "\
# Bad input

What is put in and cannot be used, where, and what it gets: the exit code or the status, and words of the message. Every
row is run against the real programs by `cargo test -p handover-tests --test input`, which also looks at what must be as it
was, and this page is compared with the rows there. Messages name the place and the remedy; none holds a secret or a user's
data beyond what the caller sent in the same breath.

Beyond the rows, three readers are fed with mutations of real input for a bounded time in each run of the tests: the plan
parser, the decoder of jobs, and the decoder of rows with all that spells their values. `HANDOVER_FUZZ_SECONDS` makes that
longer, `HANDOVER_FUZZ_SEED` repeats a run; a failure prints its seed and its input.

Tokens (Identity's service, the sidecar, metrics, permits) are compared in constant time.
";

/// The whole page.
fn page() -> String {
    let sections: Vec<Section> = [
        vec![plans::section(), cohorts::section(), settings::section()],
        vec![keys::command_line(), keys::service(), queues::section()],
        bodies::sections(),
        vec![corpus::section()],
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut page = ABOUT.to_owned();
    for section in sections {
        let _ = write!(page, "\n## {}\n\n{}\n\n", section.title, section.about);
        let _ = writeln!(page, "| input | {} | says |\n| --- | --- | --- |", section.code);
        for [what, code, says] in section.lines {
            let says =
                if says.is_empty() { String::new() } else { format!("`{}`", says.replace('|', "\\|")) };
            let _ = writeln!(page, "| {} | {code} | {says} |", what.replace('|', "\\|"));
        }
    }
    page
}

#[test]
fn the_page_has_every_row_and_no_other() -> Result<()> {
    let page = page();
    if std::env::var_os("HANDOVER_WRITE_DOCS").is_some() {
        std::fs::write(PAGE, &page)?;
    }
    let written = std::fs::read_to_string(PAGE).context("docs/bad_input.md cannot be read")?;
    let differs = written.lines().zip(page.lines()).find(|(written, made)| written != made);
    ensure!(
        written == page,
        "docs/bad_input.md is not what the rows say (HANDOVER_WRITE_DOCS=1 writes it): {differs:?}"
    );
    Ok(())
}
