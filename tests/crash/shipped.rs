//! What is shipped is not armed: cargo's own word for it.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

/// Which of the fault crate's features a build of those packages turns on, and for whom; tests' needs apart.
fn features(packages: &[&str]) -> Result<String> {
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    command.args([
        "tree",
        "--locked",
        "--offline",
        "--edges",
        "normal,build,features",
        "--invert",
        "handover-fault",
    ]);
    let output = command.args(packages).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn programs_that_are_shipped_are_not_armed() -> Result<()> {
    let shipped = features(&[])?;
    ensure!(shipped.contains("handover-copy") && !shipped.contains("armed"), "{shipped}");
    // The question finds what it looks for where it is.
    let tests = features(&["--package", "handover-tests"])?;
    ensure!(tests.contains("handover-fault feature \"armed\""), "{tests}");
    Ok(())
}
