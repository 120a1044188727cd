//! Programs that the tests start: where they are, and their ends. What is missing is installed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};

use handover_sandbox::{Install, ensure_package};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::stage::until;

/// One at a time: two package managers would only wait for each other.
static INSTALLING: Mutex<()> = Mutex::new(());

/// Where a program is that a package of Debian's brings.
pub(crate) fn program(name: &'static str, package: &str) -> PathBuf {
    let find = || {
        ["/usr/sbin", "/usr/bin"]
            .iter()
            .map(|folder| Path::new(folder).join(name))
            .find(|path| path.is_file())
    };
    let _turn = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    ensure_package(name, package, || find().is_some(), Install::Ask).expect("it can be installed");
    find().expect("it is there now")
}

/// Makes sure of a library: the command succeeds where it is there.
pub(crate) fn library(what: &'static str, package: &str, program: &Path, arguments: &[&str]) {
    let works = || {
        let mut command = std::process::Command::new(program);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let _turn = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    ensure_package(what, package, works, Install::Ask).expect("it can be installed");
}

/// A process with its log. Dropped, it is killed.
pub(crate) struct Process {
    pub(crate) child: Child,
    log: PathBuf,
}

impl Process {
    pub(crate) fn start(mut command: Command, log: &Path) -> Self {
        let file = File::create(log).expect("a log");
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a log")).stderr(file).kill_on_drop(true);
        Self { child: command.spawn().expect("it starts"), log: log.to_owned() }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.child.id().expect("it runs");
        kill(Pid::from_raw(pid as i32), signal).expect("it is ours");
    }

    /// Waits until the log says so.
    pub(crate) async fn says(&mut self, text: &str) {
        until(async || {
            let ended = self.child.try_wait().expect("it is ours");
            assert!(ended.is_none(), "it ended: {}", self.log());
            self.log().contains(text)
        })
        .await;
    }

    /// What follows that text in the log, up to the next blank.
    pub(crate) fn word_after(&self, text: &str) -> String {
        let log = self.log();
        let rest = log.split_once(text).unwrap_or_else(|| panic!("no {text} in {log}")).1;
        rest.split_whitespace().next().unwrap_or_default().trim_matches('"').to_owned()
    }
}
