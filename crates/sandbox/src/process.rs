//! Processes by pid *and* start time, so that a pid that the system gave to another process meanwhile is
//! never taken for ours. A zombie counts as gone.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// A process as it was when it was looked at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    /// In the system's own unit; only ever compared.
    pub(crate) started: u64,
}

impl Identity {
    /// The process that has this pid now, if one is alive.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        started(pid).map(|started| Self { pid, started })
    }

    /// Reads `PID-START`, the form that `Display` writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (pid, started) = text.trim().split_once('-')?;
        Some(Self { pid: pid.parse().ok()?, started: started.parse().ok()? })
    }

    pub(crate) fn is_alive(self) -> bool {
        started(self.pid) == Some(self.started)
    }

    /// Sends a signal if the process is still the same one.
    pub(crate) fn signal(self, signal: Signal) {
        if self.is_alive() {
            // It may end at this very moment: that is what we want anyway.
            let _ = kill(Pid::from_raw(self.pid as i32), signal);
        }
    }

    /// Ends a server that is not our child: politely fast, then by force. Postgres takes SIGQUIT as
    /// "immediate", ends its children and frees its shared memory; Redis dies of it.
    pub(crate) fn end(self) {
        self.signal(Signal::SIGQUIT);
        self.signal(Signal::SIGCONT);
        if !self.gone_within(Duration::from_secs(6)) {
            self.signal(Signal::SIGKILL);
            self.gone_within(Duration::from_secs(2));
        }
    }

    /// Polls, since the end of a process that is not a child cannot be awaited.
    fn gone_within(self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.is_alive() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.pid, self.started)
    }
}

/// Field 22 of `/proc/PID/stat`: clock ticks from boot to the process's start.
#[cfg(target_os = "linux")]
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets, and may itself hold blanks and brackets.
    let mut fields = stat.get(stat.rfind(')')? + 2..)?.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") { None } else { fields.nth(18)?.parse().ok() }
}

/// Elsewhere `ps` tells state and start, as digits without their separators.
#[cfg(not(target_os = "linux"))]
fn started(pid: u32) -> Option<u64> {
    let output = std::process::Command::new("ps")
        .env("LC_ALL", "C")
        .args(["-o", "state=,lstart=", "-p", &pid.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if text.is_empty() || text.starts_with('Z') {
        return None;
    }
    text.chars().filter(char::is_ascii_digit).collect::<String>().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_an_earlier_owner_of_its_pid_is_not() {
        let me = Identity::of(std::process::id()).expect("we run");
        assert!(me.is_alive());
        assert!(!Identity { started: me.started.wrapping_sub(1), ..me }.is_alive());
        assert_eq!(Identity::parse(&me.to_string()), Some(me));
    }

    #[test]
    fn a_zombie_counts_as_gone() {
        let mut child = std::process::Command::new("true").spawn().expect("spawn");
        let deadline = Instant::now() + Duration::from_secs(10);
        while Identity::of(child.id()).is_some() {
            assert!(Instant::now() < deadline, "`true` should have ended");
        }
        child.wait().expect("wait");
    }
}
