//! The folder that holds everything of one sandbox, and the sweeping of folders whose owner is dead.
//!
//! A folder's name carries its owner's pid and start time, so it is claimed by the very act of making it.
//! In it lie one folder, one log and one `.pid` file a server; a file `kept` says that the servers shall
//! outlive their owner.

use crate::Error;
use crate::account::Account;
use crate::process::Identity;
use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

const PREFIX: &str = "handover-sandbox-";
const KEPT: &str = "kept";

/// The folder of one sandbox. Dropping it removes it, unless it is kept.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    kept: bool,
}

impl Root {
    pub(crate) fn create(account: Account) -> Result<Self, Error> {
        let owner =
            Identity::of(std::process::id()).ok_or_else(|| Error::NotASandbox { path: "/proc".into() })?;
        let name = format!("{PREFIX}{owner}-{:08x}", fastrand::u32(..));
        let path = account.temporary_folder().join(name);
        DirBuilder::new().mode(0o700).create(&path).map_err(Error::io("create", &path))?;
        let root = Self { path, kept: false };
        account.give(&root.path)?;
        Ok(root)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// From here on neither drop nor sweep removes the folder while one of its servers lives.
    pub(crate) fn keep(&mut self) -> Result<(), Error> {
        let marker = self.path.join(KEPT);
        std::fs::write(&marker, "").map_err(Error::io("write", marker))?;
        self.kept = true;
        Ok(())
    }

    /// The folder goes with its owner again.
    pub(crate) fn forget_keeping(&mut self) {
        self.kept = false;
    }

    /// The noted processes that are alive.
    pub(crate) fn processes(&self) -> Vec<Identity> {
        servers(&self.path).into_iter().filter(|process| process.is_alive()).collect()
    }

    /// Notes a process of that name, so that a later sweep can end it.
    pub(crate) fn note(&self, name: &str, process: Identity) -> Result<(), Error> {
        let file = self.path.join(format!("{name}.pid"));
        std::fs::write(&file, process.to_string()).map_err(Error::io("write", file))
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        if !self.kept {
            remove(&self.path);
        }
    }
}

/// Ends the servers of owners that are dead, and removes their folders. Returns how many folders there were.
/// Every start of a sandbox does this; blocks for as long as the servers need to end, mostly some milliseconds.
pub fn sweep() -> usize {
    Account::for_servers().map_or(0, |account| sweep_in(&account.temporary_folder()))
}

fn sweep_in(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let leftovers = entries.flatten().map(|entry| entry.path()).filter(|path| is_leftover(path));
    leftovers.map(|path| destroy(&path)).count()
}

/// Ends the servers of a kept sandbox and removes its folder, whoever keeps it.
pub fn stop_kept(root: &Path) -> Result<(), Error> {
    if owner(root).is_none() || !is_mine(root) {
        return Err(Error::NotASandbox { path: root.to_owned() });
    }
    destroy(root);
    Ok(())
}

/// The process that made a sandbox's folder, from its name.
fn owner(path: &Path) -> Option<Identity> {
    let rest = path.file_name()?.to_str()?.strip_prefix(PREFIX)?;
    Identity::parse(rest.rsplit_once('-')?.0)
}

fn is_leftover(path: &Path) -> bool {
    let Some(owner) = owner(path) else { return false };
    let kept = path.join(KEPT).exists() && servers(path).iter().any(|server| server.is_alive());
    is_mine(path) && !owner.is_alive() && !kept
}

/// Whether the folder is one that this user made: others' are not ours to read, and a link may lead anywhere.
fn is_mine(path: &Path) -> bool {
    let me = nix::unistd::Uid::effective();
    path.symlink_metadata().is_ok_and(|found| found.is_dir() && (me.is_root() || found.uid() == me.as_raw()))
}

/// The processes noted in a folder: the servers, and what its owner started on them.
fn servers(path: &Path) -> Vec<Identity> {
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    let files = entries.flatten().map(|entry| entry.path());
    let noted = files.filter(|file| file.extension().is_some_and(|extension| extension == "pid"));
    noted.filter_map(|file| Identity::parse(&std::fs::read_to_string(file).ok()?)).collect()
}

fn destroy(path: &Path) {
    for server in servers(path) {
        server.end();
    }
    remove(path);
}

/// What cannot be removed now (a helper of a killed owner that still writes) is left to the next sweep.
fn remove(path: &Path) {
    let _ = std::fs::set_permissions(path, Permissions::from_mode(0o700));
    // Another process may sweep the same folder at this moment, and take a file away under our hands.
    for _ in 0..10 {
        match std::fs::remove_dir_all(path) {
            Err(error) if path.exists() => {
                tracing::debug!(path = %path.display(), %error, "a sandbox's folder is not removed yet");
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_a_reused_pid_is_swept_and_a_living_owners_is_not() {
        let me = Identity::of(std::process::id()).expect("we run");
        let folder = std::env::temp_dir().join(format!("sweep-test-{me}"));
        let mine = folder.join(format!("{PREFIX}{me}-aa"));
        let reused = folder.join(format!("{PREFIX}{}-{}-bb", me.pid, me.started - 1));
        let foreign = folder.join("something-else");
        for path in [&mine, &reused, &foreign] {
            std::fs::create_dir_all(path).expect("create");
        }
        assert_eq!(sweep_in(&folder), 1);
        assert!(mine.exists() && foreign.exists() && !reused.exists());
        assert!(matches!(stop_kept(&foreign), Err(Error::NotASandbox { .. })));
        std::fs::remove_dir_all(folder).expect("remove");
    }
}
