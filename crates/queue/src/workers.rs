//! Which workers live, and what they do: for operators and dashboards.
//!
//! Nothing is decided by it. A worker that is missing here loses no job, and one that is listed holds none
//! by that: jobs are held by leases.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use handover_fault::point;

use crate::call::Call;
use crate::error::Error;
use crate::queues::{Queues, millis};
use crate::scripts::CHUNK;

/// Names one start of one worker process: `copy-<host>-<pid>-<random>`. A restarted worker is another, so
/// what its predecessor held is never taken for its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(String);

impl WorkerId {
    /// A new id for this process.
    pub fn new(stage: &str) -> Self {
        let random = fastrand::Rng::new().u32(..);
        Self(format!("{stage}-{}-{}-{random:08x}", host(), std::process::id()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for WorkerId {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A worker that has been heard of lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Its id.
    pub id: String,
    /// Its last heartbeat, in ms of Redis time since the epoch.
    pub heartbeat_at: u64,
    /// What it said of itself; empty where its hash has been deleted.
    pub facts: BTreeMap<String, String>,
}

impl Queues {
    /// Says that a worker lives, and what it does: the first heartbeat registers it. It is forgotten once
    /// `ttl` has passed without another. `facts` are shown to operators: no personal data.
    pub async fn heartbeat(
        &self,
        worker: &WorkerId,
        stage: &str,
        facts: &[(&str, String)],
        ttl: Duration,
    ) -> Result<(), Error> {
        let keys = &self.inner.keys;
        let mut call = Call::script(&self.inner.scripts.heartbeat, [keys.workers(), keys.worker(worker)])
            .arg(worker.as_str())
            .arg(millis(ttl))
            .arg("stage")
            .arg(stage);
        for (field, value) in facts {
            call = call.arg(*field).arg(value);
        }
        point("queue.beating").await?;
        self.inner.hot.call::<()>(call).await
    }

    /// The workers that have been heard of, by id, at most 1,000.
    pub async fn workers(&self) -> Result<Vec<Worker>, Error> {
        let keys = &self.inner.keys;
        let call = Call::command("ZRANGE", keys.workers()).arg(0).arg(CHUNK - 1).arg("WITHSCORES");
        let beats: Vec<(String, f64)> = self.inner.background.call(call).await?;
        let mut workers = Vec::with_capacity(beats.len());
        for (id, heartbeat_at) in beats {
            let facts = self.inner.background.call(Call::command("HGETALL", keys.worker(&id))).await?;
            workers.push(Worker { id, heartbeat_at: heartbeat_at as u64, facts });
        }
        workers.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(workers)
    }

    /// Takes a worker that has stopped off the list.
    pub async fn remove_worker(&self, worker: &WorkerId) -> Result<(), Error> {
        let keys = &self.inner.keys;
        let call = Call::command("ZREM", keys.workers()).arg(worker.as_str());
        self.inner.hot.call::<usize>(call).await?;
        self.inner.hot.call::<usize>(Call::command("DEL", keys.worker(worker))).await?;
        Ok(())
    }
}

/// This machine's name, without what does not belong into a key.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .unwrap_or_default();
    let name: String =
        name.trim().chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    if name.is_empty() { "host".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_starts_of_one_worker_have_different_ids() {
        let (a, b) = (WorkerId::new("copy"), WorkerId::new("copy"));
        assert_ne!(a, b);
        assert!(a.starts_with("copy-"), "{a}");
        assert!(!a.contains(char::is_whitespace), "{a}");
    }
}
