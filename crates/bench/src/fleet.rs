//! The processes of a bench: workers, Identity's service, and the application with its gates. Dropping it kills them.

use std::fs::File;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use handover_sandbox::Sandbox;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::usage;

/// How long a process may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(40);

/// One process a stage, two of `copy`, and the reconciler.
pub(crate) const WORKERS: [&str; 6] = ["pause", "copy", "copy", "verify", "complete", "reconcile"];

/// Running processes.
pub(crate) struct Fleet {
    settings: Vec<(String, String)>,
    service: String,
    token: String,
    processes: Vec<(String, Child)>,
}

impl Fleet {
    /// No process yet. What the environment says of settings that are not named here holds for the workers.
    pub(crate) fn new(sandbox: &Sandbox, extra: &[(&str, &str)]) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0").context("no port is free")?.local_addr()?.to_string();
        let token = format!("{:032x}", fastrand::u128(..));
        let mut settings = settings(sandbox, &address, &token);
        settings.extend(extra.iter().map(|(name, value)| (format!("HANDOVER_{name}"), (*value).to_owned())));
        Ok(Self { settings, service: format!("http://{address}"), token, processes: Vec::new() })
    }

    /// Starts the workers.
    pub(crate) fn start_workers(&mut self, sandbox: &Sandbox) -> Result<()> {
        WORKERS.iter().try_for_each(|stage| self.start(sandbox, stage).map(|_| ()))
    }

    /// Starts Identity's service, and so many processes of the application, each with a gate.
    pub(crate) async fn start_gates(&mut self, sandbox: &Sandbox, count: usize) -> Result<()> {
        self.start(sandbox, "identity")?;
        let address = self.service.trim_start_matches("http://").to_owned();
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        let answers = async {
            while tokio::net::TcpStream::connect(&address).await.is_err() {
                ticks.tick().await;
            }
        };
        tokio::time::timeout(PATIENCE, answers).await.context("Identity's service does not answer")?;
        for _ in 0..count {
            self.start_application(sandbox).await?;
        }
        Ok(())
    }

    async fn start_application(&mut self, sandbox: &Sandbox) -> Result<()> {
        let application = application(sandbox, &self.service, &self.token);
        let command = command("invoicing")?;
        let at = self.spawn(sandbox, "invoicing", command, &application, true)?;
        let stdout = self.processes[at].1.stdout.take().context("a pipe was asked for")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        line.context("the application does not listen")??.context("the application ended")?;
        // Whatever else it prints must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(())
    }

    fn start(&mut self, sandbox: &Sandbox, program: &str) -> Result<usize> {
        let settings = self.settings.clone();
        self.spawn(sandbox, program, command(program)?, &settings, false)
    }

    fn spawn(
        &mut self,
        sandbox: &Sandbox,
        name: &str,
        mut command: Command,
        settings: &[(String, String)],
        piped: bool,
    ) -> Result<usize> {
        let at = self.processes.len();
        let log = File::create(sandbox.root().join(format!("{name}-{at}.log")))?;
        let stdout = if piped { Stdio::piped() } else { log.try_clone()?.into() };
        command.envs(settings.iter().cloned()).stdin(Stdio::null()).stdout(stdout).stderr(log);
        let child = command.process_group(0).kill_on_drop(true).env("NO_COLOR", "1").spawn();
        let child = child.with_context(|| format!("{name} did not start"))?;
        if let Some(pid) = child.id() {
            sandbox.adopt(name, pid)?;
        }
        self.processes.push((name.to_owned(), child));
        Ok(at)
    }

    /// All processes: name and number.
    pub(crate) fn pids(&self) -> Vec<(String, u32)> {
        self.processes.iter().filter_map(|(name, child)| Some((name.clone(), child.id()?))).collect()
    }

    /// The most memory that any worker ever had, in MiB.
    pub(crate) fn peak_mib(&self) -> f64 {
        let workers = self.pids().into_iter().filter(|(name, _)| WORKERS.contains(&name.as_str()));
        workers.map(|(_, pid)| usage::peak_mib(pid)).fold(0.0, f64::max)
    }

    /// Fails if a process has ended that nobody asked to.
    pub(crate) fn all_run(&mut self) -> Result<()> {
        for (name, child) in &mut self.processes {
            if let Some(status) = child.try_wait()? {
                bail!("{name} has ended by itself with {status}");
            }
        }
        Ok(())
    }

    /// Asks all to end, and waits until they have: those last started first, since gates sign off at the service.
    pub(crate) async fn stop(mut self) {
        for (_, child) in self.processes.iter_mut().rev() {
            if let Some(pid) = child.id() {
                // It may have ended by itself.
                let _ = kill(Pid::from_raw(pid as i32), Signal::SIGTERM);
            }
            // One that does not end in time is killed when the fleet is dropped.
            let _ = tokio::time::timeout(PATIENCE, child.wait()).await;
        }
    }
}

/// The program of that name, as it was built beside this one.
fn command(program: &str) -> Result<Command> {
    let own = std::env::current_exe().context("this program's own path is not known")?;
    let path = own.with_file_name(format!("handover-{program}"));
    ensure!(path.is_file(), "{} is missing: `cargo x bench` builds all that is needed", path.display());
    Ok(Command::new(path))
}

/// How the workers and Identity's service reach the servers. All who ask are gates: nobody is allowed for beside them.
fn settings(sandbox: &Sandbox, address: &str, token: &str) -> Vec<(String, String)> {
    let texts = [
        ("LEGACY__PRIMARY_URL", sandbox.legacy_url()),
        ("LEGACY__REPLICA_URL", sandbox.replica_url()),
        ("DESTINATION__URL", sandbox.destination_url()),
        ("IDENTITY__URL", sandbox.identity_url()),
        ("IDENTITY__HTTP_BIND", address.to_owned()),
        ("IDENTITY__TOKEN", token.to_owned()),
        ("IDENTITY__USER_KEY", "int8".to_owned()),
        ("REDIS__URL", sandbox.redis_url()),
        ("PAUSE__DRAIN", "0s".to_owned()),
    ];
    texts.map(|(name, value)| (format!("HANDOVER_{name}"), value)).to_vec()
}

/// How the application reaches them.
fn application(sandbox: &Sandbox, service: &str, token: &str) -> Vec<(String, String)> {
    let texts = [
        ("LEGACY_URL", sandbox.legacy_url()),
        ("NEW_URL", sandbox.destination_url()),
        ("REDIS_URL", sandbox.redis_url()),
        ("IDENTITY_URL", service.to_owned()),
        ("IDENTITY_TOKEN", token.to_owned()),
        ("ROLE", "web".to_owned()),
    ];
    texts.map(|(name, value)| (format!("INVOICING_{name}"), value)).to_vec()
}
