//! Looks up programs of this machine. It starts none but `id`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where a program lies: on the path, or else in one of the given folders.
pub(crate) fn find(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = env::split_paths(&path).collect();
    on_path.iter().chain(folders).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The folders that a pattern with one `*` as a whole name stands for, such as `/usr/lib/postgresql/*/bin`.
pub(crate) fn folders(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once("/*/") else { return vec![PathBuf::from(pattern)] };
    let entries = std::fs::read_dir(before).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().join(after)).filter(|folder| folder.is_dir()).collect()
}

/// What must stand before a command that changes the system: nothing for root, `sudo` where it asks nothing.
pub(crate) fn privilege() -> Option<Vec<&'static str>> {
    if prints("id", &["-u"]).is_some_and(|id| id.trim() == "0") {
        return Some(Vec::new());
    }
    prints("sudo", &["-n", "id", "-u"]).is_some_and(|id| id.trim() == "0").then(|| vec!["sudo", "-n"])
}

fn prints(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a file is there and not empty.
pub(crate) fn has_content(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.len() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_on_the_path_and_a_made_up_one_is_not() {
        assert!(find("sh", &[]).is_some());
        assert_eq!(find("no-such-program-of-ours", &[]), None);
    }

    #[test]
    fn a_program_outside_the_path_is_found_in_a_given_folder() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        assert_eq!(find("Cargo.toml", std::slice::from_ref(&folder)), Some(folder.join("Cargo.toml")));
    }

    #[test]
    fn a_pattern_stands_for_the_folders_that_are_there() {
        let crates = format!("{}/../*/src", env!("CARGO_MANIFEST_DIR"));
        assert!(folders(&crates).iter().any(|folder| folder.ends_with("xtask/src")));
        assert_eq!(folders("/no-such-folder/*/bin"), Vec::<PathBuf>::new());
    }
}
