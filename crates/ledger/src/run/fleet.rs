//! The processes of a run: workers, Identity's service, the application. Dropping the fleet kills them.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use handover_sandbox::Sandbox;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::Fence;

/// For how long a gate relies on what it has heard; a silent one costs a pause this and [`MAX_REQUEST`].
pub(super) const LEASE: Duration = Duration::from_secs(3);
/// For how long a request may last.
pub(super) const MAX_REQUEST: Duration = Duration::from_secs(3);
/// For how long a request is held: longer than a silent gate costs, so that nobody is refused for its sake.
const HOLD_FOR: Duration = Duration::from_secs(12);
/// How long a process may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(40);

/// Running processes by name.
pub(super) struct Fleet {
    folder: PathBuf,
    settings: Vec<(String, String)>,
    application: Vec<(String, String)>,
    service: String,
    processes: BTreeMap<String, Process>,
    started: usize,
}

struct Process {
    child: Child,
    /// Where it listens, if it is one of the application's.
    url: Option<String>,
}

impl Fleet {
    /// No process yet; each will log into the folder.
    pub(super) fn new(sandbox: &Sandbox, folder: &Path, fence: Fence) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let address = free_address()?;
        let token = format!("{:032x}", fastrand::u128(..));
        let service = format!("http://{address}");
        Ok(Self {
            folder: folder.to_owned(),
            settings: settings(sandbox, fence, &address, &token),
            application: application(sandbox, &service, &token),
            service,
            processes: BTreeMap::new(),
            started: 0,
        })
    }

    /// Where Identity's service listens.
    pub(super) fn service(&self) -> &str {
        &self.service
    }

    /// From now on processes are told other URLs: of handover's own programs, and of the application. From, to.
    pub(super) fn reroute(&mut self, own: &[(String, String)], application: &[(String, String)]) {
        for (settings, routes) in [(&mut self.settings, own), (&mut self.application, application)] {
            for (_, value) in settings {
                if let Some((_, to)) = routes.iter().find(|(from, _)| from == value) {
                    value.clone_from(to);
                }
            }
        }
    }

    /// Those that have ended by themselves, each with what it came to; they are forgotten.
    pub(super) fn reap(&mut self) -> Vec<(String, String)> {
        let mut ended = Vec::new();
        self.processes.retain(|name, process| match process.child.try_wait() {
            Ok(Some(status)) => {
                ended.push((name.clone(), status.to_string()));
                false
            }
            _ => true,
        });
        ended
    }

    /// Starts a process of handover's own; returns its name.
    pub(super) fn start(&mut self, sandbox: &Sandbox, program: &str) -> Result<String> {
        let mut command = Command::new(path(program)?);
        command.envs(self.settings.clone());
        if program == "handover-rollback" {
            // A batch is paused together, and carrying back takes its users one after the other.
            command.env("HANDOVER_WORKER__BATCH", "4");
        }
        let name = self.name(program);
        let log = self.log(&name)?;
        let child = spawn(command.stdout(log.try_clone()?).stderr(log), program)?;
        self.enter(sandbox, &name, child, None)?;
        Ok(name)
    }

    /// Waits until Identity's service answers.
    pub(super) async fn service_answers(&mut self) -> Result<()> {
        let address = self.service.trim_start_matches("http://").to_owned();
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        let answers = async {
            while tokio::net::TcpStream::connect(&address).await.is_err() {
                ticks.tick().await;
                self.all_run()?;
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, answers).await.context("Identity's service does not answer")?
    }

    /// Starts a process of the application in that role, and waits until it listens; returns its name.
    pub(super) async fn start_application(&mut self, sandbox: &Sandbox, role: &str) -> Result<String> {
        let program = "handover-invoicing";
        let mut command = Command::new(path(program)?);
        command.envs(self.application.clone()).env("INVOICING_ROLE", role);
        let name = self.name(&format!("{program}-{role}"));
        let log = self.log(&name)?;
        let mut child = spawn(command.stdout(Stdio::piped()).stderr(log), program)?;
        let stdout = child.stdout.take().context("a pipe was asked for")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        let line = line.with_context(|| format!("{name} does not listen"))??;
        let line = line.with_context(|| format!("{name} ended:\n{}", self.last_words(&name)))?;
        let told: serde_json::Value = serde_json::from_str(&line).context("its first line is not JSON")?;
        let url = told["listening"].as_str().context("it does not say where it listens")?.to_owned();
        // Whatever else it prints must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        self.enter(sandbox, &name, child, Some(url))?;
        Ok(name)
    }

    /// The names of the processes that begin so.
    pub(super) fn names(&self, prefix: &str) -> Vec<String> {
        self.processes.keys().filter(|name| name.starts_with(prefix)).cloned().collect()
    }

    /// Where the application's web processes listen, but for those named.
    pub(super) fn urls(&self, but: Option<&str>) -> Vec<String> {
        let serves = |(name, process): (&String, &Process)| {
            let serves = !name.contains("-scheduler-") && Some(name.as_str()) != but;
            process.url.clone().filter(|_| serves)
        };
        self.processes.iter().filter_map(serves).collect()
    }

    /// Asks a process to end, and waits until it has, in good order.
    pub(super) async fn stop(&mut self, name: &str) -> Result<()> {
        if let Some(process) = self.processes.get(name) {
            signal(&process.child, Signal::SIGTERM);
        }
        self.ended(name).await
    }

    async fn ended(&mut self, name: &str) -> Result<()> {
        let mut process = self.processes.remove(name).with_context(|| format!("there is no {name}"))?;
        let ended = tokio::time::timeout(PATIENCE, process.child.wait()).await;
        let status = ended.with_context(|| format!("{name} does not end"))??;
        ensure!(status.success(), "{name} ended with {status}:\n{}", self.last_words(name));
        Ok(())
    }

    /// Sends a process a signal.
    pub(super) fn signal(&self, name: &str, what: Signal) {
        if let Some(process) = self.processes.get(name) {
            signal(&process.child, what);
        }
    }

    /// Kills a process on the spot.
    pub(super) async fn kill(&mut self, name: &str) -> Result<()> {
        let mut process = self.processes.remove(name).with_context(|| format!("there is no {name}"))?;
        signal(&process.child, Signal::SIGKILL);
        process.child.wait().await?;
        Ok(())
    }

    /// Asks all to end, and waits for them: first the application, whose gates sign off at Identity's service.
    pub(super) async fn stop_all(&mut self) -> Result<()> {
        for group in ["handover-invoicing", ""] {
            let names = self.names(group);
            for process in names.iter().filter_map(|name| self.processes.get(name)) {
                signal(&process.child, Signal::SIGTERM);
            }
            for name in &names {
                self.ended(name).await?;
            }
        }
        Ok(())
    }

    /// Fails if a process has ended that nobody asked to.
    pub(super) fn all_run(&mut self) -> Result<()> {
        let mut ended = None;
        for (name, process) in &mut self.processes {
            if let Some(status) = process.child.try_wait()? {
                ended = Some((name.clone(), status));
            }
        }
        if let Some((name, status)) = ended {
            bail!("{name} has ended by itself with {status}:\n{}", self.last_words(&name));
        }
        Ok(())
    }

    fn name(&mut self, what: &str) -> String {
        self.started += 1;
        format!("{what}-{}", self.started)
    }

    fn log(&self, name: &str) -> Result<File> {
        let path = self.folder.join(format!("{name}.log"));
        File::create(&path).with_context(|| format!("failed to write {}", path.display()))
    }

    fn enter(&mut self, sandbox: &Sandbox, name: &str, child: Child, url: Option<String>) -> Result<()> {
        if let Some(pid) = child.id() {
            sandbox.adopt(name, pid)?;
        }
        self.processes.insert(name.to_owned(), Process { child, url });
        Ok(())
    }

    fn last_words(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.folder.join(format!("{name}.log"))).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

fn spawn(command: &mut Command, program: &str) -> Result<Child> {
    // A group of its own: Ctrl-C at the terminal is for the ledger, which then ends its processes itself.
    command.stdin(Stdio::null()).process_group(0).kill_on_drop(true).env("NO_COLOR", "1");
    command.spawn().with_context(|| format!("{program} did not start"))
}

fn signal(child: &Child, signal: Signal) {
    if let Some(pid) = child.id() {
        // It may have ended by itself.
        let _ = kill(Pid::from_raw(pid as i32), signal);
    }
}

/// The program of that name, as it was built beside this one.
fn path(program: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("this program's own path is not known")?;
    let path = own.with_file_name(program);
    ensure!(path.is_file(), "{} is missing: `cargo x ledger` builds all that is needed", path.display());
    Ok(path)
}

/// An address that is free now: its port is told to the service and to the application.
fn free_address() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no port is free")?;
    Ok(listener.local_addr()?.to_string())
}

