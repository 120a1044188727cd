//! Confirmation before what cannot be undone.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::Result;

use crate::exit::{Exit, stop};

/// Asks on a terminal; elsewhere only `--yes` counts.
pub(crate) fn confirm(yes: bool, question: &str) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(stop(Exit::Refused, format!("{question} Nothing was done: confirm with --yes")));
    }
    eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(stop(Exit::Refused, "not confirmed: nothing was done"))
}
