//! What a Redis server says of itself: whether it can be relied on for queues and the mirror. Reads only.

use std::collections::BTreeMap;

use crate::call::Call;
use crate::error::Error;
use crate::queues::Queues;

/// A server's own word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerFacts {
    /// The version, such as `7.0.15`.
    pub version: String,
    /// Another one after each restart and each fail-over.
    pub run_id: String,
    /// Whether it takes writes: a replica does not.
    pub is_master: bool,
    /// Whether it is a node of a Redis Cluster.
    pub is_cluster: bool,
    /// Bytes that its data takes.
    pub used_memory: u64,
    /// Bytes that it may take; 0 where nothing bounds it.
    pub maxmemory: u64,
    /// What it does when that is reached.
    pub maxmemory_policy: String,
    /// Whether every write goes to a log on disk.
    pub has_append_log: bool,
    /// When it writes snapshots; empty for never. Not known where `CONFIG` is not allowed.
    pub snapshots: Option<String>,
    /// After how many seconds it closes idle connections; 0 for never. Not known where `CONFIG` is not allowed.
    pub idle_seconds: Option<u64>,
    /// Its clock, in ms since the epoch.
    pub now_ms: u64,
}

impl Queues {
    /// Asks the server about itself. Managed servers often refuse `CONFIG`: what only it knows is then left out.
    pub async fn server(&self) -> Result<ServerFacts, Error> {
        let info: String = self.inner.background.call(Call::keyless("INFO").arg("everything")).await?;
        let facts = fields(&info);
        let text = |name: &str| facts.get(name).copied().unwrap_or_default().to_owned();
        let number = |name: &str| facts.get(name).and_then(|value| value.parse().ok()).unwrap_or(0);
        Ok(ServerFacts {
            version: text("redis_version"),
            run_id: text("run_id"),
            is_master: text("role") == "master",
            is_cluster: text("cluster_enabled") == "1",
            used_memory: number("used_memory"),
            maxmemory: number("maxmemory"),
            maxmemory_policy: text("maxmemory_policy"),
            has_append_log: text("aof_enabled") == "1",
            snapshots: self.configured("save").await,
            idle_seconds: self.configured("timeout").await.and_then(|value| value.parse().ok()),
            now_ms: self.now_ms().await?,
        })
    }

    /// A parameter, where the server lets it be seen.
    async fn configured(&self, name: &str) -> Option<String> {
        let call = Call::keyless("CONFIG").arg("GET").arg(name);
        let answer: Vec<String> = self.inner.background.call(call).await.ok()?;
        answer.into_iter().nth(1)
    }
}

/// `INFO`'s lines of the form `name:value`.
fn fields(info: &str) -> BTreeMap<&str, &str> {
    info.lines().filter_map(|line| line.trim_end().split_once(':')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_and_blank_lines_of_info_are_no_fields() {
        let found = fields("# Server\r\nredis_version:7.0.15\r\n\r\nexecutable:/a:b\r\n");
        assert_eq!(found, BTreeMap::from([("redis_version", "7.0.15"), ("executable", "/a:b")]));
    }
}
