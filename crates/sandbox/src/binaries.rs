//! Where the servers' programs are. The first place that holds all of a server's programs in working order
//! is taken; what is nowhere may be installed.

use crate::account::Account;
use crate::install;
use crate::{Error, Install};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Oldest Postgres that the rest of the project is written for.
const OLDEST_POSTGRES: u32 = 14;

/// The programs of both kinds of server.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    /// Folder that holds `initdb` and `postgres`.
    pub(crate) postgres: PathBuf,
    /// `redis-server` or `valkey-server`.
    pub(crate) redis: PathBuf,
}

/// Makes sure that the servers' programs are there, installing them if that is allowed. Blocks while the
/// package manager works.
pub fn ensure_installed(install: Install) -> Result<(), Error> {
    Binaries::find_or_install(Account::for_servers()?, install).map(|_| ())
}

impl Binaries {
    pub(crate) fn find_or_install(account: Account, install: Install) -> Result<Self, Error> {
        let find = || (find_postgres(account), find_redis(account));
        let (postgres, redis) = match find() {
            (Some(postgres), Some(redis)) => return Ok(Self { postgres, redis }),
            (postgres, redis) => {
                install::install(postgres.is_none(), redis.is_none(), install)?;
                find()
            }
        };
        let missing =
            |program| move || Error::Missing { program, remedy: install::NOT_FOUND_AFTERWARDS.to_owned() };
        Ok(Self {
            postgres: postgres.ok_or_else(missing(install::POSTGRES))?,
            redis: redis.ok_or_else(missing(install::REDIS))?,
        })
    }
}

fn find_postgres(account: Account) -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::var_os("PG_BIN").map(PathBuf::from).into_iter().collect();
    folders.extend(newest_first("/usr/lib/postgresql", "", "bin"));
    folders.extend(newest_first("/usr", "pgsql-", "bin"));
    folders.extend(newest_first("/usr/libexec", "postgresql", ""));
    folders.extend(path_folders());
    folders.extend(newest_first("/opt/homebrew/opt", "postgresql@", "bin"));
    folders.extend(newest_first("/usr/local/opt", "postgresql@", "bin"));
    folders.extend(newest_first("/Applications/Postgres.app/Contents/Versions", "", "bin"));
    folders.into_iter().find(|folder| is_postgres(account, folder))
}

fn find_redis(account: Account) -> Option<PathBuf> {
    let mut folders = path_folders();
    folders.extend(["/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"].map(PathBuf::from));
    let programs = ["redis-server", "valkey-server"];
    let candidates = programs.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    candidates.into_iter().find(|program| program.is_file() && version(account, program).is_some())
}

pub(crate) fn path_folders() -> Vec<PathBuf> {
    std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

/// `PARENT/PREFIX<version>/LEAF` for every version there is, newest first.
fn newest_first(parent: &str, prefix: &str, leaf: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    let mut found: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path().join(leaf)))
        })
        .collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, path)| path).collect()
}

/// Whether all programs are there, start, and are new enough. A link whose target is gone fails here.
fn is_postgres(account: Account, folder: &Path) -> bool {
    let [initdb, postgres, pg_ctl] = ["initdb", "postgres", "pg_ctl"].map(|name| folder.join(name));
    pg_ctl.is_file()
        && initdb.is_file()
        && version(account, &initdb).is_some()
        && version(account, &postgres).is_some_and(|major| major >= OLDEST_POSTGRES)
}

/// The first number in what `--version` says: `postgres (PostgreSQL) 15.18`, `Redis server v=7.0.15 …`.
fn version(account: Account, program: &Path) -> Option<u32> {
    let output = account.command(program).arg("--version").stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_version_comes_first_by_number_and_not_by_spelling() {
        let folder = std::env::temp_dir().join(format!("versions-{}", std::process::id()));
        for version in ["9", "15", "x"] {
            std::fs::create_dir_all(folder.join(format!("pg-{version}"))).expect("create");
        }
        let found = newest_first(folder.to_str().expect("UTF-8"), "pg-", "bin");
        assert_eq!(found, [folder.join("pg-15/bin"), folder.join("pg-9/bin")]);
        std::fs::remove_dir_all(folder).expect("remove");
    }

    #[test]
    fn a_folder_without_working_programs_is_passed_over() {
        let account = Account::for_servers().expect("account");
        assert!(!is_postgres(account, Path::new("/nonexistent")));
        assert!(!is_postgres(account, Path::new("/etc")));
    }
}
