//! Real worker processes on a world. Dropping the fleet kills them.

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use anyhow::{Context, Result, ensure};
use handover_queue::{Queues, RedisTarget};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::process::Child;

use crate::{PATIENCE, World, until};

/// The programs of the five stages, and the reconciler's, in the order in which [`Fleet::of_all`] numbers them.
pub const PROGRAMS: [&str; 6] = [
    "handover-pause",
    "handover-copy",
    "handover-verify",
    "handover-complete",
    "handover-rollback",
    "handover-reconcile",
];

/// Processes of one world, by the number they were started under.
pub struct Fleet<'w> {
    world: &'w World,
    folder: tempfile::TempDir,
    processes: Vec<Process>,
}

struct Process {
    name: String,
    log: PathBuf,
    child: Child,
}

impl<'w> Fleet<'w> {
    /// No process yet.
    pub fn new(world: &'w World) -> Result<Self> {
        Ok(Self { world, folder: tempfile::tempdir()?, processes: Vec::new() })
    }

    /// One process of each program.
    pub fn of_all(world: &'w World) -> Result<Self> {
        let mut fleet = Self::new(world)?;
        for program in PROGRAMS {
            fleet.start(program)?;
        }
        Ok(fleet)
    }

    /// Starts a process; returns its number.
    pub fn start(&mut self, program: &str) -> Result<usize> {
        self.start_with(program, &[])
    }

    /// Starts a process with some settings of its own, such as `WORKER__SHUTDOWN`; returns its number.
    pub fn start_with(&mut self, program: &str, settings: &[(&str, &str)]) -> Result<usize> {
        let number = self.processes.len();
        let name = format!("{program}-{number}");
        let log = self.folder.path().join(format!("{name}.log"));
        let out = File::create(&log)?;
        let mut command = self.world.command(program)?;
        command.envs(settings.iter().map(|(name, value)| (format!("HANDOVER_{name}"), *value)));
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let child = command.spawn().with_context(|| format!("{program} did not start"))?;
        if let Some(pid) = child.id() {
            // So that it ends with the servers, should this process be killed.
            self.world.adopt(&format!("{}-{name}", self.world.database), pid)?;
        }
        self.processes.push(Process { name, log, child });
        Ok(number)
    }

    /// Sends a signal to a process.
    pub fn signal(&self, number: usize, signal: Signal) -> Result<()> {
        let pid = self.processes[number].child.id().context("it has ended")?;
        Ok(kill(Pid::from_raw(pid as i32), signal)?)
    }

    /// A process' id; none once its end was seen.
    pub fn pid(&self, number: usize) -> Option<u32> {
        self.processes[number].child.id()
    }

    /// How a process has ended; none while it goes on.
    pub fn over(&mut self, number: usize) -> Result<Option<ExitStatus>> {
        Ok(self.processes[number].child.try_wait()?)
    }

    /// Waits for the end of a process.
    pub async fn ended(&mut self, number: usize) -> Result<ExitStatus> {
        let waiting = tokio::time::timeout(PATIENCE, self.processes[number].child.wait()).await;
        let status = waiting.with_context(|| format!("it goes on: {}", self.last_words()))?;
        Ok(status?)
    }

    /// Asks a process to stop, and waits until it has, in good order.
    pub async fn stop(&mut self, number: usize) -> Result<()> {
        self.signal(number, Signal::SIGTERM)?;
        let status = self.ended(number).await?;
        ensure!(status.code() == Some(0), "ended with {status}:\n{}", self.log(number));
        Ok(())
    }

    /// Kills a process on the spot.
    pub async fn kill(&mut self, number: usize) -> Result<()> {
        self.signal(number, Signal::SIGKILL)?;
        let status = self.ended(number).await?;
        ensure!(status.signal() == Some(Signal::SIGKILL as i32), "ended with {status}");
        Ok(())
    }

    /// What a process has written so far.
    pub fn log(&self, number: usize) -> String {
        std::fs::read_to_string(&self.processes[number].log).unwrap_or_default()
    }

    /// Waits for something, and tells all processes' last words where it does not come.
    pub async fn until<F>(&self, what: &str, holds: impl FnMut() -> F) -> Result<()>
    where
        F: Future<Output = Result<bool>>,
    {
        let waited = until(what, holds).await;
        waited.map_err(|error| error.context(self.last_words()))
    }

    /// The last lines of every process.
    pub fn last_words(&self) -> String {
        let last = |number: usize| {
            let log = self.log(number);
            let from = log.lines().count().saturating_sub(12);
            let lines: Vec<&str> = log.lines().skip(from).collect();
            format!("--- {}\n{}\n", self.processes[number].name, lines.join("\n"))
        };
        (0..self.processes.len()).map(last).collect()
    }
}

impl World {
    /// The world's queues.
    pub fn queues(&self) -> Result<Queues> {
        let target = RedisTarget::new(self.redis_url().into()).with_prefix(self.prefix.as_str());
        Ok(Queues::new(&target)?)
    }

    /// A connection to Redis for what the queues' own client does not do.
    pub async fn redis(&self) -> Result<redis::aio::MultiplexedConnection> {
        Ok(redis::Client::open(self.redis_url())?.get_multiplexed_async_connection().await?)
    }

    /// A key of this world, such as `queue:copy`.
    pub fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }

    /// The jobs that wait on a stage's list, the next one last.
    pub async fn waiting(&self, stage: &str) -> Result<Vec<Value>> {
        let mut command = redis::cmd("LRANGE");
        command.arg(self.key(&format!("queue:{stage}"))).arg(0).arg(-1);
        let entries: Vec<String> = command.query_async(&mut self.redis().await?).await?;
        entries.iter().map(|entry| Ok(serde_json::from_str(entry)?)).collect()
    }

    /// Puts an entry on a stage's list as an operator would, by hand.
    pub async fn push_raw(&self, stage: &str, entry: &[u8]) -> Result<()> {
        let mut command = redis::cmd("LPUSH");
        command.arg(self.key(&format!("queue:{stage}"))).arg(entry);
        Ok(command.exec_async(&mut self.redis().await?).await?)
    }
}
