//! `cargo x check`: everything that must hold before a push, tests apart. CI runs the same.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;

use crate::metadata::Metadata;
use crate::steps::{Outcome, Steps};
use crate::{cargo, compose, licences, tidy};

/// Options of `cargo x check`.
#[derive(Args)]
pub(crate) struct Options {
    /// Let rustfmt and clippy mend what they can.
    #[arg(long)]
    fix: bool,
}

/// Runs every step, and fails if one of them did.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let root = Metadata::of_workspace()?.workspace_root;
    let mut steps = Steps::default();
    steps.run("format", || format(options.fix));
    steps.run("tidy", || passed(tidy::check()));
    steps.run("dependencies", dependencies);
    steps.run("compose", || compose::check(&root));
    steps.run("clippy", || clippy(options.fix));
    steps.run("docs", || docs(&root));
    Ok(steps.finish())
}

fn passed(result: Result<()>) -> Result<Outcome> {
    result.map(|()| Outcome::Passed)
}

fn format(fix: bool) -> Result<Outcome> {
    let arguments: &[&str] = if fix { &[] } else { &["--", "--check"] };
    passed(cargo::run(cargo::cargo().args(["fmt", "--all"]).args(arguments)))
}

fn clippy(fix: bool) -> Result<Outcome> {
    let everything = ["clippy", "--workspace", "--all-targets", "--locked", "--keep-going"];
    if fix {
        cargo::run(cargo::cargo().args(everything).args(["--fix", "--allow-dirty", "--allow-staged"]))?;
    }
    passed(cargo::run(cargo::cargo().args(everything).args(["--", "-D", "warnings"])))
}

fn docs(root: &Path) -> Result<Outcome> {
    let arguments =
        ["doc", "--workspace", "--no-deps", "--document-private-items", "--locked", "--keep-going"];
    // Warnings are errors: they are mostly links that lead nowhere.
    let mut command = cargo::cargo();
    passed(cargo::run(command.args(arguments).env("RUSTDOCFLAGS", "-D warnings").current_dir(root)))
}

fn dependencies() -> Result<Outcome> {
    let metadata = Metadata::with_dependencies()?;
    let mut found = licences::refused(metadata.foreign());
    found.extend(licences::duplicates(metadata.foreign()));
    for sentence in &found {
        eprintln!("{sentence}");
    }
    if !found.is_empty() {
        bail!("{} findings", found.len());
    }
    Ok(Outcome::Passed)
}
