//! Faults as they strike: each begins at its time, and ends at its own or when all end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use handover_sandbox::{Sandbox, Server, Shutdown};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio_postgres::Client;

use crate::rows;
use crate::traffic::Targets;

use super::chaos_faults::{Kind, Ordered};
use super::chaos_net::{Hurt, Net};
use super::fleet::{Fleet, LEASE};
use super::{Fence, WORKERS, say};

/// How long a process of the application waits to be started again for faults to end by themselves.
const START_AFTER: Duration = Duration::from_secs(4);
/// Keys that somebody deletes by hand.
const KEYS: [&str; 8] = [
    "queue:pause",
    "queue:copy",
    "queue:verify",
    "inflight:copy",
    "inflight:complete",
    "identity",
    "changes",
    "workers",
];

/// What a fault that lasts has to undo.
enum Undo {
    Net(Hurt),
    Replay,
    /// The lock goes with the session.
    Lock(Client),
    StaleCopy,
    Resume(Server),
    Room,
    Continue(String),
}

/// The faults of a run.
pub(super) struct Chaos<'a> {
    pub(super) sandbox: &'a Sandbox,
    pub(super) net: Net,
    pub(super) fence: Fence,
    ordered: Vec<Ordered>,
    active: Vec<(Instant, Kind, Undo)>,
    /// Of the application, what is to be started again, by role.
    due: Vec<(Instant, &'static str)>,
    /// Those that were asked to end.
    leaving: Vec<String>,
    /// Those that struck, by kind.
    pub(super) struck: BTreeMap<String, usize>,
    /// Processes that ended by themselves, and were started again.
    pub(super) revived: usize,
}

impl<'a> Chaos<'a> {
    pub(super) fn new(sandbox: &'a Sandbox, net: Net, fence: Fence, mut ordered: Vec<Ordered>) -> Self {
        ordered.reverse();
        Self {
            sandbox,
            net,
            fence,
            ordered,
            active: Vec::new(),
            due: Vec::new(),
            leaving: Vec::new(),
            struck: BTreeMap::new(),
            revived: 0,
        }
    }

    /// Does what is due, that long after the beginning.
    pub(super) async fn act(&mut self, after: Duration, fleet: &mut Fleet, targets: &Targets) -> Result<()> {
        self.revive(fleet, targets)?;
        let now = Instant::now();
        let over = |(until, ..): &mut (Instant, Kind, Undo)| *until <= now;
        let ending: Vec<_> = self.active.extract_if(.., over).collect();
        for (_, kind, undo) in ending {
            self.end(kind, undo, fleet).await?;
        }
        while let Some(ordered) = self.ordered.pop_if(|ordered| ordered.at <= after) {
            // A fault can come in another's way, such as a lock that is to be taken at a server that is restarted.
            if let Err(error) = Box::pin(self.begin(&ordered, fleet, targets)).await {
                say(&format!("{:?} did not strike: {error:#}", ordered.kind));
            }
        }
        if self.due.first().is_some_and(|(since, _)| self.active.is_empty() || since.elapsed() > START_AFTER)
        {
            self.start_due(fleet, targets).await?;
        }
        Ok(())
    }

    /// Ends all faults.
    pub(super) async fn end_all(&mut self, fleet: &mut Fleet, targets: &Targets) -> Result<()> {
        self.revive(fleet, targets)?;
        self.start_due(fleet, targets).await
    }

    async fn calm(&mut self, fleet: &Fleet) -> Result<()> {
        for (_, kind, undo) in std::mem::take(&mut self.active) {
            self.end(kind, undo, fleet).await?;
        }
        Ok(())
    }

    /// A process of the application must start to be waited for: faults end first.
    async fn start_due(&mut self, fleet: &mut Fleet, targets: &Targets) -> Result<()> {
        self.calm(fleet).await?;
        while let Some((_, role)) = self.due.pop() {
            fleet.start_application(self.sandbox, role).await?;
        }
        targets.set(fleet.urls(None));
        Ok(())
    }

    /// What has ended by itself is started again, as whoever runs the programs would.
    fn revive(&mut self, fleet: &mut Fleet, targets: &Targets) -> Result<()> {
        for (name, status) in fleet.reap() {
            if self.leaving.contains(&name) {
                continue;
            }
            say(&format!("{name} has ended by itself with {status}"));
            self.revived += 1;
            self.start_again(&name, fleet, targets)?;
        }
        Ok(())
    }

    fn start_again(&mut self, name: &str, fleet: &mut Fleet, targets: &Targets) -> Result<()> {
        let program = name.rsplit_once('-').map_or(name, |(program, _)| program);
        let Some(role) = program.strip_prefix("handover-invoicing-") else {
            fleet.start(self.sandbox, program)?;
            return Ok(());
        };
        targets.set(fleet.urls(None));
        self.due.push((Instant::now(), if role == "web" { "web" } else { "scheduler" }));
        Ok(())
    }

    fn strike(&mut self, kind: Kind) {
        *self.struck.entry(format!("{kind:?}")).or_default() += 1;
    }

    async fn begin(&mut self, ordered: &Ordered, fleet: &mut Fleet, targets: &Targets) -> Result<()> {
        let kind = ordered.kind;
        let undo = if Net::strikes(kind) {
            Some(Undo::Net(self.net.begin(ordered, self.fence)))
        } else if kind <= Kind::LockedTable {
            self.begin_postgres(ordered).await?
        } else if kind <= Kind::ScriptFlush {
            self.begin_redis(ordered).await?
        } else {
            self.begin_process(ordered, fleet, targets).await?
        };
        let lasts =
            if kind == Kind::ApplicationStopped { LEASE + Duration::from_secs(1) } else { ordered.lasts };
        match undo {
            // Whether it struck is known when it ends.
            Some(undo) => self.active.push((Instant::now() + lasts, kind, undo)),
            None => self.strike(kind),
        }
        Ok(())
    }

