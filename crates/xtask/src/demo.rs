//! `cargo demo`, `cargo x ledger`, `cargo x chaos` and `cargo x bench`: build every binary, then become `handover demo`,
//! `handover-ledger` or `handover-bench`.
//!
//! What these do is their own business; this only makes sure that they are built and started.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::cargo;
use crate::metadata::Metadata;

/// `dev` builds in a fraction of the time, beside what the tests have built already.
const PROFILE: &str = "HANDOVER_DEMO_PROFILE";
/// The same for the ledger.
const LEDGER_PROFILE: &str = "HANDOVER_LEDGER_PROFILE";
/// The same for the benches: to try one out, never to measure.
const BENCH_PROFILE: &str = "HANDOVER_BENCH_PROFILE";

/// Options of `cargo demo` and of `cargo x ledger`: all are handed on.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    /// What the program is given.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

#[derive(Debug, PartialEq, Eq)]
enum Profile {
    Dev,
    Release,
}

/// Becomes `handover demo`.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    become_program(PROFILE, "handover", &["demo"], options)
}

/// Becomes `handover-ledger`.
pub(crate) fn ledger(options: &Options) -> Result<ExitCode> {
    become_program(LEDGER_PROFILE, "handover-ledger", &[], options)
}

/// Becomes `handover-ledger chaos`.
pub(crate) fn chaos(options: &Options) -> Result<ExitCode> {
    become_program(LEDGER_PROFILE, "handover-ledger", &["chaos"], options)
}

/// Becomes `handover-bench`.
pub(crate) fn bench(options: &Options) -> Result<ExitCode> {
    become_program(BENCH_PROFILE, "handover-bench", &[], options)
}

/// Builds, then replaces this process, so that signals and the exit code are the program's own.
fn become_program(variable: &str, program: &str, first: &[&str], options: &Options) -> Result<ExitCode> {
    let profile = Profile::named(variable, env::var(variable).ok().as_deref())?;
    let workspace = Metadata::of_workspace()?;
    let mut build = cargo::cargo();
    // The manifest of the whole, since in a crate's own folder cargo would build that crate alone.
    build.args(profile.build()).arg("--manifest-path").arg(workspace.workspace_root.join("Cargo.toml"));
    // Standard output is for the program's result alone.
    cargo::run(build.stdout(std::io::stderr()))?;
    let program = workspace.target_directory.join(profile.folder()).join(program);
    let error = Command::new(&program).args(first).args(without_separator(&options.arguments)).exec();
    Err(error).with_context(|| format!("failed to start {}", program.display()))
}

/// `cargo demo -- --users 5` means the same as `cargo demo --users 5`.
fn without_separator(arguments: &[OsString]) -> &[OsString] {
    match arguments {
        [first, rest @ ..] if first == "--" => rest,
        all => all,
    }
}

impl Profile {
    fn named(variable: &str, name: Option<&str>) -> Result<Self> {
        match name {
            None | Some("" | "release") => Ok(Self::Release),
            Some("dev") => Ok(Self::Dev),
            Some(other) => bail!("{variable} is {other}, but must be dev or release"),
        }
    }

    fn build(&self) -> &'static [&'static str] {
        match self {
            // What `cargo x test` builds: another choice of packages could ask for other features of a dependency,
            // and would then build that and all above it again.
            Self::Dev => &["build", "--locked", "--workspace", "--all-targets"],
            // The workspace's default members: the tool, and every program that it looks for beside itself.
            Self::Release => &["build", "--locked", "--release"],
        }
    }

    fn folder(&self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Arguments, Task};
    use clap::Parser;

    fn handed_on(words: &[&str]) -> Vec<String> {
        let words = ["cargo x", "demo"].iter().chain(words);
        let task = Arguments::try_parse_from(words).unwrap().task;
        let (Task::Demo(options) | Task::Ledger(options)) = task else { unreachable!("demo was asked for") };
        without_separator(&options.arguments).iter().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn arguments_are_handed_on_with_and_without_a_separator() {
        assert_eq!(handed_on(&["--users", "5", "--json"]), ["--users", "5", "--json"]);
        assert_eq!(handed_on(&["--", "--users", "5"]), ["--users", "5"]);
        assert_eq!(handed_on(&["--help"]), ["--help"]);
        assert_eq!(handed_on(&[]), Vec::<String>::new());
    }

    #[test]
    fn an_unknown_profile_is_refused() {
        assert_eq!(Profile::named(PROFILE, None).unwrap(), Profile::Release);
        assert_eq!(Profile::named(PROFILE, Some("dev")).unwrap(), Profile::Dev);
        assert!(
            Profile::named(LEDGER_PROFILE, Some("fast")).unwrap_err().to_string().contains(LEDGER_PROFILE)
        );
    }
}
