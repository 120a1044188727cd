//! What a team would write instead, in Python: set up from the package registry, run beside us, or named and skipped.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use handover_sandbox::Sandbox;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::report::say;
use crate::stage::connect;

/// Processes of each peer: as many as this machine's processors serve best.
const PROCESSES: u64 = 2;

/// How long a peer may take for anything.
const PATIENCE: Duration = Duration::from_mins(2);

const PACKAGES: [&str; 3] = ["psycopg[binary]==3.*", "celery[redis]==5.*", "rq==2.*"];

const FILES: [(&str, &str); 5] = [
    ("move.py", include_str!("../peers/move.py")),
    ("direct.py", include_str!("../peers/direct.py")),
    ("tasks.py", include_str!("../peers/tasks.py")),
    ("send.py", include_str!("../peers/send.py")),
    ("rq_nothing.py", include_str!("../peers/rq_nothing.py")),
];

/// Python with the peers' packages, and the peers' own files.
pub(crate) struct Peers {
    python: PathBuf,
    folder: PathBuf,
    variables: Vec<(&'static str, String)>,
}

/// A running Celery worker.
pub(crate) struct Celery<'p> {
    peers: &'p Peers,
    _worker: Child,
}

impl Peers {
    /// Installs what is missing. An error says why there are no peers.
    pub(crate) async fn install(sandbox: &Sandbox) -> Result<Self> {
        let own = std::env::current_exe()?;
        let target = own.parent().and_then(Path::parent).context("this program lies in no target folder")?;
        let venv = target.join("bench-peers/venv");
        let python = venv.join("bin/python");
        if ran(Command::new(&python).args(["-c", "import psycopg, celery, rq"])).await.is_err() {
            say("installing the peers' packages");
            ran(Command::new("python3").args(["-m", "venv"]).arg(&venv)).await?;
            ran(Command::new(&python).args(["-m", "pip", "install", "-q"]).args(PACKAGES)).await?;
        }
        let folder = sandbox.root().join("peers");
        std::fs::create_dir_all(&folder)?;
        for (name, text) in FILES {
            std::fs::write(folder.join(name), text)?;
        }
        let broker = format!("{}/9", sandbox.redis_url().trim_end_matches('/'));
        let variables = vec![
            ("PEER_SOURCE", sandbox.replica_url()),
            ("PEER_TARGET", sandbox.destination_url()),
            ("PEER_BROKER", broker),
        ];
        Ok(Self { python, folder, variables })
    }

    /// Tables like the destination's own.
    pub(crate) async fn install_tables(&self, destination_url: &str) -> Result<()> {
        let sql = "CREATE SCHEMA peer;
            CREATE TABLE peer.reminder (LIKE reminders.reminder INCLUDING ALL);
            CREATE TABLE peer.recipient (LIKE reminders.recipient INCLUDING ALL);
            ALTER TABLE peer.recipient ADD FOREIGN KEY (reminder_id) REFERENCES peer.reminder (id)";
        Ok(connect(destination_url).await?.batch_execute(sql).await?)
    }

    /// The versions of what is compared with.
    pub(crate) async fn versions(&self) -> Result<String> {
        let code = "import sys, psycopg, celery, rq; from importlib.metadata import version as v; \
            print('Python', sys.version.split()[0], *[f'{n} {v(n)}' for n in ('psycopg', 'celery', 'rq')])";
        Ok(ran(Command::new(&self.python).args(["-c", code])).await?.trim().to_owned())
    }

