//! The operating system's user that servers run as. Postgres refuses to run as root, so root starts them
//! as `postgres`, or as `nobody` where there is no such user; anybody else as themselves.

use crate::Error;
use nix::unistd::{Uid, User};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whom servers run as; `None` inside means: as ourselves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account(Option<(u32, u32)>);

impl Account {
    /// Looks up the unprivileged user that root hands the servers to.
    pub(crate) fn for_servers() -> Result<Self, Error> {
        if !Uid::effective().is_root() {
            return Ok(Self(None));
        }
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .map(|user| Self(Some((user.uid.as_raw(), user.gid.as_raw()))))
            .ok_or_else(|| Error::Missing {
                program: "user to run servers as",
                remedy: "Postgres does not run as root: create a user `postgres`".to_owned(),
            })
    }

    /// A command that runs as this user, in a folder that it can read, with a bare environment: a stray
    /// `PGDATA` or `PGPORT` must not reach the servers.
    pub(crate) fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir("/").env("LC_ALL", "C").env("PATH", "/usr/local/bin:/usr/bin:/bin");
        if let Some((uid, gid)) = self.0 {
            // The standard library also clears the supplementary groups here.
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Hands a file or folder to this user.
    pub(crate) fn give(self, path: &Path) -> Result<(), Error> {
        match self.0 {
            Some((uid, gid)) => chown(path, Some(uid), Some(gid)).map_err(Error::io("hand over", path)),
            None => Ok(()),
        }
    }

    /// A folder for temporary files that this user can reach: `TMPDIR`, unless it is private to root.
    pub(crate) fn temporary_folder(self) -> PathBuf {
        let folder = std::env::temp_dir();
        let passable = |path: &Path| path.metadata().is_ok_and(|found| found.mode() & 0o001 != 0);
        if self.0.is_none() || folder.ancestors().all(passable) { folder } else { PathBuf::from("/tmp") }
    }
}
