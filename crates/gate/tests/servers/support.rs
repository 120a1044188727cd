//! Servers that the tests share, an Identity for each test, and a source of answers that can be cut off.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use handover_gate::{Changes, Gate, Settings};
use handover_identity::{Identity, IdentitySource, Mirror, MirrorOptions, Position, Truth};
use handover_postgres::Database;
use handover_sandbox::{Options, Sandbox, Server};
use secrecy::SecretString;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::direct::Direct;

static SHARED: Mutex<Weak<Sandbox>> = Mutex::const_new(Weak::new());
static NEXT: AtomicU32 = AtomicU32::new(0);

pub(crate) const MIGRATION: &str = "invoices";
pub(crate) const LEASE: Duration = Duration::from_millis(800);
pub(crate) const REQUEST: Duration = Duration::from_millis(600);

async fn sandbox() -> Arc<Sandbox> {
    let mut shared = SHARED.lock().await;
    if let Some(running) = shared.upgrade() {
        return running;
    }
    let options = Options { replica: false, ..Options::default() };
    let started = Arc::new(Sandbox::start(options).await.expect("the test's servers start"));
    *shared = Arc::downgrade(&started);
    started
}

/// One test's Identity, and what makes gates of it.
pub(crate) struct Stage {
    pub(crate) identity: Identity,
    pub(crate) source: Arc<Direct>,
    pub(crate) changes: Changes,
    pub(crate) redis: redis::aio::MultiplexedConnection,
    /// Identity's database, in which an application of a test writes too.
    pub(crate) database: String,
    heart: std::sync::Mutex<Option<JoinHandle<()>>>,
    sandbox: Arc<Sandbox>,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let sandbox = sandbox().await;
        let name = format!("gate_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let url = sandbox.create_database(Server::Identity, &name).await.expect("a database");
        let database =
            Database::new("identity", &SecretString::from(url.clone())).expect("the sandbox's URL");
        let truth = Truth::new(database.pool(8));
        truth.migrate().await.expect("the schema is made");
        let mut options = MirrorOptions::new(SecretString::from(sandbox.redis_url()));
        options.prefix.clone_from(&name);
        let identity = Identity::new(truth, Mirror::new(&options).expect("the sandbox's URL"));
        let mut changes = Changes::new(SecretString::from(sandbox.redis_url()));
        changes.prefix = name;
        let client = redis::Client::open(sandbox.redis_url()).expect("the sandbox's URL");
        let redis = client.get_multiplexed_async_connection().await.expect("redis answers");
        let source = Arc::new(Direct::new(identity.clone()));
        let heart = std::sync::Mutex::default();
        let stage = Self { identity, source, changes, redis, database: url, heart, sandbox };
        stage.beat();
        stage
    }

    /// Heartbeats, as the leading reconciler writes them.
    pub(crate) fn beat(&self) {
        let mirror = self.identity.mirror().clone();
        let heart = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(LEASE / 16);
            loop {
                ticks.tick().await;
                let _ = mirror.heartbeat().await;
            }
        });
        if let Some(before) = self.heart.lock().expect("no test panics with it").replace(heart) {
            before.abort();
        }
    }

    /// From now on the gates hear nothing.
    pub(crate) fn stop_heart(&self) {
        if let Some(heart) = self.heart.lock().expect("no test panics with it").take() {
            heart.abort();
        }
    }

    pub(crate) fn settings() -> Settings {
        let mut settings = Settings::new("layer");
        settings.lease = LEASE;
        settings.max_request = REQUEST;
        settings
    }

    pub(crate) async fn gate(&self, settings: Settings) -> Gate {
        let source = Arc::clone(&self.source) as Arc<dyn IdentitySource>;
        Gate::start(settings, source, &self.changes).await.expect("a gate")
    }

    /// A gate that has cached these users.
    pub(crate) async fn gate_with(&self, settings: Settings, users: &[&str]) -> Gate {
        let gate = self.gate(settings).await;
        for user in users {
            until(async || {
                drop(gate.admit(user, handover_gate::Kind::Holdable).await);
                gate.admit_now(user).is_some()
            })
            .await;
        }
        gate
    }

    /// Pauses the user; returns where the gates are told.
    pub(crate) async fn pause(&self, user: &str, version: i64) -> Position {
        let done = self.identity.begin(MIGRATION, &[(user.to_owned(), version)]).await.expect("begun");
        match done.mirrored {
            handover_identity::Mirrored::Yes(Some(position)) => position,
            other => panic!("not mirrored: {other:?}"),
        }
    }

    pub(crate) async fn flip(&self, user: &str, version: i64) {
        self.identity.flip(MIGRATION, &[(user.to_owned(), version)]).await.expect("flipped");
    }

    pub(crate) async fn release(&self, user: &str, version: i64) {
        self.identity.release(MIGRATION, &[(user.to_owned(), version)]).await.expect("released");
    }

    pub(crate) fn redis_url(&self) -> String {
        self.sandbox.redis_url()
    }

    pub(crate) async fn delete(&self, key: &str) {
        let mut command = redis::cmd("DEL");
        command.arg(format!("{}:{key}", self.changes.prefix));
        command.exec_async(&mut self.redis.clone()).await.expect("redis answers");
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop_heart();
    }
}

/// Asks again and again until it is so; a minute at most.
pub(crate) async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let asking = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        while !holds().await {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), asking).await.expect("it never was so");
}
