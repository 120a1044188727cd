//! Installs the programs that a sandbox starts, where they are missing; `cargo x test` runs this before the tests.
//!
//! Exit code 0: they are there. 2: they are not, and standard error says what to install. 1: anything else.

use std::process::ExitCode;

use handover_sandbox::{Error, Install, ensure_installed};

fn main() -> ExitCode {
    match ensure_installed(Install::Ask) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(if matches!(error, Error::Missing { .. }) { 2 } else { 1 })
        }
    }
}
