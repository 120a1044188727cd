//! The names of all Redis keys that this crate touches, and of which type each is.
//!
//! `docs/redis.md` is the contract behind them. Nothing else in the crate spells a key.

use std::fmt;

/// Which Redis type a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A list.
    List,
    /// A sorted set.
    SortedSet,
    /// A hash.
    Hash,
}

impl Kind {
    /// The type as Redis' `TYPE` command spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::SortedSet => "zset",
            Self::Hash => "hash",
        }
    }
}

/// A key's name together with the type that handover keeps there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    name: String,
    kind: Kind,
}

impl Key {
    /// The name as `redis-cli` takes it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The type that handover keeps there.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// All keys of one installation: one function per key, under one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyspace {
    prefix: String,
}

impl Keyspace {
    /// The keys under `prefix`. A prefix in braces, `{handover}`, puts all of them in one slot of a
    /// Redis Cluster, which the scripts need there.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into() }
    }

    /// Jobs of `stage` that wait. The right end is claimed first.
    pub fn queue(&self, stage: &str) -> Key {
        self.key(Kind::List, &["queue", stage])
    }

    /// Deliveries of `stage` that a worker holds, scored by the lease's deadline in ms of Redis time.
    pub fn inflight(&self, stage: &str) -> Key {
        self.key(Kind::SortedSet, &["inflight", stage])
    }

    /// Jobs of `stage` that wait for a retry, scored by when they are due in ms of Redis time.
    pub fn delayed(&self, stage: &str) -> Key {
        self.key(Kind::SortedSet, &["delayed", stage])
    }

    /// Jobs of `stage` that were given up, the newest first.
    pub fn dead(&self, stage: &str) -> Key {
        self.key(Kind::List, &["dead", stage])
    }

    /// Ids of live workers, scored by their last heartbeat in ms of Redis time.
    pub fn workers(&self) -> Key {
        self.key(Kind::SortedSet, &["workers"])
    }

    /// What one worker does.
    pub fn worker(&self, id: &str) -> Key {
        self.key(Kind::Hash, &["worker", id])
    }

    fn key(&self, kind: Kind, parts: &[&str]) -> Key {
        let mut name = self.prefix.clone();
        for part in parts {
            name.push(':');
            name.push_str(part);
        }
        Key { name, kind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_spelled_as_the_contract_says() {
        let keys = Keyspace::new("handover");
        assert_eq!(keys.queue("copy").name(), "handover:queue:copy");
        assert_eq!(keys.inflight("copy").name(), "handover:inflight:copy");
        assert_eq!(keys.delayed("copy").name(), "handover:delayed:copy");
        assert_eq!(keys.dead("copy").name(), "handover:dead:copy");
        assert_eq!(keys.workers().name(), "handover:workers");
        assert_eq!(keys.worker("copy-a-1-ff").name(), "handover:worker:copy-a-1-ff");
    }

    #[test]
    fn a_prefix_in_braces_is_kept_as_the_cluster_hash_tag() {
        assert_eq!(Keyspace::new("{handover}").queue("copy").name(), "{handover}:queue:copy");
    }
}
