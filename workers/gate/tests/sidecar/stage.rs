//! Servers, an Identity with its service for each test, what the leading reconciler does for it, and sidecars.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use handover_identity::http::{Site, serve};
use handover_identity::{Drained, Identity, LookUps, Mirror, MirrorOptions, Mirrored, Position, Truth};
use handover_postgres::Database;
use handover_sandbox::{Options, Sandbox, Server};
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::client::{Answer, get};
use crate::programs::Process;

static SHARED: Mutex<Weak<Sandbox>> = Mutex::const_new(Weak::new());
static NEXT: AtomicU32 = AtomicU32::new(0);

pub(crate) const MIGRATION: &str = "invoice-reminders";
pub(crate) const LEASE: Duration = Duration::from_secs(1);
pub(crate) const REQUEST: Duration = Duration::from_millis(1_500);
pub(crate) const HOLD: Duration = Duration::from_secs(2);
/// The token of Identity's service.
pub(crate) const IDENTITY: &str = "identity-s3cret";
/// The token of the sidecar.
pub(crate) const TOKEN: &str = "sidecar-s3cret";

/// One test's Identity.
pub(crate) struct Stage {
    pub(crate) identity: Identity,
    pub(crate) prefix: String,
    pub(crate) folder: tempfile::TempDir,
    service: u16,
    redis: String,
    tasks: Vec<JoinHandle<()>>,
    /// Last: tasks end before the servers do.
    pub(crate) sandbox: Arc<Sandbox>,
}

