//! From settings to connections: everything a process needs, connected when it is first used.

use std::sync::Arc;

use handover_engine::{Engine, Fence, Options, Plans};
use handover_identity::{Identity, Mirror, MirrorOptions, Truth};
use handover_postgres::{Database, Timeouts};
use handover_queue::RedisTarget;
use handover_settings::{Server, Settings};
use handover_tracking::Tracking;
use handover_transform::Registry;

use crate::line::Line;

/// Sessions that a process may open on one server beyond one for each of its batches: for give-ups, duties
/// and questions that come beside them.
const SPARE_SESSIONS: usize = 2;
/// Sessions of one batch on one server: the copy holds one while it asks for another.
const SESSIONS_A_BATCH: usize = 2;

/// The databases.
#[derive(Debug)]
pub(crate) struct Databases {
    pub(crate) primary: Database,
    pub(crate) replica: Database,
    pub(crate) destination: Database,
    pub(crate) identity: Database,
}

impl Databases {
    pub(crate) fn new(settings: &Settings) -> anyhow::Result<Self> {
        Ok(Self {
            primary: database(settings, Server::LegacyPrimary)?,
            replica: database(settings, Server::LegacyReplica)?,
            destination: database(settings, Server::Destination)?,
            identity: database(settings, Server::Identity)?,
        })
    }

    pub(crate) fn all(&self) -> [&Database; 4] {
        [&self.primary, &self.replica, &self.destination, &self.identity]
    }
}

/// How one of the databases is reached; Redis is none.
pub fn database(settings: &Settings, server: Server) -> anyhow::Result<Database> {
    let role = match server {
        Server::LegacyPrimary => "legacy primary",
        Server::LegacyReplica => "legacy replica",
        Server::Destination => "destination",
        Server::Identity => "identity",
        Server::Redis => anyhow::bail!("redis is no database"),
    };
    let database = Database::new(role, settings.url(server)?)?;
    Ok(database.with_timeouts(timeouts(settings)).with_ca_file(settings.postgres.ca_file.clone()))
}

/// Identity, its truth through at most `sessions` sessions.
pub fn identity(settings: &Settings, sessions: usize) -> anyhow::Result<Identity> {
    let mut mirror = MirrorOptions::new(settings.url(Server::Redis)?.clone());
    mirror.prefix.clone_from(&settings.redis.prefix);
    mirror.ca_file.clone_from(&settings.redis.ca_file);
    let truth = Truth::new(database(settings, Server::Identity)?.pool(sessions));
    Ok(Identity::new(truth, Mirror::new(&mirror)?))
}

/// How Redis is reached.
pub fn redis(settings: &Settings) -> anyhow::Result<RedisTarget> {
    let mut target =
        RedisTarget::new(settings.url(Server::Redis)?.clone()).with_prefix(settings.redis.prefix.as_str());
    target.ca_file.clone_from(&settings.redis.ca_file);
    Ok(target)
}

fn timeouts(settings: &Settings) -> Timeouts {
    let postgres = &settings.postgres;
    Timeouts {
        connect: postgres.connect_timeout,
        statement: postgres.statement_timeout,
        lock: postgres.lock_timeout,
        idle_in_transaction: postgres.idle_in_transaction_timeout,
    }
}

/// The line to Redis.
pub(crate) fn line(settings: &Settings) -> anyhow::Result<Arc<Line>> {
    Ok(Arc::new(Line::new(redis(settings)?)?))
}

/// The engine over those databases.
pub(crate) fn engine(
    settings: &Settings,
    databases: &Databases,
    transforms: Registry,
) -> anyhow::Result<Engine> {
    let sessions = settings.worker.concurrency * SESSIONS_A_BATCH + SPARE_SESSIONS;
    let destination = databases.destination.clone().pool(sessions);
    Ok(Engine {
        primary: databases.primary.clone().pool(sessions),
        replica: databases.replica.clone().pool(sessions),
        tracking: Tracking::new(destination.clone()),
        destination,
        identity: identity(settings, sessions)?,
        plans: Plans::new(transforms),
        options: options(settings),
        fence: settings.fence.database.then(|| Fence::new(settings.fence.patience)),
    })
}

fn options(settings: &Settings) -> Options {
    Options {
        max_paused: settings.pause.max_paused,
        max_pause: settings.pause.max_pause,
        drain: settings.pause.drain,
        replica_wait: settings.copy.replica_wait,
        verify_before_commit: settings.verify.before_commit,
        recheck_source: settings.verify.recheck_source,
    }
}
