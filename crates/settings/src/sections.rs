//! The sections of the settings file, with their defaults.
//!
//! `config/handover.toml` states the same defaults for readers; a test keeps the two equal.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use crate::number::{fraction, whole};

/// Everything that can be set. `load` gives only settings that hold together.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The source system.
    pub legacy: Legacy,
    /// The new system.
    pub destination: Destination,
    /// The database with Identity's truth, and Identity's service.
    pub identity: Identity,
    /// Queues and Identity's mirror.
    pub redis: Redis,
    /// Where plans are read from.
    pub plans: Plans,
    /// The pause stage.
    pub pause: Pause,
    /// The database fence.
    pub fence: Fence,
    /// The copy stage.
    pub copy: Copy,
    /// The verify stage.
    pub verify: Verify,
    /// What all workers have in common.
    pub worker: Worker,
    /// The reconciler.
    pub reconcile: Reconcile,
    /// When a cohort is held by itself.
    pub breaker: Breaker,
    /// Limits of every Postgres session.
    pub postgres: Postgres,
    /// Logging.
    pub log: Log,
}

/// The source system: a primary that is hardly touched, and the replica that all data is read from.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Legacy {
    /// Connection URL of the legacy primary.
    pub primary_url: Option<SecretString>,
    /// Connection URL of its streaming read replica.
    pub replica_url: Option<SecretString>,
}

/// The new system, which also holds the tracking tables.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Destination {
    /// Connection URL of the destination's primary.
    pub url: Option<SecretString>,
}

/// The database with Identity's truth, and Identity's service.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Identity {
    /// Connection URL of Identity's primary.
    pub url: Option<SecretString>,
    /// Address that the service listens on.
    pub http_bind: SocketAddr,
    /// Bearer token that the service asks for.
    pub token: Option<SecretString>,
    /// Serve everybody who can reach the address, without a token.
    pub open: bool,
    /// Type of users' keys, which decides their one spelling; the service has to be told.
    pub user_key: Option<UserKey>,
    /// Sessions that one process of the service may open on Identity's database.
    #[serde(deserialize_with = "whole")]
    pub sessions: usize,
    /// The largest difference between clocks that are compared: the mirror is believed for that much less.
    #[serde(with = "humantime_serde")]
    pub max_clock_skew: Duration,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            url: None,
            http_bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 7400)),
            token: None,
            open: false,
            user_key: None,
            sessions: 16,
            max_clock_skew: Duration::from_millis(500),
        }
    }
}

/// The type of the installation's user keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserKey {
    /// A whole number of 64 bits.
    Int8,
    /// A UUID.
    Uuid,
    /// Text of 1 to 255 bytes.
    Text,
}

/// Queues and Identity's mirror.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Redis {
    /// Connection URL, `redis://` or `rediss://`.
    pub url: Option<SecretString>,
    /// What every key begins with; `{handover}` keeps all keys in one slot of a Redis Cluster.
    pub prefix: String,
    /// PEM file with the authority that signed the server's certificate; the system's own when absent.
    pub ca_file: Option<PathBuf>,
}

impl Default for Redis {
    fn default() -> Self {
        Self { url: None, prefix: "handover".to_owned(), ca_file: None }
    }
}

/// Where plans are read from.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plans {
    /// The folder that holds one folder for each plan.
    pub dir: PathBuf,
}

impl Default for Plans {
    fn default() -> Self {
        Self { dir: PathBuf::from("config/plans") }
    }
}

/// The pause stage.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pause {
    /// Users who may be paused at once, over all workers and migrations.
    #[serde(deserialize_with = "whole")]
    pub max_paused: u32,
    /// How long a user may be paused before the reconciler takes the attempt back.
    #[serde(with = "humantime_serde")]
    pub max_pause: Duration,
    /// Shortest wait between a pause and the fence position, for those who ask Identity without being members.
    #[serde(with = "humantime_serde")]
    pub drain: Duration,
    /// Jobs that may wait in the pause queue; the others wait in tracking.
    #[serde(deserialize_with = "whole")]
    pub window: u32,
}

impl Default for Pause {
    fn default() -> Self {
        Self {
            max_paused: 500,
            max_pause: Duration::from_mins(1),
            drain: Duration::from_millis(250),
            window: 2000,
        }
    }
}

/// The database fence, which refuses writes behind a pause in the databases themselves.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fence {
    /// Whether the stages use it; it must be installed for every migration.
    pub database: bool,
    /// How long a pause waits for transactions in flight before the attempt is given up.
    #[serde(with = "humantime_serde")]
    pub patience: Duration,
}

impl Default for Fence {
    fn default() -> Self {
        Self { database: false, patience: Duration::from_secs(5) }
    }
}

/// The copy stage.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Copy {
    /// How long to wait for the replica to replay past the fence position before handing the job back.
    #[serde(with = "humantime_serde")]
    pub replica_wait: Duration,
}

impl Default for Copy {
    fn default() -> Self {
        Self { replica_wait: Duration::from_secs(20) }
    }
}

/// The verify stage.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Verify {
    /// Also read back and compare inside the copy transaction, so that nothing unverified ever commits.
    pub before_commit: bool,
    /// Hash the source again past a fresh position, to prove that nothing wrote during the pause.
    pub recheck_source: bool,
}

impl Default for Verify {
    fn default() -> Self {
        Self { before_commit: false, recheck_source: true }
    }
}

