//! A throw-away redis-server per test, and the few things that all tests do.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use handover_queue::{Claimed, Delivery, Entry, Queues, RedisTarget};
use redis::FromRedisValue;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

pub(crate) const LEASE: Duration = Duration::from_mins(1);
pub(crate) const SHORT_LEASE: Duration = Duration::from_millis(30);
/// Longer than anything takes on a busy machine; only failing tests wait for it.
const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) user: String,
    pub(crate) version: i64,
}

pub(crate) fn job(number: usize) -> Job {
    Job { user: number.to_string(), version: 1 }
}

pub(crate) fn entries(count: usize) -> Vec<Entry<Job>> {
    (0..count).map(|number| Entry::new(job(number), 1_700_000_000_000)).collect()
}

pub(crate) fn users(jobs: &[Delivery<Job>]) -> Vec<&str> {
    jobs.iter().map(|held| held.entry.job.user.as_str()).collect()
}

/// A redis-server that is killed on drop.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    args: Vec<String>,
    dir: TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| Vec::new()).await
    }

    /// `args` gets the port and names further options.
    pub(crate) async fn start_with(args: impl Fn(u16) -> Vec<String>) -> Self {
        // A free port can be taken by another process before the server has it: then try the next.
        for _ in 0..5 {
            let dir = tempfile::tempdir().unwrap();
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let args = args(port);
            let mut child = spawn(port, &args, dir.path());
            if listens(port, &mut child).await {
                return Self { child, port, args, dir };
            }
        }
        panic!("no redis-server came up");
    }

    pub(crate) fn target(&self) -> RedisTarget {
        RedisTarget::new(format!("redis://127.0.0.1:{}/", self.port).into())
    }

    pub(crate) async fn queues(&self) -> Queues {
        Queues::connect(&self.target()).await.unwrap()
    }

    /// Runs a command as an operator would.
    pub(crate) async fn cli<V: FromRedisValue>(&self, command: &[&str]) -> V {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}/", self.port)).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut cmd = redis::cmd(command[0]);
        for arg in &command[1..] {
            cmd.arg(*arg);
        }
        cmd.query_async(&mut connection).await.unwrap()
    }

    /// Kills the server, with all that it holds, and starts an empty one at the same address.
    pub(crate) async fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(self.port, &self.args, self.dir.path());
        assert!(listens(self.port, &mut self.child).await, "the server did not come back");
    }

    /// Freezes the server: it accepts connections and answers nothing.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGKILL also ends a frozen process. An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16, args: &[String], dir: &Path) -> Child {
    let mut command = Command::new("redis-server");
    if !args.iter().any(|arg| arg == "--tls-port") {
        command.args(["--port", &port.to_string()]);
    }
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]).args(args);
    command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("redis-server is installed")
}

async fn listens(port: u16, child: &mut Child) -> bool {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let end = Instant::now() + DEADLINE;
    while Instant::now() < end && child.try_wait().unwrap().is_none() {
        tick.tick().await;
        if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return true;
        }
    }
    false
}

/// Asks again until the answer is there; fails, naming what was waited for, when it takes too long.
pub(crate) async fn until<F, V>(what: &str, mut ask: impl FnMut() -> F) -> V
where
    F: Future<Output = Option<V>>,
{
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let end = Instant::now() + DEADLINE;
    loop {
        tick.tick().await;
        if let Some(value) = ask().await {
            return value;
        }
        assert!(Instant::now() < end, "waited too long until {what}");
    }
}

/// Waits until Redis' clock has moved on by `by`.
pub(crate) async fn redis_time_passes(queues: &Queues, by: Duration) {
    let end = queues.now_ms().await.unwrap() + u64::try_from(by.as_millis()).unwrap();
    until("redis time has passed", || async { (queues.now_ms().await.unwrap() > end).then_some(()) }).await;
}

pub(crate) async fn claim(queues: &Queues, max: usize) -> Vec<Delivery<Job>> {
    let Claimed { jobs, garbled } = queues.claim("copy", "copy-a-1-ff", max, LEASE).await.unwrap();
    assert_eq!(garbled, 0);
    jobs
}

/// Claims as a worker that is killed then: nothing is settled, and the lease runs out soon.
pub(crate) async fn claim_and_die(queues: &Queues, max: usize) -> Vec<Delivery<Job>> {
    queues.claim("copy", "copy-b-2-ee", max, SHORT_LEASE).await.unwrap().jobs
}

/// Recovers until `count` jobs have been taken back.
pub(crate) async fn recover(queues: &Queues, count: usize, max_recoveries: u32) {
    let taken_back = std::cell::Cell::new(0);
    until("the leases have run out", || async {
        let recovered = queues.recover("copy", max_recoveries).await.unwrap();
        taken_back.set(taken_back.get() + recovered.requeued + recovered.poisoned);
        (taken_back.get() >= count).then_some(())
    })
    .await;
    assert_eq!(taken_back.get(), count);
}

/// All users of `copy` that are anywhere in its queue, without doubles.
pub(crate) async fn all_users(queues: &Queues) -> BTreeSet<String> {
    let snapshot = queues.snapshot::<Job>("copy", 1_000_000).await.unwrap();
    assert!(!snapshot.truncated);
    snapshot.jobs.into_iter().map(|job| job.user).collect()
}
