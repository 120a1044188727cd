//! A redis-server a test, a step that does as it is told, and waiting for what must come.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use handover_engine::{Error, Job, Outcome, StageName, Step};
use handover_queue::{Entry, Queues, RedisTarget};
use handover_worker::{Driver, Lifecycle, Limits, Line, Worker};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

/// Longer than anything takes on a busy machine; only failing tests wait for it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
pub(crate) const STAGE: &str = "copy";

/// A redis-server that is killed on drop. It listens on a socket file, so that no port can be taken.
pub(crate) struct Redis {
    child: Child,
    // Kept open: a server whose log nobody reads would be told so by a signal.
    _log: BufReader<ChildStdout>,
    dir: TempDir,
}

impl Redis {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("redis.sock");
        let mut child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("eady to accept connections") {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "redis-server has ended");
        }
        Self { child, _log: log, dir }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.dir.path().join("redis.sock").display())
    }

    pub(crate) fn target(&self) -> RedisTarget {
        target(&self.url())
    }

    pub(crate) fn queues(&self) -> Queues {
        Queues::new(&self.target()).unwrap()
    }

    /// Runs a command as an operator would.
    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        let socket = self.dir.path().join("redis.sock");
        let output = Command::new("redis-cli").arg("-s").arg(socket).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Freezes the server: it accepts connections and answers nothing.
    pub(crate) fn freeze(&self) {
        signal(self.child.id(), "-STOP");
    }

    pub(crate) fn thaw(&self) {
        signal(self.child.id(), "-CONT");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // SIGKILL also ends a frozen process.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

pub(crate) fn signal(pid: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

pub(crate) fn target(url: &str) -> RedisTarget {
    RedisTarget { response_timeout: Duration::from_millis(500), ..RedisTarget::new(url.to_owned().into()) }
}

pub(crate) fn limits() -> Limits {
    Limits {
        concurrency: 2,
        batch: 10,
        lease: Duration::from_secs(30),
        idle_wait: Duration::from_millis(200),
        upkeep: Duration::from_millis(20),
        watchdog: Duration::from_secs(5),
        max_tries: 3,
        max_recoveries: 3,
        backoff_base: Duration::from_millis(1),
        backoff_cap: Duration::from_millis(5),
    }
}

pub(crate) fn job(migration: &str, user: usize) -> Job {
    Job { migration: migration.to_owned(), user: user.to_string(), version: 1 }
}

pub(crate) fn jobs(count: usize) -> Vec<Job> {
    (0..count).map(|user| job("invoices", user)).collect()
}

pub(crate) async fn push(queues: &Queues, jobs: &[Job]) {
    let entries: Vec<Entry<Job>> = jobs.iter().map(|job| Entry::new(job.clone(), 1)).collect();
    queues.push(STAGE, &entries).await.unwrap();
}

type Answer = Box<dyn Fn(&Job) -> Outcome + Send + Sync>;
type GiveUp = Box<dyn Fn(&Job) -> Result<(), Error> + Send + Sync>;

/// A step that does as it is told, and tells what it was asked.
pub(crate) struct Fake {
    answer: Answer,
    give_up: GiveUp,
    /// How many jobs there is room for.
    pub(crate) room: Arc<AtomicUsize>,
    /// One permit lets one batch end.
    pub(crate) hold: Arc<Semaphore>,
    ran: UnboundedSender<Vec<Job>>,
}

impl Fake {
    pub(crate) fn new(
        answer: impl Fn(&Job) -> Outcome + Send + Sync + 'static,
    ) -> (Self, UnboundedReceiver<Vec<Job>>) {
        let (ran, runs) = unbounded_channel();
        let fake = Self {
            answer: Box::new(answer),
            give_up: Box::new(|_| Ok(())),
            room: Arc::new(AtomicUsize::new(usize::MAX)),
            hold: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            ran,
        };
        (fake, runs)
    }

    /// Gives up as told.
    pub(crate) fn giving_up(
        mut self,
        give_up: impl Fn(&Job) -> Result<(), Error> + Send + Sync + 'static,
    ) -> Self {
        self.give_up = Box::new(give_up);
        self
    }

    /// Lets no batch end before a permit is added to what is returned.
    pub(crate) fn held(mut self) -> (Self, Arc<Semaphore>) {
        let hold = Arc::new(Semaphore::new(0));
        self.hold = Arc::clone(&hold);
        (self, hold)
    }
}

impl Step for Fake {
    fn stage(&self) -> StageName {
        StageName::Copy
    }

    async fn capacity(&self, want: usize) -> Result<usize, Error> {
        Ok(want.min(self.room.load(Ordering::SeqCst)))
    }

    async fn run(&self, jobs: &[Job]) -> Vec<Outcome> {
        // A test that has seen enough may not listen any more.
        let _unheard = self.ran.send(jobs.to_vec());
        self.hold.acquire().await.unwrap().forget();
        jobs.iter().map(|job| (self.answer)(job)).collect()
    }

    async fn give_up(&self, job: &Job, _: &str) -> Result<(), Error> {
        (self.give_up)(job)
    }
}

/// A driver at work.
pub(crate) struct Running {
    pub(crate) worker: Arc<Worker>,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(redis: &Redis, step: impl Step, limits: Limits) -> Self {
        let line = Arc::new(Line::new(redis.target()).unwrap());
        let worker = Arc::new(Worker::new(StageName::Copy, line, limits, Lifecycle::new()));
        let task = tokio::spawn(Driver::new(step, Arc::clone(&worker)).run());
        Self { worker, task }
    }

    /// Stops it and waits until it has drained.
    pub(crate) async fn stop(self) {
        self.worker.lifecycle.stop();
        within("the driver drains", self.task).await.unwrap();
    }
}

/// Waits for what must come.
pub(crate) async fn within<F: Future>(claim: &str, future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("waited in vain: {claim}"))
}

/// The next batch that the step was given.
pub(crate) async fn next(runs: &mut UnboundedReceiver<Vec<Job>>) -> Vec<Job> {
    within("a batch runs", runs.recv()).await.unwrap()
}

/// Looks until `holds`.
pub(crate) async fn until<F, R>(claim: &str, mut holds: F)
where
    F: FnMut() -> R,
    R: Future<Output = bool>,
{
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    within(claim, async {
        while !holds().await {
            ticks.tick().await;
        }
    })
    .await;
}

/// Waits until the stage has nothing at all, dead jobs apart.
pub(crate) async fn until_empty(queues: &Queues, stage: &str) {
    until("the stage is empty", async || {
        let depth = queues.depth(stage).await.unwrap();
        depth.waiting + depth.inflight + depth.delayed == 0
    })
    .await;
}

/// Everything on a stage's list, taken off it, as (user, tries).
pub(crate) async fn take(queues: &Queues, stage: &str) -> Vec<(Job, u32)> {
    let claimed = queues.claim::<Job>(stage, "test", 1000, Duration::from_mins(1)).await.unwrap();
    let seen = claimed.jobs.iter().map(|held| (held.entry.job.clone(), held.entry.tries)).collect();
    queues.ack(stage, claimed.jobs, None).await.unwrap();
    seen
}