/// How the workers and Identity's service reach the servers.
fn settings(sandbox: &Sandbox, fence: Fence, address: &str, token: &str) -> Vec<(String, String)> {
    let texts = [
        ("LEGACY__PRIMARY_URL", sandbox.legacy_url()),
        ("LEGACY__REPLICA_URL", sandbox.replica_url()),
        ("DESTINATION__URL", sandbox.destination_url()),
        ("IDENTITY__URL", sandbox.identity_url()),
        ("IDENTITY__HTTP_BIND", address.to_owned()),
        ("IDENTITY__TOKEN", token.to_owned()),
        ("IDENTITY__USER_KEY", "int8".to_owned()),
        ("REDIS__URL", sandbox.redis_url()),
        // All who ask are gates: nobody has to be allowed for beside them.
        ("PAUSE__DRAIN", "0s".to_owned()),
        ("PAUSE__MAX_PAUSE", "30s".to_owned()),
        ("FENCE__DATABASE", (fence == Fence::Database).to_string()),
        ("COPY__REPLICA_WAIT", "5s".to_owned()),
        ("WORKER__CONCURRENCY", "2".to_owned()),
        ("WORKER__BATCH", "16".to_owned()),
        ("WORKER__LEASE", "10s".to_owned()),
        ("RECONCILE__HEARTBEAT", "500ms".to_owned()),
        // The faults are ordered: a cohort goes on however many of its moves they make fail.
        ("BREAKER__FAILURE_RATE", "1".to_owned()),
        ("BREAKER__MAX_MISMATCHES", "1000000".to_owned()),
        ("POSTGRES__STATEMENT_TIMEOUT", "10s".to_owned()),
        ("POSTGRES__IDLE_IN_TRANSACTION_TIMEOUT", "10s".to_owned()),
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
        ("LEASE", format!("{}ms", LEASE.as_millis())),
        ("MAX_REQUEST", format!("{}ms", MAX_REQUEST.as_millis())),
        ("HOLD_FOR", format!("{}ms", HOLD_FOR.as_millis())),
        ("TICK", "250ms".to_owned()),
    ];
    texts.map(|(name, value)| (format!("INVOICING_{name}"), value)).to_vec()
}
