//! What processes cost, from /proc: seconds of a processor, and the most memory they ever had.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

/// Linux counts processor time for user space in hundredths of a second.
const TICKS_A_SECOND: f64 = 100.0;

/// Processor seconds by the name of a part; a Postgres counts with all of its processes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage(BTreeMap<String, f64>);

/// What `/proc/PID/stat` says of a process: its parent, its own ticks, and those of children it has waited for.
struct Stat {
    parent: u32,
    own: f64,
    waited_for: f64,
}

impl Usage {
    /// What the named processes, their children included, have used so far.
    pub(crate) fn now(processes: &[(String, u32)]) -> Self {
        let all = every_process();
        let mut usage = BTreeMap::new();
        for (name, pid) in processes {
            let Some(stat) = all.get(pid) else { continue };
            let children: f64 = all.values().filter(|stat| stat.parent == *pid).map(|stat| stat.own).sum();
            *usage.entry(name.clone()).or_default() +=
                (stat.own + stat.waited_for + children) / TICKS_A_SECOND;
        }
        Self(usage)
    }

    /// What came on top since then.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let spent = |(name, now): (&String, &f64)| {
            (name.clone(), (now - earlier.0.get(name).copied().unwrap_or_default()).max(0.0))
        };
        Self(self.0.iter().map(spent).collect())
    }

    /// The same, added to this.
    pub(crate) fn add(&mut self, other: &Self) {
        for (name, seconds) in &other.0 {
            *self.0.entry(name.clone()).or_default() += seconds;
        }
    }

    /// As JSON: seconds by name.
    pub(crate) fn json(&self) -> Value {
        json!(
            self.0
                .iter()
                .map(|(name, s)| (name.clone(), (s * 100.0).round() / 100.0))
                .collect::<BTreeMap<_, _>>()
        )
    }

    /// In microseconds for one of so many.
    pub(crate) fn micros_each(&self, count: f64) -> f64 {
        self.0.values().sum::<f64>() * 1e6 / count
    }
}

/// The most memory that a process ever had, in MiB; 0 for one that is gone.
pub(crate) fn peak_mib(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1024.0
}

fn every_process() -> BTreeMap<u32, Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?)))
        .collect()
}

/// The name in brackets may hold blanks and brackets itself.
fn stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        own: ticks(11)? + ticks(12)?,
        waited_for: ticks(13)? + ticks(14)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let text = "7 (a) b) S 3 7 7 0 -1 0 0 0 0 0 11 12 13 14 20 0 1";
        let found = stat(text).expect("a stat");
        assert_eq!(found.parent, 3);
        assert!((found.own - 23.0).abs() < 1e-9 && (found.waited_for - 27.0).abs() < 1e-9);
    }

    #[test]
    fn this_process_uses_time_and_memory() {
        let own = [("own".to_owned(), std::process::id())];
        assert!(peak_mib(std::process::id()) > 0.5);
        assert!(Usage::now(&own).0.contains_key("own"));
    }
}