    fn script(&self, name: &str, arguments: &[String]) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(self.folder.join(name)).args(arguments).current_dir(&self.folder);
        command.envs(self.variables.iter().cloned()).kill_on_drop(true);
        command
    }

    /// Moves these users by plain processes; returns users a second, without the processes' start.
    pub(crate) async fn direct(&self, users: &RangeInclusive<u64>) -> Result<f64> {
        let mut running = Vec::new();
        for nth in 0..PROCESSES {
            let arguments = [users.start() + nth, *users.end(), PROCESSES].map(|number| number.to_string());
            let mut command = self.script("direct.py", &arguments);
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
            let mut lines = BufReader::new(child.stdout.take().context("piped")?).lines();
            let line = tokio::time::timeout(PATIENCE, lines.next_line()).await??;
            ensure!(line.as_deref() == Some("ready"), "a process of the peer did not start");
            running.push(child);
        }
        let began = Instant::now();
        for child in &mut running {
            child.stdin.as_mut().context("piped")?.write_all(b"go\n").await?;
        }
        for child in &mut running {
            let status = tokio::time::timeout(PATIENCE, child.wait()).await??;
            ensure!(status.success(), "a process of the peer ended with {status}");
        }
        Ok(count(users) / began.elapsed().as_secs_f64())
    }

    /// Starts a Celery worker with as many processes, and waits until it works.
    pub(crate) async fn celery(&self) -> Result<Celery<'_>> {
        let arguments = ["-m", "celery", "-A", "tasks", "worker", "--pool", "prefork", "--loglevel", "ERROR"];
        let mut command = Command::new(&self.python);
        command.args(arguments).args(["--concurrency", &PROCESSES.to_string()]).current_dir(&self.folder);
        command.args(["--without-gossip", "--without-mingle"]).envs(self.variables.iter().cloned());
        let worker = command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn()?;
        let celery = Celery { peers: self, _worker: worker };
        celery.nothing(4).await?;
        Ok(celery)
    }

    /// RQ's jobs a second, queued and worked off.
    pub(crate) async fn rq(&self, jobs: u64) -> Result<(f64, f64)> {
        let text = ran(&mut self.script("rq_nothing.py", &[jobs.to_string()])).await?;
        let seconds: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [queued, worked] = seconds[..] else { bail!("RQ says {text}") };
        Ok((jobs as f64 / queued, jobs as f64 / worked))
    }

    async fn broker(&self) -> Result<redis::aio::MultiplexedConnection> {
        let url = &self.variables[2].1;
        Ok(redis::Client::open(url.as_str())?.get_multiplexed_async_connection().await?)
    }
}

impl Celery<'_> {
    /// Moves these users as tasks; returns users a second, from the first that is queued to the last that has moved.
    pub(crate) async fn users(&self, users: &RangeInclusive<u64>) -> Result<f64> {
        let arguments = [*users.start(), *users.end()].map(|number| number.to_string());
        let began = Instant::now();
        ran(&mut self.peers.script("send.py", &arguments)).await?;
        self.drained().await?;
        let seconds = began.elapsed().as_secs_f64();
        let sql = "SELECT count(DISTINCT owner_id) FROM peer.reminder WHERE owner_id BETWEEN $1 AND $2";
        let target = connect(&self.peers.variables[1].1).await?;
        let bounds = (*users.start() as i64, *users.end() as i64);
        let moved: i64 = target.query_one(sql, &[&bounds.0, &bounds.1]).await?.get(0);
        ensure!(moved as f64 >= count(users), "Celery has moved {moved} users of {users:?}");
        Ok(count(users) / seconds)
    }

    /// So many tasks that do nothing; returns queued and worked off a second.
    pub(crate) async fn nothing(&self, tasks: u64) -> Result<f64> {
        let began = Instant::now();
        ran(&mut self.peers.script("send.py", &["nothing".to_owned(), tasks.to_string()])).await?;
        self.drained().await?;
        Ok(tasks as f64 / began.elapsed().as_secs_f64())
    }

    /// Nothing waits, and nothing is unacknowledged.
    async fn drained(&self) -> Result<()> {
        let mut broker = self.peers.broker().await?;
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        let began = Instant::now();
        loop {
            ticks.tick().await;
            let (waiting, held): (u64, u64) =
                redis::pipe().llen("celery").hlen("unacked").query_async(&mut broker).await?;
            if waiting + held == 0 {
                return Ok(());
            }
            ensure!(began.elapsed() < PATIENCE, "Celery does not work its queue off");
        }
    }
}

fn count(users: &RangeInclusive<u64>) -> f64 {
    (users.end() - users.start() + 1) as f64
}

/// Runs a program to its end, and returns what it prints.
async fn ran(command: &mut Command) -> Result<String> {
    let output = tokio::time::timeout(PATIENCE, command.stdin(Stdio::null()).output()).await;
    let output = output.context("it does not end")??;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{} ({})", text.lines().last().unwrap_or("no message"), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
