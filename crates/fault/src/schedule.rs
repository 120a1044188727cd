//! What `HANDOVER_FAULT` orders: which point does what, and at which time of passing it.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use crate::Injected;

/// What happens at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The process is killed by SIGKILL, there and then.
    Kill,
    /// The process is stopped by SIGSTOP, until somebody sends SIGCONT.
    Stop,
    /// The point answers [`Injected`].
    Error,
    /// The task waits so long.
    Stall(Duration),
}

impl Action {
    pub(crate) async fn run(self, name: &'static str) -> Result<(), Injected> {
        use nix::sys::signal::{Signal, raise};
        record(name, self);
        match self {
            // Raised in this very thread: nothing after it runs.
            Self::Kill => drop(raise(Signal::SIGKILL)),
            Self::Stop => drop(raise(Signal::SIGSTOP)),
            Self::Error => return Err(Injected(name)),
            Self::Stall(time) => tokio::time::sleep(time).await,
        }
        Ok(())
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill => f.write_str("kill"),
            Self::Stop => f.write_str("stop"),
            Self::Error => f.write_str("error"),
            Self::Stall(time) => write!(f, "stall:{}ms", time.as_millis()),
        }
    }
}

/// Adds a line to the file that `HANDOVER_FAULT_STRIKES` names, so that a test knows what struck in other processes.
/// It is written before the action: a killed process writes nothing.
fn record(name: &'static str, action: Action) {
    use std::io::Write as _;
    let Some(path) = std::env::var_os("HANDOVER_FAULT_STRIKES") else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let written = file
        .and_then(|mut file| file.write_all(format!("{name}={action} {}\n", std::process::id()).as_bytes()));
    written.unwrap_or_else(|error| panic!("HANDOVER_FAULT_STRIKES: {error}"));
}

/// One order of a schedule: `point=action@times`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The point's name.
    pub point: String,
    /// What happens there.
    pub action: Action,
    /// At which passing of the point in this process, from one; `None`: at each.
    pub at: Option<u64>,
}

/// The text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadSchedule(
    /// The part that is wrong.
    pub String,
);

impl fmt::Display for BadSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not an order such as copy.committed=kill@1: {:?}", self.0)
    }
}

impl std::error::Error for BadSchedule {}

impl FromStr for Rule {
    type Err = BadSchedule;

    fn from_str(text: &str) -> Result<Self, BadSchedule> {
        let bad = || BadSchedule(text.to_owned());
        let (point, order) = text.trim().split_once('=').ok_or_else(bad)?;
        let (order, at) = match order.split_once('@') {
            Some((order, at)) => (order, Some(at.parse().ok().filter(|at| *at > 0).ok_or_else(bad)?)),
            None => (order, None),
        };
        let action = match order.split_once(':') {
            None if order == "kill" => Action::Kill,
            None if order == "stop" => Action::Stop,
            None if order == "error" => Action::Error,
            Some(("stall", time)) => Action::Stall(duration(time).ok_or_else(bad)?),
            _ => return Err(bad()),
        };
        if point.is_empty() {
            return Err(bad());
        }
        Ok(Self { point: point.to_owned(), action, at })
    }
}

/// The orders of a whole schedule, separated by semicolons.
pub fn schedule(text: &str) -> Result<Vec<Rule>, BadSchedule> {
    text.split(';').filter(|part| !part.trim().is_empty()).map(str::parse).collect()
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    match &text[digits..] {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        _ => None,
    }
}

/// A schedule that cannot be read must not pass for a run without faults.
static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let text = std::env::var("HANDOVER_FAULT").unwrap_or_default();
    schedule(&text).unwrap_or_else(|error| panic!("HANDOVER_FAULT: {error}"))
});

static PASSED: Mutex<Option<HashMap<&'static str, u64>>> = Mutex::new(None);

/// Whether anything is to happen at any point.
pub(crate) fn is_ordered() -> bool {
    !RULES.is_empty()
}

/// What is to happen now that the point is passed once more.
pub(crate) fn due(name: &'static str) -> Vec<Action> {
    if RULES.is_empty() {
        return Vec::new();
    }
    let mut passed = PASSED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let times = passed.get_or_insert_default().entry(name).or_insert(0);
    *times += 1;
    RULES
        .iter()
        .filter(|rule| rule.point == name && rule.at.is_none_or(|at| at == *times))
        .map(|rule| rule.action)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_read_as_it_is_written() {
        let rules =
            schedule("copy.committed=kill@1; pause.mirrored=error@3;drain=stall:5s@2;x=stall:20ms;y=stop")
                .expect("good");
        let rule = |point: &str, action, at| Rule { point: point.to_owned(), action, at };
        assert_eq!(rules[0], rule("copy.committed", Action::Kill, Some(1)));
        assert_eq!(rules[1], rule("pause.mirrored", Action::Error, Some(3)));
        assert_eq!(rules[2], rule("drain", Action::Stall(Duration::from_secs(5)), Some(2)));
        assert_eq!(rules[3], rule("x", Action::Stall(Duration::from_millis(20)), None));
        assert_eq!(rules[4], rule("y", Action::Stop, None));
        assert!(schedule("").expect("nothing").is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for text in [
            "copy",
            "=kill",
            "a=die",
            "a=stall",
            "a=stall:5",
            "a=stall:s",
            "a=kill@0",
            "a=kill@x",
            "a=error@1;b",
        ] {
            assert!(schedule(text).is_err(), "{text}");
        }
    }
}
