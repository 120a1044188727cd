//! Our own style checks, which no stock linter has: `cargo x tidy`.
//!
//! Each rule is a function from text to findings, so that each is tested with a snippet that trips it. What rustfmt
//! and clippy check is left to them.

mod docs;
mod functions;
mod mask;
mod rust;
mod text;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::cargo;
use crate::direction;
use crate::metadata::Metadata;

/// One breach of a rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    path: String,
    /// Counted from one; zero where the whole file is meant.
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(formatter, "{}: {}", self.path, self.message),
            line => write!(formatter, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// A file of the project, by its path from the root; empty where it is no text.
pub(crate) struct File {
    path: String,
    text: String,
}

/// `cargo x tidy`.
pub(crate) fn run() -> Result<ExitCode> {
    check()?;
    eprintln!("tidy: nothing found");
    Ok(ExitCode::SUCCESS)
}

/// Applies every rule to every file of the project, prints all findings, and fails if there is one.
pub(crate) fn check() -> Result<()> {
    let metadata = Metadata::with_dependencies()?;
    let files = read_all(&metadata.workspace_root)?;
    let mut found: Vec<String> = files.iter().flat_map(of_file).map(|finding| finding.to_string()).collect();
    found.extend(docs::check(&files).iter().map(ToString::to_string));
    found.extend(direction::breaches(&metadata.normal_dependencies()));
    for finding in &found {
        eprintln!("{finding}");
    }
    if !found.is_empty() {
        bail!("{} findings", found.len());
    }
    Ok(())
}

fn of_file(file: &File) -> Vec<Finding> {
    let mut found = text::check(file);
    if has_extension(&file.path, "rs") {
        found.extend(rust::check(file));
    }
    found
}

/// All files that git has or would add.
fn read_all(root: &Path) -> Result<Vec<File>> {
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let names = String::from_utf8(cargo::output(Command::new("git").arg("-C").arg(root).args(list))?)?;
    let mut files = Vec::new();
    for name in names.split('\0').filter(|name| !name.is_empty() && *name != "Cargo.lock") {
        let path: PathBuf = root.join(name);
        // Deleted and not yet committed, or a link to a folder.
        if !path.is_file() {
            continue;
        }
        let bytes = std::fs::read(&path).with_context(|| format!("failed to read {name}"))?;
        // What is no text, such as a picture, is there to be linked to, and has no lines to be looked at.
        files.push(File { path: name.to_owned(), text: String::from_utf8(bytes).unwrap_or_default() });
    }
    Ok(files)
}

fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}