/// What all workers have in common; each stage is a process, so the environment sets one stage apart.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Worker {
    /// Batches that one process works on at the same time.
    #[serde(deserialize_with = "whole")]
    pub concurrency: usize,
    /// Jobs that are claimed at once.
    #[serde(deserialize_with = "whole")]
    pub batch: usize,
    /// How long a claim holds without being renewed; renewed every third of it.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// How long a stopping worker may take to finish what it has begun.
    #[serde(with = "humantime_serde")]
    pub shutdown: Duration,
    /// Longest wait at an empty queue before the worker looks again by itself.
    #[serde(with = "humantime_serde")]
    pub idle_wait: Duration,
    /// How often delayed jobs are promoted and expired leases recovered.
    #[serde(with = "humantime_serde")]
    pub upkeep: Duration,
    /// Without an answered claim for this long, the connection to Redis is rebuilt.
    #[serde(with = "humantime_serde")]
    pub watchdog: Duration,
    /// Failed tries after which a job gives up.
    #[serde(deserialize_with = "whole")]
    pub max_tries: u32,
    /// Times that a job may be recovered from a dead worker before it is set aside as poison.
    #[serde(deserialize_with = "whole")]
    pub max_recoveries: u32,
    /// First wait before a retry; it doubles with each try, with jitter.
    #[serde(with = "humantime_serde")]
    pub backoff_base: Duration,
    /// Longest wait before a retry.
    #[serde(with = "humantime_serde")]
    pub backoff_cap: Duration,
    /// Address of health, readiness and metrics; port 0 takes a free one.
    pub http_bind: SocketAddr,
    /// Bearer token that `/metrics` asks for.
    pub token: Option<SecretString>,
    /// Serve metrics without a token on an address that others can reach.
    pub open: bool,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            concurrency: 4,
            batch: 128,
            lease: Duration::from_secs(30),
            shutdown: Duration::from_secs(20),
            idle_wait: Duration::from_secs(2),
            upkeep: Duration::from_millis(500),
            watchdog: Duration::from_secs(15),
            max_tries: 8,
            max_recoveries: 5,
            backoff_base: Duration::from_millis(200),
            backoff_cap: Duration::from_secs(10),
            http_bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            token: None,
            open: false,
        }
    }
}

/// The reconciler, of which one leads at a time.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reconcile {
    /// Time between two rounds of decisions.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// Time between two looks whether the pause queue's window has room for more users.
    #[serde(with = "humantime_serde")]
    pub fill: Duration,
    /// An attempt whose job is in no queue for this long is queued again.
    #[serde(with = "humantime_serde")]
    pub requeue_after: Duration,
    /// Time between two heartbeats in the stream of changes.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    /// How long the mirror may be believed after the leader has checked it.
    #[serde(with = "humantime_serde")]
    pub ready_for: Duration,
    /// Time between two comparisons of the whole mirror with Identity's truth.
    #[serde(with = "humantime_serde")]
    pub verify_mirror: Duration,
    /// Time between two samples of queue depths and users by state.
    #[serde(with = "humantime_serde")]
    pub sample: Duration,
    /// How often a reconciler that does not lead tries to.
    #[serde(with = "humantime_serde")]
    pub leader_retry: Duration,
    /// How long a leader that has fallen silent keeps the lead.
    #[serde(with = "humantime_serde")]
    pub leader_lease: Duration,
}

impl Default for Reconcile {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(500),
            fill: Duration::from_millis(100),
            requeue_after: Duration::from_secs(5),
            heartbeat: Duration::from_secs(1),
            ready_for: Duration::from_secs(5),
            verify_mirror: Duration::from_mins(5),
            sample: Duration::from_secs(2),
            leader_retry: Duration::from_secs(2),
            leader_lease: Duration::from_secs(5),
        }
    }
}

/// When a cohort is held by itself, until an operator releases it.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Breaker {
    /// The failure rate is taken over this many of the cohort's newest moves, and not before there are as many.
    #[serde(deserialize_with = "whole")]
    pub min_attempts: u32,
    /// The share of them that may fail; 1 lets all of them fail.
    #[serde(deserialize_with = "fraction")]
    pub failure_rate: f64,
    /// Moves that may fail since the destination's digest differed from the source's.
    #[serde(deserialize_with = "whole")]
    pub max_mismatches: u32,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { min_attempts: 100, failure_rate: 0.2, max_mismatches: 5 }
    }
}

/// Limits of every Postgres session; each is shorter than a pause may last, so that none outlives it.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Postgres {
    /// Longest statement.
    #[serde(with = "humantime_serde")]
    pub statement_timeout: Duration,
    /// Longest wait for a lock.
    #[serde(with = "humantime_serde")]
    pub lock_timeout: Duration,
    /// Longest silence inside a transaction.
    #[serde(with = "humantime_serde")]
    pub idle_in_transaction_timeout: Duration,
    /// Longest time to open a connection.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// PEM file with the authorities that sign the servers' certificates; when set, TLS is demanded.
    pub ca_file: Option<PathBuf>,
}

impl Default for Postgres {
    fn default() -> Self {
        Self {
            statement_timeout: Duration::from_secs(20),
            lock_timeout: Duration::from_secs(5),
            idle_in_transaction_timeout: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(5),
            ca_file: None,
        }
    }
}

/// Logging, to standard error.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// How a line looks.
    pub format: Format,
    /// The least important level that is written; users' keys appear at `debug` and below only.
    pub level: Level,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// What needs a person.
    Error,
    /// What may come to need one.
    Warn,
    /// Starts, stops and failures of jobs.
    #[default]
    Info,
    /// Single batches and users' keys.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    /// The level's name, as a filter understands it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}
