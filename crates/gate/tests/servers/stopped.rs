//! A gate in a process of its own that is stopped by SIGSTOP, as a machine under pressure or a debugger does it: at rest,
//! and in mid-request. And what gates cost a pause, that are stopped and that are not.

use std::process::Stdio;
use std::time::{Duration, Instant};

use handover_identity::Drained;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_postgres::{Client, NoTls};

use crate::application::LISTENING;
use crate::support::{LEASE, REQUEST, Stage, until};

/// Beyond its due, what a busy machine may add to a wait.
const SLACK: Duration = Duration::from_secs(2);

struct Application {
    child: Child,
    address: String,
}

impl Application {
    async fn start(stage: &Stage) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this test's path"));
        command.args(["--exact", "application::serves_in_a_process_of_its_own", "--nocapture"]);
        command
            .env("DATABASE", &stage.database)
            .env("REDIS", stage.redis_url())
            .env("PREFIX", &stage.changes.prefix);
        command
            .env("LEASE", LEASE.as_millis().to_string())
            .env("MAX_REQUEST", REQUEST.as_millis().to_string());
        let mut child =
            command.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("the application starts");
        let out = child.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(out).lines();
        let address = loop {
            let line = lines.next_line().await.expect("readable").expect("its address");
            if let Some(address) = line.strip_prefix(LISTENING) {
                break address.to_owned();
            }
        };
        let this = Self { child, address };
        // It has heard of the stream, and serves the user from its cache.
        until(async || {
            this.ask("GET", "/side").await;
            this.ask("GET", "/cached").await.1 == "legacy"
        })
        .await;
        this
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().expect("it runs");
        kill(Pid::from_raw(pid.cast_signed()), signal).expect("it can be signalled");
    }

    /// Sends a request, which waits in the socket while the application is stopped.
    async fn send(&self, method: &str, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).await.expect("it listens");
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\naccept: application/json\r\n\r\n"
        );
        stream.write_all(text.as_bytes()).await.expect("sent");
        stream
    }

    async fn ask(&self, method: &str, path: &str) -> (u16, String) {
        answer(self.send(method, path).await).await
    }
}

async fn answer(mut stream: TcpStream) -> (u16, String) {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("an answer");
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
    (status, text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

async fn session(stage: &Stage) -> Client {
    let (client, connection) = tokio_postgres::connect(&stage.database, NoTls).await.expect("connected");
    tokio::spawn(connection);
    client.batch_execute("CREATE TABLE IF NOT EXISTS written (side text)").await.expect("made");
    client
}

async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.expect("answered").get(0)
}

/// Pauses the user and drains; returns how it went.
async fn drained(stage: &Stage) -> Drained {
    let position = stage.pause("1", 1).await;
    stage.identity.drain(&["1".to_owned()], Some(&position), Duration::ZERO).await.expect("drained")
}

fn waited_its_whole_term(drained: Drained) {
    assert_eq!((drained.acknowledged, drained.silent), (0, 1), "{drained:?}");
    assert!(drained.waited >= LEASE + REQUEST && drained.waited < LEASE + REQUEST + SLACK, "{drained:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_was_stopped_and_wakes_after_its_lease_does_not_serve_from_its_cache() {
    let stage = Stage::new().await;
    let application = Application::start(&stage).await;
    application.signal(Signal::SIGSTOP);
    waited_its_whole_term(drained(&stage).await);
    stage.flip("1", 1).await;
    // They lie in its sockets when it wakes.
    let (cached, side) = (application.send("GET", "/cached").await, application.send("GET", "/side").await);
    application.signal(Signal::SIGCONT);
    assert_ne!(answer(cached).await.1, "legacy");
    assert_eq!(answer(side).await, (200, "new".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_of_a_gate_stopped_in_mid_request_that_comes_late_is_not_acknowledged() {
    let stage = Stage::new().await;
    let (client, watcher) = (session(&stage).await, session(&stage).await);
    let application = Application::start(&stage).await;
    assert_eq!(application.ask("POST", "/write").await, (200, "legacy".to_owned()));
    client.batch_execute("SELECT pg_advisory_lock(7)").await.expect("locked");
    let request = application.send("POST", "/write").await;
    let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND NOT granted
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    until(async || number(&watcher, waiting).await == 1).await;
    application.signal(Signal::SIGSTOP);
    waited_its_whole_term(drained(&stage).await);
    stage.flip("1", 1).await;
    // Now the statement that was sent before the pause goes through: on the home of before.
    client.batch_execute("SELECT pg_advisory_unlock(7)").await.expect("unlocked");
    until(async || number(&watcher, "SELECT count(*) FROM written WHERE side = 'legacy'").await == 2).await;
    application.signal(Signal::SIGCONT);
    let (status, body) = answer(request).await;
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("outcome-unknown"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledging_gate_costs_a_pause_milliseconds() {
    let stage = Stage::new().await;
    let application = Application::start(&stage).await;
    let mut costs = Vec::new();
    for version in 1..=9 {
        let position = stage.pause("1", version).await;
        let drained =
            stage.identity.drain(&["1".to_owned()], Some(&position), Duration::ZERO).await.expect("drained");
        assert_eq!((drained.acknowledged, drained.silent), (1, 0), "{drained:?}");
        costs.push(drained.waited);
        stage.release("1", version).await;
    }
    costs.sort();
    // The middle one: a busy machine may hold up a few.
    assert!(costs[4] < Duration::from_millis(100), "{costs:?}");
    drop(application);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_emptied_between_the_mirrors_write_and_the_drain_does_not_shorten_the_drain() {
    let stage = Stage::new().await;
    let application = Application::start(&stage).await;
    application.signal(Signal::SIGSTOP);
    let position = stage.pause("1", 1).await;
    stage.stop_heart();
    for key in ["identity", "changes"] {
        stage.delete(key).await;
    }
    for member in stage.identity.truth().members().await.expect("members") {
        stage.delete(&format!("gate:{}", member.id)).await;
    }
    let began = Instant::now();
    let drained =
        stage.identity.drain(&["1".to_owned()], Some(&position), Duration::ZERO).await.expect("drained");
    waited_its_whole_term(drained);
    assert!(began.elapsed() >= LEASE + REQUEST);
    drop(application);
}
