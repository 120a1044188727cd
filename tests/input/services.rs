//! The real services on a world: Identity's, a worker's health address, the sidecar in two modes with its own, and the
//! hybrid application.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use handover_sandbox::Server;
use handover_tests::{Setup, World, until};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::wire::ask;

/// The token of everything.
pub(crate) const TOKEN: &str = "s3cret-of-the-tests";
/// The same, as a header has it.
pub(crate) const BEARER: &str = "Bearer s3cret-of-the-tests";
/// Connections that the sidecar takes.
pub(crate) const SIDECAR_CONNECTIONS: usize = 50;

/// A service that runs.
pub(crate) struct Service {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    /// A path that anybody may ask, and is answered 200.
    pub(crate) good: &'static str,
    pub(crate) pid: u32,
    /// How long a connection may be silent here.
    pub(crate) silence: Duration,
    /// The most connections, where so many can be tried.
    pub(crate) connections: Option<usize>,
}

/// All of them. Dropped, they are killed.
pub(crate) struct Services {
    pub(crate) world: World,
    pub(crate) all: Vec<Service>,
    processes: Vec<Child>,
}

impl Services {
    /// Starts them, for users with keys of that type.
    pub(crate) async fn start() -> Result<Self> {
        let world = Box::pin(World::new(Setup { users: 3, ..Setup::default() })).await?;
        let mut services = Self { world, all: Vec::new(), processes: Vec::new() };
        let identity = services.identity("int8").await?;
        services.listed("Identity's service", identity, "/healthz", 10, None);
        let reconciler = services.worker("handover-reconcile").await?;
        services.listed("a worker's health address", reconciler, "/healthz", 5, Some(64));
        let application = services.application(identity.0).await?;
        services.listed("the hybrid application", application, "/healthz", 20, None);
        for mode in ["native", "proxy"] {
            let (traffic, health, pid) = services.sidecar(mode, identity.0, application.0).await?;
            let (name, probes, good) = match mode {
                "native" => ("the sidecar", "the sidecar's health address", "/.well-known/handover?user=1"),
                _ => ("the sidecar as a proxy", "the proxy's health address", "/healthz"),
            };
            services.listed(name, (traffic, pid), good, 10, Some(SIDECAR_CONNECTIONS));
            services.listed(probes, (health, pid), "/healthz", 5, Some(64));
        }
        Ok(services)
    }

    /// Identity's service alone, for keys of that type.
    pub(crate) async fn identity_alone(key: &'static str) -> Result<Self> {
        let world = Box::pin(World::new(Setup { users: 1, ..Setup::default() })).await?;
        let mut services = Self { world, all: Vec::new(), processes: Vec::new() };
        let identity = services.identity(key).await?;
        services.listed("Identity's service", identity, "/healthz", 10, None);
        Ok(services)
    }

    pub(crate) fn named(&self, name: &str) -> &Service {
        self.all.iter().find(|service| service.name == name).expect("there is such a service")
    }

    fn listed(
        &mut self,
        name: &'static str,
        (port, pid): (u16, u32),
        good: &'static str,
        silence: u64,
        connections: Option<usize>,
    ) {
        let silence = Duration::from_secs(silence);
        self.all.push(Service { name, port, good, pid, silence, connections });
    }

    async fn identity(&mut self, key: &str) -> Result<(u16, u32)> {
        let mut command = self.world.command("handover-identity")?;
        command.env("HANDOVER_IDENTITY__HTTP_BIND", "127.0.0.1:0");
        command.env("HANDOVER_IDENTITY__TOKEN", TOKEN).env("HANDOVER_IDENTITY__USER_KEY", key);
        let (ports, pid) = self.spawn(command, &[" http="]).await?;
        Ok((ports[0], pid))
    }

    async fn worker(&mut self, program: &str) -> Result<(u16, u32)> {
        let mut command = self.world.command(program)?;
        command.env("HANDOVER_WORKER__TOKEN", TOKEN);
        let (ports, pid) = self.spawn(command, &[" http="]).await?;
        Ok((ports[0], pid))
    }

    async fn sidecar(&mut self, mode: &str, identity: u16, upstream: u16) -> Result<(u16, u16, u32)> {
        let mut command = self.world.command("handover-gate")?;
        command.args([mode, "--bind", "127.0.0.1:0", "--health-bind", "127.0.0.1:0"]);
        command.args(["--identity-url", &format!("http://127.0.0.1:{identity}")]);
        command.args(["--redis-url", &self.world.redis_url(), "--redis-prefix", &self.world.prefix]);
        command.args(["--migration", "invoice-reminders", "--user-path", "/users/{user}/"]);
        command.args(["--max-connections", &SIDECAR_CONNECTIONS.to_string(), "--max-request", "5s"]);
        if mode == "proxy" {
            command.args(["--upstream", &format!("http://127.0.0.1:{upstream}"), "--max-body", "100000"]);
        }
        command.env("HANDOVER_GATE_TOKEN", TOKEN).env("HANDOVER_GATE_IDENTITY_TOKEN", TOKEN);
        let (ports, pid) = self.spawn(command, &[" http=", " health="]).await?;
        Ok((ports[0], ports[1], pid))
    }

    async fn application(&mut self, identity: u16) -> Result<(u16, u32)> {
        let world = &self.world;
        let mut command = world.command("handover-invoicing")?;
        for (name, value) in [
            ("LEGACY_URL", world.url(Server::Legacy)?),
            ("NEW_URL", world.url(Server::Destination)?),
            ("REDIS_URL", world.redis_url()),
            ("REDIS_PREFIX", world.prefix.clone()),
            ("IDENTITY_URL", format!("http://127.0.0.1:{identity}")),
            ("IDENTITY_TOKEN", TOKEN.to_owned()),
            ("ROLE", "web".to_owned()),
        ] {
            command.env(format!("INVOICING_{name}"), value);
        }
        let (ports, pid) = self.spawn(command, &["listening on http:"]).await?;
        Ok((ports[0], pid))
    }

    /// Starts a program; returns the ports that it says behind these words, and its process.
    async fn spawn(&mut self, mut command: Command, words: &[&str]) -> Result<(Vec<u16>, u32)> {
        command.env("HANDOVER_LOG__FORMAT", "text").stdin(Stdio::null());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let pid = child.id().context("it has just begun")?;
        let mut lines = BufReader::new(child.stderr.take().context("a pipe was asked for")?).lines();
        let ports = loop {
            let line = lines.next_line().await?.context("it ended before it listened")?;
            let port = |word: &&str| {
                let address = line.split_once(*word)?.1.split_whitespace().next()?;
                address.trim_matches('"').rsplit(':').next()?.parse().ok()
            };
            let found: Vec<u16> = words.iter().filter_map(port).collect();
            if found.len() == words.len() {
                break found;
            }
        };
        // Whatever else it says must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        self.processes.push(child);
        Ok((ports, pid))
    }

    /// Waits until the service answers a good request.
    pub(crate) async fn answers(service: &Service) -> Result<()> {
        let good = || async {
            Ok(ask(service.port, "GET", service.good, &[("Authorization", BEARER)], "").await.status == 200)
        };
        until(&format!("{} answers {}", service.name, service.good), good).await
    }
}

impl Service {
    /// The memory that its process holds, in KiB.
    pub(crate) fn memory(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))
            .with_context(|| format!("{} has ended", self.name))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}