/// The sandbox that tests share, or one of the test's own.
async fn sandbox(own: bool) -> Arc<Sandbox> {
    let mut shared = SHARED.lock().await;
    if let Some(running) = shared.upgrade().filter(|_| !own) {
        return running;
    }
    let options = Options { replica: false, ..Options::default() };
    let started = Arc::new(Sandbox::start(options).await.expect("the test's servers start"));
    if !own {
        *shared = Arc::downgrade(&started);
    }
    started
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::on(sandbox(false).await).await
    }

    /// On servers that no other test uses.
    pub(crate) async fn alone() -> Self {
        Self::on(sandbox(true).await).await
    }

    async fn on(sandbox: Arc<Sandbox>) -> Self {
        let name = format!("sidecar_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let url = sandbox.create_database(Server::Identity, &name).await.expect("a database");
        let database = Database::new("identity", &SecretString::from(url)).expect("the sandbox's URL");
        let truth = Truth::new(database.pool(8));
        truth.migrate().await.expect("the schema is made");
        let mut options = MirrorOptions::new(SecretString::from(sandbox.redis_url()));
        options.prefix.clone_from(&name);
        let identity = Identity::new(truth, Mirror::new(&options).expect("the sandbox's URL"));
        let (service, serving) = service(&identity).await;
        let tasks = vec![serving, tokio::spawn(reconcile(identity.clone()))];
        let folder = tempfile::tempdir().expect("a folder");
        let redis = sandbox.redis_url();
        Self { identity, prefix: name, folder, service, redis, tasks, sandbox }
    }

    pub(crate) fn redis_url(&self) -> &str {
        &self.redis
    }

    pub(crate) fn identity_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.service)
    }

    /// A sidecar in that mode, with these options beside the usual ones. It is a member, and follows the changes.
    pub(crate) async fn sidecar(&self, mode: &str, options: &[&str]) -> Sidecar {
        let mut command = Command::new(env!("CARGO_BIN_EXE_handover-gate"));
        command.env_clear().env("HANDOVER_GATE_TOKEN", TOKEN).env("HANDOVER_GATE_IDENTITY_TOKEN", IDENTITY);
        let time = |time: Duration| format!("{}ms", time.as_millis());
        let nowhere = "127.0.0.1:0".to_owned();
        command.args([mode, "--health-bind", &nowhere, "--migration", MIGRATION]);
        command.args(["--identity-url", &self.identity_url(), "--redis-url", &self.redis]);
        command.args(["--redis-prefix", &self.prefix]);
        let (lease, request, hold) = (time(LEASE), time(REQUEST), time(HOLD));
        let usual =
            [("--bind", nowhere), ("--lease", lease), ("--max-request", request), ("--hold-for", hold)];
        for (option, value) in usual.iter().filter(|(option, _)| !options.contains(option)) {
            command.args([option, value.as_str()]);
        }
        command.args(options);
        let sidecar = Sidecar::start(command, self.folder.path()).await;
        until(async || sidecar.health().await.json()["lease"] == true).await;
        sidecar
    }

    /// Pauses the user, as the pause stage does; returns where the gates are told.
    pub(crate) async fn pause(&self, user: &str, version: i64) -> Option<Position> {
        loop {
            let done = self
                .identity
                .begin(MIGRATION, &[(user.to_owned(), version)])
                .await
                .expect("identity answers");
            match done.mirrored {
                Mirrored::Yes(position) => return position,
                // Redis is away: nobody may go on before it knows.
                Mirrored::NotYet(_) => tokio::task::yield_now().await,
            }
        }
    }

    /// Waits until no gate serves the user on an older state.
    pub(crate) async fn drain(&self, user: &str, position: Option<&Position>) -> Drained {
        let users = [user.to_owned()];
        self.identity.drain(&users, position, Duration::ZERO).await.expect("identity answers")
    }

    pub(crate) async fn flip(&self, user: &str, version: i64) {
        self.identity.flip(MIGRATION, &[(user.to_owned(), version)]).await.expect("identity answers");
    }

    /// Moves a user whom nobody is asking for.
    pub(crate) async fn moved(&self, user: &str) {
        let position = self.pause(user, 1).await;
        self.drain(user, position.as_ref()).await;
        self.flip(user, 1).await;
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Identity's service, as the program of that name runs it.
async fn service(identity: &Identity) -> (u16, JoinHandle<()>) {
    let site = Site {
        look_ups: LookUps::new(identity.clone(), Duration::from_millis(200)),
        identity: identity.clone(),
        canonical: Arc::new(|user: &str| {
            user.parse::<i64>().map(|user| user.to_string()).map_err(|_| "no number".to_owned())
        }),
        token: Some(SecretString::from(IDENTITY)),
        metrics_token: None,
        render: Arc::new(String::new),
        longest_term: Duration::from_secs(30),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("a bound port").port();
    (port, tokio::spawn(serve(listener, site, std::future::pending())))
}

/// What the leading reconciler does for the mirror: heartbeats, what was missed, a rebuild where the server is
/// another one, and `!ready`.
async fn reconcile(identity: Identity) {
    let mut ticks = tokio::time::interval(LEASE / 16);
    let mut rebuilt: Option<String> = None;
    loop {
        ticks.tick().await;
        let mirror = identity.mirror();
        let _ = mirror.heartbeat().await;
        let _ = identity.flush_outbox(Duration::ZERO).await;
        let Ok(run_id) = mirror.run_id().await else { continue };
        let believed = matches!(mirror.ready_until().await, Ok(Some(_)));
        if rebuilt.as_deref() != Some(&run_id) || !believed {
            rebuilt = identity.rebuild_mirror().await.ok().map(|done| done.run_id);
        }
        if let Some(run_id) = &rebuilt {
            let _ = identity.renew_ready(run_id, LEASE, Duration::from_millis(200)).await;
        }
    }
}

/// A sidecar.
pub(crate) struct Sidecar {
    pub(crate) process: Process,
    pub(crate) port: u16,
    pub(crate) health: u16,
}

impl Sidecar {
    async fn start(command: Command, folder: &Path) -> Self {
        let log = folder.join(format!("sidecar-{}.log", NEXT.fetch_add(1, Ordering::Relaxed)));
        let mut process = Process::start(command, &log);
        process.says(" health=").await;
        let port =
            |text: &str| process.word_after(text).rsplit(':').next().and_then(|port| port.parse().ok());
        let (http, health) = (port(" http=").expect("a port"), port(" health=").expect("a port"));
        Self { process, port: http, health }
    }

    pub(crate) async fn health(&self) -> Answer {
        get(self.health, "/readyz", &[]).await
    }

    /// How many requests and look-ups it counts.
    pub(crate) async fn in_flight(&self) -> u64 {
        self.health().await.json()["in_flight"].as_u64().expect("a number")
    }

    /// Asks by native mode.
    pub(crate) async fn decision(&self, user: &str) -> Answer {
        let token = format!("Bearer {TOKEN}");
        get(self.port, &format!("/v1/decision?user={user}"), &[("Authorization", &token)]).await
    }
}

/// Asserts that a gate that fell silent was waited for: until its lease and longest request had passed since it was
/// last heard of, which may have been some time before it fell silent.
pub(crate) fn waited_out(drained: Drained) {
    assert_eq!((drained.acknowledged, drained.silent + drained.gone), (0, 1), "{drained:?}");
    assert!(drained.waited >= REQUEST + LEASE / 2, "{drained:?}");
    assert!(drained.waited < (LEASE + REQUEST) * 3, "{drained:?}");
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
