//! Servers that the tests share, a database and a key prefix for each test, and a wire that can be cut.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use handover_identity::{Identity, Keys, Mirror, MirrorOptions, Truth};
use handover_postgres::{Database, Pool};
use handover_sandbox::{Options, Sandbox, Server};
use redis::aio::MultiplexedConnection;
use secrecy::SecretString;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};

/// The servers live as long as any test holds them, and end with the last one: a static is never dropped.
static SHARED: Mutex<Weak<Sandbox>> = Mutex::const_new(Weak::new());

static NEXT: AtomicU32 = AtomicU32::new(0);

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

/// One test's Identity, on a database and under a prefix of its own.
pub(crate) struct Stage {
    pub(crate) identity: Identity,
    pub(crate) pool: Pool,
    pub(crate) redis: MultiplexedConnection,
    pub(crate) keys: Keys,
    pub(crate) redis_url: String,
    _sandbox: Arc<Sandbox>,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let sandbox = sandbox().await;
        let name = format!("identity_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let url = sandbox.create_database(Server::Identity, &name).await.expect("a database");
        let database = Database::new("identity", &SecretString::from(url)).expect("the sandbox's URL");
        let pool = database.pool(16);
        let redis_url = sandbox.redis_url();
        let mirror = mirror_at(&redis_url, &name);
        let truth = Truth::new(pool.clone());
        truth.migrate().await.expect("the schema is made");
        let client = redis::Client::open(redis_url.as_str()).expect("the sandbox's URL");
        let redis = client.get_multiplexed_async_connection().await.expect("redis answers");
        let keys = mirror.keys().clone();
        Self { identity: Identity::new(truth, mirror), pool, redis, keys, redis_url, _sandbox: sandbox }
    }

    pub(crate) fn truth(&self) -> &Truth {
        self.identity.truth()
    }

    pub(crate) fn mirror(&self) -> &Mirror {
        self.identity.mirror()
    }

    /// The text that the hash holds, as redis-cli would see it.
    pub(crate) async fn field(&self, field: &str) -> Option<String> {
        let mut command = redis::cmd("HGET");
        command.arg(self.keys.identity()).arg(field);
        command.query_async(&mut self.redis.clone()).await.expect("redis answers")
    }

    pub(crate) async fn set_field(&self, field: &str, text: &str) {
        let mut command = redis::cmd("HSET");
        command.arg(self.keys.identity()).arg(field).arg(text);
        command.exec_async(&mut self.redis.clone()).await.expect("redis answers");
    }

    pub(crate) async fn delete_keys(&self) {
        let mut command = redis::cmd("DEL");
        command.arg(self.keys.identity()).arg(self.keys.changes());
        command.exec_async(&mut self.redis.clone()).await.expect("redis answers");
    }

    /// All entries of the stream, each a list of field and value.
    pub(crate) async fn entries(&self) -> Vec<Entry> {
        type Raw = Vec<(String, Vec<String>)>;
        let mut command = redis::cmd("XRANGE");
        command.arg(self.keys.changes()).arg("-").arg("+");
        let raw: Raw = command.query_async(&mut self.redis.clone()).await.expect("redis answers");
        raw.into_iter().map(|(_, pairs)| Entry::read(&pairs)).collect()
    }

    pub(crate) async fn outbox_rows(&self) -> u64 {
        self.truth().outbox().await.expect("the truth answers").rows
    }
}

/// An entry of the stream, read from the contract in docs/redis.md and not by the crate's own code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) n: u64,
    pub(crate) generation: String,
    pub(crate) users: Vec<(String, String)>,
    pub(crate) forced: bool,
}

impl Entry {
    fn read(pairs: &[String]) -> Self {
        let value = |name: &str| pairs.chunks(2).find(|pair| pair[0] == name).map(|pair| pair[1].clone());
        let users = value("users").map(|json| serde_json::from_str(&json).expect("a JSON list of pairs"));
        Self {
            n: value("n").expect("a number").parse().expect("a number"),
            generation: value("gen").expect("a generation"),
            users: users.unwrap_or_default(),
            forced: value("forced").is_some(),
        }
    }
}

pub(crate) fn mirror_at(url: &str, prefix: &str) -> Mirror {
    let mut options = MirrorOptions::new(SecretString::from(url.to_owned()));
    prefix.clone_into(&mut options.prefix);
    Mirror::new(&options).expect("the URL is a Redis URL")
}

pub(crate) fn at<const N: usize>(users: [&str; N], version: i64) -> Vec<(String, i64)> {
    users.into_iter().map(|user| (user.to_owned(), version)).collect()
}

pub(crate) fn names<const N: usize>(users: [&str; N]) -> Vec<String> {
    users.into_iter().map(str::to_owned).collect()
}

/// A TCP forwarder that can be cut, joined again, and led elsewhere.
pub(crate) struct Wire {
    pub(crate) port: u16,
    target: watch::Sender<Option<u16>>,
}

impl Wire {
    pub(crate) async fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound port").port();
        let (sender, receiver) = watch::channel(Some(target));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(forward(near, receiver.clone()));
            }
        });
        Self { port, target: sender }
    }

    pub(crate) fn cut(&self) {
        self.target.send_replace(None);
    }

    pub(crate) fn lead_to(&self, target: u16) {
        self.target.send_replace(Some(target));
    }
}

/// Carries bytes until the wire is cut or led elsewhere.
async fn forward(mut near: TcpStream, mut target: watch::Receiver<Option<u16>>) {
    let Some(port) = *target.borrow_and_update() else { return };
    let Ok(mut far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        _ = target.changed() => {}
    }
}

/// The port of a `redis://host:port…` URL.
pub(crate) fn port_of(url: &str) -> u16 {
    let rest = url.rsplit(':').next().expect("a URL with a port");
    rest.split('/').next().and_then(|port| port.parse().ok()).expect("a URL with a port")
}

/// A Redis of a test's own; killed when dropped.
pub(crate) struct OwnRedis {
    child: std::process::Child,
    pub(crate) port: u16,
}

impl OwnRedis {
    pub(crate) async fn start() -> Self {
        Self::start_with(|port| vec!["--port".to_owned(), port.to_string()]).await
    }

    /// One that speaks TLS alone.
    pub(crate) async fn start_encrypted(certificate: &Path, key: &Path, authority: &Path) -> Self {
        let path = |path: &Path| path.display().to_string();
        Self::start_with(|port| {
            let options = [
                ("--port", "0".to_owned()),
                ("--tls-port", port.to_string()),
                ("--tls-cert-file", path(certificate)),
                ("--tls-key-file", path(key)),
                ("--tls-ca-cert-file", path(authority)),
                ("--tls-auth-clients", "no".to_owned()),
            ];
            options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
        })
        .await
    }

    async fn start_with(options: impl FnOnce(u16) -> Vec<String>) -> Self {
        let port =
            TcpListener::bind("127.0.0.1:0").await.and_then(|l| l.local_addr()).expect("a port").port();
        let child = std::process::Command::new("redis-server")
            .args(options(port))
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(5));
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            ticks.tick().await;
        }
        Self { child, port }
    }
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