    async fn begin_postgres(&mut self, ordered: &Ordered) -> Result<Option<Undo>> {
        let server = ordered.postgres();
        match ordered.kind {
            Kind::Terminate => {
                let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                            WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
                rows::connect(self.sandbox.url(server)).await?.execute(sql, &[]).await?;
            }
            Kind::FastRestart => self.sandbox.start_again(server, Shutdown::Fast).await?,
            Kind::ImmediateRestart => self.sandbox.start_again(ordered.server(), Shutdown::Immediate).await?,
            Kind::ReplayPaused => {
                self.replica("SELECT pg_wal_replay_pause()").await?;
                return Ok(Some(Undo::Replay));
            }
            _ => {
                let session = rows::connect(&self.sandbox.destination_url()).await?;
                let table = ["reminders.reminder", "handover.open_attempt"][ordered.lot as usize % 2];
                let lock =
                    format!("SET lock_timeout = '2s'; BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
                session.batch_execute(&lock).await?;
                return Ok(Some(Undo::Lock(session)));
            }
        }
        Ok(None)
    }

    async fn begin_redis(&mut self, ordered: &Ordered) -> Result<Option<Undo>> {
        match ordered.kind {
            Kind::Flush => self.redis(&["FLUSHALL"]).await?,
            Kind::ScriptFlush => self.redis(&["SCRIPT", "FLUSH"]).await?,
            Kind::KeyDeleted => {
                let key = format!("handover:{}", KEYS[ordered.lot as usize % KEYS.len()]);
                self.redis(&["DEL", &key]).await?;
            }
            Kind::StaleCopy => {
                self.redis(&["SAVE"]).await?;
                return Ok(Some(Undo::StaleCopy));
            }
            Kind::RedisStopped => {
                self.signal(Server::Redis, Signal::SIGSTOP)?;
                return Ok(Some(Undo::Resume(Server::Redis)));
            }
            _ => {
                self.redis(&["CONFIG", "SET", "maxmemory", "1", "maxmemory-policy", "noeviction"]).await?;
                return Ok(Some(Undo::Room));
            }
        }
        Ok(None)
    }

    async fn begin_process(
        &mut self,
        ordered: &Ordered,
        fleet: &mut Fleet,
        targets: &Targets,
    ) -> Result<Option<Undo>> {
        let own = |name: &String| !name.starts_with("handover-invoicing");
        let of_application = matches!(ordered.kind, Kind::ApplicationKilled | Kind::ApplicationStopped);
        let names: Vec<String> =
            fleet.names("handover-").into_iter().filter(|name| own(name) != of_application).collect();
        let name = names.get(ordered.lot as usize % names.len().max(1)).context("nobody is there")?.clone();
        match ordered.kind {
            Kind::WorkerKilled | Kind::ApplicationKilled => {
                fleet.kill(&name).await?;
                self.start_again(&name, fleet, targets)?;
            }
            Kind::WorkerStopped | Kind::ApplicationStopped => {
                fleet.signal(&name, Signal::SIGSTOP);
                return Ok(Some(Undo::Continue(name)));
            }
            Kind::ScaledUp => {
                fleet.start(self.sandbox, WORKERS[ordered.lot as usize % WORKERS.len()])?;
            }
            _ => {
                let program = WORKERS[ordered.lot as usize % WORKERS.len()];
                let names = fleet.names(program);
                let staying = names.iter().filter(|name| !self.leaving.contains(name)).count();
                ensure!(staying > 1, "the last one is not scaled away");
                let first = names.into_iter().find(|name| !self.leaving.contains(name));
                let first = first.context("one that stays")?;
                fleet.signal(&first, Signal::SIGTERM);
                fleet.signal(&first, Signal::SIGCONT);
                self.leaving.push(first);
            }
        }
        Ok(None)
    }

    async fn end(&mut self, kind: Kind, undo: Undo, fleet: &Fleet) -> Result<()> {
        match undo {
            Undo::Net(hurt) => {
                if self.net.end(&hurt) {
                    self.strike(kind);
                }
                return Ok(());
            }
            Undo::Replay => self.replica("SELECT pg_wal_replay_resume()").await?,
            Undo::Lock(session) => drop(session),
            Undo::StaleCopy => self.sandbox.start_again(Server::Redis, Shutdown::Immediate).await?,
            Undo::Resume(server) => self.signal(server, Signal::SIGCONT)?,
            Undo::Room => self.redis(&["CONFIG", "SET", "maxmemory", "0"]).await?,
            Undo::Continue(name) => fleet.signal(&name, Signal::SIGCONT),
        }
        self.strike(kind);
        Ok(())
    }

    async fn replica(&self, sql: &str) -> Result<()> {
        Ok(rows::connect(&self.sandbox.replica_url()).await?.batch_execute(sql).await?)
    }

    async fn redis(&self, words: &[&str]) -> Result<()> {
        let client = redis::Client::open(self.sandbox.redis_url())?;
        let asking = async {
            let mut connection = client.get_multiplexed_async_connection().await?;
            let mut command = redis::cmd(words[0]);
            command.arg(&words[1..]).exec_async(&mut connection).await
        };
        // It may stand still by another fault's order.
        Ok(tokio::time::timeout(Duration::from_secs(2), asking).await.context("Redis does not answer")??)
    }

    fn signal(&self, server: Server, signal: Signal) -> Result<()> {
        let pid = self.sandbox.pid(server).context("the server is not ours")?;
        Ok(kill(Pid::from_raw(pid as i32), signal)?)
    }
}
