//! Where the programs lie that the tests start.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

/// The program of that name, as it was built beside this test.
pub fn program(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe().context("this program's own path is not known")?;
    // target/debug/deps/e2e-0123 → target/debug/NAME
    let folder = test.ancestors().nth(2).context("this program lies in no target folder")?;
    let program = folder.join(name);
    ensure!(
        program.is_file(),
        "{} is missing: run the tests with `cargo x test`, or `cargo build --workspace` first",
        program.display()
    );
    Ok(program)
}
