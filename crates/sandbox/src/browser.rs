//! A headless Chromium, for tests of the example's pages: what a page is after its scripts have run, and how it looks.
//!
//! It runs without Chromium's own sandbox where it runs as root. It is meant for pages of our own, and for nothing else.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::binaries::path_folders;
use crate::{Error, Install, ensure_package};

const PROGRAMS: [&str; 5] =
    ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome"];
/// Beyond that the browser has got stuck.
const PATIENCE: Duration = Duration::from_secs(90);

/// A browser that is installed.
#[derive(Clone, Debug)]
pub struct Browser {
    program: PathBuf,
}

impl Browser {
    /// The browser of this machine. Blocks while the package manager installs one, if that is allowed.
    pub fn find_or_install(install: Install) -> Result<Self, Error> {
        let what = "Chromium or Google Chrome (the variable CHROMIUM may name the program)";
        ensure_package(what, "chromium", || find().is_some(), install)?;
        let missing = || Error::Missing { program: what, remedy: "it has just gone".to_owned() };
        find().map(|program| Self { program }).ok_or_else(missing)
    }

    /// The page's elements after `time` of its scripts' clock, which runs ahead while they only wait.
    pub async fn dom(&self, url: &str, time: Duration) -> Result<String, Error> {
        let budget = format!("--virtual-time-budget={}", time.as_millis());
        self.run(&[&budget, "--dump-dom", url]).await
    }

    /// Writes a picture of the page, as it is after `time` of its scripts' clock, as PNG.
    pub async fn screenshot(
        &self,
        url: &str,
        time: Duration,
        (width, height): (u32, u32),
        file: &Path,
    ) -> Result<(), Error> {
        let budget = format!("--virtual-time-budget={}", time.as_millis());
        let size = format!("--window-size={width},{height}");
        let to = format!("--screenshot={}", file.display());
        self.run(&[&budget, &size, &to, url]).await.map(|_| ())
    }

    /// Each run has a profile of its own: no cookie of another page is sent.
    async fn run(&self, arguments: &[&str]) -> Result<String, Error> {
        let profile = Profile::new()?;
        let mut command = Command::new(&self.program);
        command.args(["--headless", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]);
        command.args(["--force-device-scale-factor=1", "--lang=en", "--no-first-run"]);
        command.arg(format!("--user-data-dir={}", profile.0.display()));
        if nix::unistd::Uid::effective().is_root() {
            command.arg("--no-sandbox");
        }
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        let failed = |output: String| Error::Command { program: "chromium".to_owned(), output };
        let output = tokio::time::timeout(PATIENCE, command.output());
        let output = output.await.map_err(|_| failed(format!("no end after {PATIENCE:?}")))?;
        let output = output.map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// A folder for one run.
struct Profile(PathBuf);

impl Profile {
    fn new() -> Result<Self, Error> {
        let name = format!("handover-browser-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).map_err(Error::io("create", &path))?;
        Ok(Self(path))
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        // Its last process may still write: then a little is left in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn find() -> Option<PathBuf> {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let folders: Vec<PathBuf> = path_folders().into_iter().chain([PathBuf::from("/usr/bin")]).collect();
    let usual = PROGRAMS.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    let mac = PathBuf::from("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome");
    named.into_iter().chain(usual).chain([mac]).find(|program| program.is_file())
}
