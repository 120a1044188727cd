//! Makes sure that the programs the tests start are installed: PostgreSQL's server binaries and Redis.
//!
//! It starts no server; the sandbox does.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::cargo;
use crate::programs;

/// Where PostgreSQL's server binaries lie when they are not on the path.
const POSTGRES_FOLDERS: [&str; 4] = [
    "/usr/lib/postgresql/*/bin",
    "/opt/homebrew/opt/*/bin",
    "/usr/local/opt/*/bin",
    "/Applications/Postgres.app/Contents/Versions/latest/bin",
];

/// Something that the tests need is not installed, and may not be installed by us.
#[derive(Debug)]
pub(crate) struct Missing {
    programs: Vec<&'static str>,
}

impl std::error::Error for Missing {}

impl fmt::Display for Missing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "not installed: {}", self.programs.join(" and "))?;
        writeln!(formatter, "  Debian, Ubuntu   sudo apt-get install postgresql redis-server")?;
        writeln!(
            formatter,
            "  Fedora           sudo dnf install postgresql-server postgresql-contrib redis"
        )?;
        writeln!(formatter, "  macOS            brew install postgresql redis")?;
        write!(formatter, "PostgreSQL 14 or newer and Redis 6.2 or newer will do; nothing has to be running")
    }
}

/// Installs what is missing where that needs no question, else fails with [`Missing`].
pub(crate) fn ensure() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    match (programs::find("apt-get", &[]), programs::privilege()) {
        (Some(_), Some(privilege)) => install(&privilege)?,
        _ => return Err(Missing { programs: missing }.into()),
    }
    let still = self::missing();
    if still.is_empty() { Ok(()) } else { Err(Missing { programs: still }.into()) }
}

fn missing() -> Vec<&'static str> {
    let folders: Vec<PathBuf> =
        POSTGRES_FOLDERS.iter().flat_map(|pattern| programs::folders(pattern)).collect();
    let postgres = ["initdb", "postgres"].iter().all(|name| programs::find(name, &folders).is_some());
    let redis = ["redis-server", "valkey-server"].iter().any(|name| programs::find(name, &[]).is_some());
    let named = [(postgres, "PostgreSQL's server (initdb, postgres)"), (redis, "Redis (redis-server)")];
    named.into_iter().filter(|(there, _)| !there).map(|(_, name)| name).collect()
}

fn install(privilege: &[&str]) -> Result<()> {
    eprintln!("installing PostgreSQL and Redis with apt-get");
    keep_postgres_quiet(privilege)?;
    apt(privilege, &["update", "-q"])?;
    // Confold: the file that keep_postgres_quiet wrote stays, without a question.
    let quiet = ["-q", "-y", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold"];
    apt(privilege, &[&["install"], &quiet[..], &["postgresql", "redis-server"]].concat())
}

/// Debian's package makes a cluster of its own and starts it on port 5432; the tests want the binaries alone.
fn keep_postgres_quiet(privilege: &[&str]) -> Result<()> {
    let settings = Path::new("/etc/postgresql-common/createcluster.conf");
    if programs::has_content(settings) {
        return Ok(());
    }
    let script = "mkdir -p \"${1%/*}\" && echo 'create_main_cluster = false' > \"$1\"";
    let command = ["sh", "-c", script, "sh"];
    cargo::run(&mut privileged(privilege, &[&command[..], &[&settings.to_string_lossy()]].concat()))
}

fn apt(privilege: &[&str], arguments: &[&str]) -> Result<()> {
    // Run level 1: no service is started by its package where there is no systemd, as in a container.
    let command = ["env", "DEBIAN_FRONTEND=noninteractive", "UCF_FORCE_CONFFOLD=1", "RUNLEVEL=1", "apt-get"];
    cargo::run(&mut privileged(privilege, &[&command[..], arguments].concat()))
}

fn privileged(privilege: &[&str], words: &[&str]) -> Command {
    let words = [privilege, words].concat();
    let mut command = Command::new(words[0]);
    // Our standard output is for results; a package manager's chatter is not one.
    command.args(&words[1..]).stdout(std::io::stderr());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_the_command_that_installs_it() {
        let text = Missing { programs: vec!["Redis (redis-server)"] }.to_string();
        assert!(text.starts_with("not installed: Redis (redis-server)\n"));
        assert!(text.contains("apt-get install postgresql redis-server"));
    }

    #[test]
    fn a_privileged_command_is_the_command_itself_for_root() {
        assert_eq!(cargo::spelled(&privileged(&[], &["true", "a"])), "true a");
        assert_eq!(cargo::spelled(&privileged(&["sudo", "-n"], &["true", "a"])), "sudo -n true a");
    }
}
