//! Confirmation before what cannot be undone.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Context as _, Result};

use crate::exit::{Exit, stop};
use crate::output;

/// Asks on a terminal, and goes on only after `y` or `yes`; elsewhere only `--yes` counts. `what` says what would be
/// done: `take 3 users of pilot back to legacy`.
pub(crate) async fn confirm(yes: bool, what: &str) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        let text =
            format!("nothing was done: to {what}, confirm with --yes (there is no terminal to ask on)");
        return Err(stop(Exit::Refused, text));
    }
    output::ask(&format!("{what}? [y/N] "));
    // On a thread of its own, so that Ctrl-C is heard while it waits.
    let answer = tokio::task::spawn_blocking(read_answer).await.context("failed to read the answer")??;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(stop(Exit::Refused, "not confirmed: nothing was done"))
}

fn read_answer() -> std::io::Result<String> {
    let mut answer = String::new();
    std::io::stderr().flush()?;
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer)
}
