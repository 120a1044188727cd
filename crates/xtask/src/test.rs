//! `cargo x test`: installs what the tests need, builds what they start, runs them and counts.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use clap::Args;

use crate::cargo;
use crate::metadata::Metadata;

/// Options of `cargo x test`.
#[derive(Args)]
pub(crate) struct Options {
    /// Run only tests whose name contains this.
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
    /// Run the tests of this package only, such as handover-queue.
    #[arg(long, short, value_name = "PACKAGE")]
    package: Option<String>,
    /// Run the large tests at their full size too (sets HANDOVER_TEST_FULL=1); takes many minutes.
    #[arg(long)]
    full: bool,
}

/// Tests counted over all test programs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

/// Runs the tests. The last line on standard output is the count.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    // One build of everything: binaries that the tests start are there, and no dependency is built twice because
    // tests alone ask for more of its features.
    cargo::run(cargo::cargo().args(["build", "--workspace", "--all-targets", "--locked"]))?;
    if let Some(code) = without_servers()? {
        return Ok(code);
    }
    let (mut tally, succeeded) = count(&mut command(options), &mut std::io::stdout())?;
    if !succeeded && tally.failed == 0 {
        // A test program that was killed prints no result.
        tally.failed = 1;
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped)?;
    if tally.passed + tally.failed == 0 {
        eprintln!("error: no test has that name");
        return Ok(ExitCode::FAILURE);
    }
    Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Has the sandbox install PostgreSQL's server and Redis where they are missing, before many tests at once look for
/// them. Returns the exit code with which to end where they cannot be had; what to install has been said by then.
fn without_servers() -> Result<Option<ExitCode>> {
    let program = Metadata::of_workspace()?.target_directory.join("debug/examples/install_servers");
    let status =
        Command::new(&program).status().with_context(|| format!("failed to start {}", program.display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok((!status.success()).then(|| code.map_or(ExitCode::FAILURE, ExitCode::from)))
}

fn command(options: &Options) -> Command {
    let mut command = cargo::cargo();
    command.args(["test", "--locked", "--no-fail-fast"]);
    match &options.package {
        Some(package) => command.args(["--package", package]),
        None => command.arg("--workspace"),
    };
    command.args(&options.filter);
    // A test that cannot have its servers fails, where a bare `cargo test` would skip it.
    command.env("HANDOVER_REQUIRE_SERVERS", "1");
    if options.full {
        command.env("HANDOVER_TEST_FULL", "1");
    }
    command
}

/// Runs the tests, hands their output on line by line, and counts their results.
fn count(command: &mut Command, out: &mut impl Write) -> Result<(Tally, bool)> {
    let spelled = cargo::spelled(command);
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("failed to start {spelled}"))?;
    let mut tally = Tally::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.context("failed to read the tests' output")?;
            out.write_all(&line)?;
            out.write_all(b"\n")?;
            tally.add(&String::from_utf8_lossy(&line));
        }
    }
    let status = child.wait().with_context(|| format!("failed to wait for {spelled}"))?;
    Ok((tally, status.success()))
}

impl Tally {
    /// Adds what a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; …` says.
    fn add(&mut self, line: &str) {
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for count in counts.split("; ") {
            let Some((number, what)) = count.split_once(' ') else { continue };
            let number = number.parse().unwrap_or(0);
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_programs_add_up() {
        let mut tally = Tally::default();
        for line in [
            "running 4 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s",
            "test a ... ok",
            "test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s",
        ] {
            tally.add(line);
        }
        assert_eq!(tally, Tally { passed: 13, failed: 2, skipped: 1 });
    }

    #[test]
    fn a_failing_program_is_told_from_a_good_one_and_its_lines_are_counted() {
        let print = "echo 'test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured'";
        let mut out = Vec::new();
        let mut failing = Command::new("/bin/sh");
        let (tally, succeeded) = count(failing.args(["-c", &format!("{print}; exit 1")]), &mut out).unwrap();
        assert_eq!((tally.passed, succeeded), (1, false));
        assert_eq!(out, b"test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured\n");
    }

    #[test]
    fn a_filter_and_a_package_reach_cargo() {
        let options =
            Options { filter: Some("fence".into()), package: Some("handover-queue".into()), full: true };
        let spelled = cargo::spelled(&command(&options));
        assert!(
            spelled.ends_with("test --locked --no-fail-fast --package handover-queue fence"),
            "{spelled}"
        );
    }
}
