//! What a sandbox shall be like, and the names of its servers.

/// Whether missing server binaries may be installed by the system's package manager.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Install {
    /// Never: a missing binary is an error that says what to install.
    Never,
    /// Asks on a terminal; elsewhere says on standard error what it does, and does it.
    #[default]
    Ask,
    /// Says on standard error what it does, and does it.
    Yes,
}

/// One of a sandbox's servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Server {
    /// The legacy primary.
    Legacy,
    /// The streaming replica of the legacy primary.
    Replica,
    /// The new system's primary.
    Destination,
    /// Identity's primary.
    Identity,
    /// Redis.
    Redis,
}

impl Server {
    /// All servers, in the order in which they are listed to people.
    pub const ALL: [Self; 5] = [Self::Legacy, Self::Replica, Self::Destination, Self::Identity, Self::Redis];

    /// Lower-case name; also the name of the server's folder and log file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Replica => "replica",
            Self::Destination => "destination",
            Self::Identity => "identity",
            Self::Redis => "redis",
        }
    }

    /// The environment variable whose URL is used instead of starting this server.
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Legacy => "HANDOVER_LEGACY_URL",
            Self::Replica => "HANDOVER_REPLICA_URL",
            Self::Destination => "HANDOVER_DESTINATION_URL",
            Self::Identity => "HANDOVER_IDENTITY_URL",
            Self::Redis => "HANDOVER_SANDBOX_REDIS_URL",
        }
    }

    /// The database that exists from the start: a replica has its primary's.
    pub(crate) const fn database(self) -> &'static str {
        match self {
            Self::Replica => "legacy",
            other => other.name(),
        }
    }
}

/// How to start a [`crate::Sandbox`]. `Options::default()` suits tests.
#[derive(Clone, Debug)]
pub struct Options {
    /// fsync and full page writes on, Redis with an append-only file, and larger buffers: for benches and
    /// crash tests. Off by default, since throw-away data needs no disk.
    pub durable: bool,
    /// Leave the servers running when the owner drops the sandbox or is killed. Default: no.
    pub keep: bool,
    /// Start a streaming replica. Without one, [`crate::Sandbox::replica_url`] is the primary's. Default: yes.
    pub replica: bool,
    /// What to do about missing server binaries. Default: [`Install::Ask`].
    pub install: Install,
    /// Lines for postgresql.conf beyond the sandbox's own, as (server, setting, value); the last one wins.
    pub settings: Vec<(Server, String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self { durable: false, keep: false, replica: true, install: Install::Ask, settings: Vec::new() }
    }
}
