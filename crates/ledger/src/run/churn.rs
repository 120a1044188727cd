//! Gates that join and leave: application processes are started, asked to end, killed, or stopped for longer than
//! their lease, while requests flow.

use std::time::Duration;

use anyhow::Result;
use handover_sandbox::Sandbox;
use nix::sys::signal::Signal;

use crate::record;
use crate::traffic::Targets;

use super::Config;
use super::fleet::{Fleet, LEASE, MAX_REQUEST};

/// Web processes in the beginning.
const WEB: usize = 3;
/// Processes that send due reminders.
const SCHEDULERS: usize = 2;
/// Time between two joins or leaves in a long run.
const EVERY: Duration = Duration::from_secs(15);
/// The same of kills and stops: each makes the pauses of the next seconds long.
const KILL_EVERY: Duration = Duration::from_mins(1);

/// What happens to the application's processes, and when.
pub(super) struct Churn {
    rng: fastrand::Rng,
    every: Duration,
    kill_every: Duration,
    next: Duration,
    next_kill: Duration,
    /// Times during which a gate that died in silence was still waited for: from, until.
    pub(super) silent: Vec<(i64, i64)>,
    /// Processes that were killed.
    pub(super) killed: usize,
    /// Processes that were stopped for longer than their lease, and went on.
    pub(super) stopped: usize,
    next_trouble: Trouble,
    /// Processes that joined or left in order.
    pub(super) joined_or_left: usize,
}

impl Churn {
    /// At least two joins or leaves and one kill, however short the run.
    pub(super) fn new(config: &Config) -> Self {
        let lasts = config.lasts();
        let (every, kill_every) = (EVERY.min(lasts / 4), KILL_EVERY.min(lasts / 2));
        Self {
            rng: fastrand::Rng::with_seed(config.seed ^ 0x0063_6875_726e),
            every,
            kill_every,
            next: every,
            next_kill: kill_every.mul_f64(0.9),
            silent: Vec::new(),
            killed: 0,
            stopped: 0,
            next_trouble: Trouble::StoppedAndKilled,
            joined_or_left: 0,
        }
    }

    /// Starts the first processes.
    pub(super) async fn begin(fleet: &mut Fleet, sandbox: &Sandbox) -> Result<()> {
        for _ in 0..WEB {
            fleet.start_application(sandbox, "web").await?;
        }
        for _ in 0..SCHEDULERS {
            fleet.start_application(sandbox, "scheduler").await?;
        }
        Ok(())
    }

    /// Does what is due, that long after the beginning.
    pub(super) async fn act(
        &mut self,
        after: Duration,
        fleet: &mut Fleet,
        sandbox: &Sandbox,
        targets: &Targets,
    ) -> Result<()> {
        if after >= self.next_kill {
            self.next_kill += self.kill_every;
            self.trouble(fleet, sandbox, targets).await?;
        }
        if after >= self.next {
            self.next += self.every;
            self.joined_or_left += 1;
            let web = fleet.names("handover-invoicing-web");
            if web.len() > WEB - 1 && self.rng.bool() {
                let leaving = &web[self.rng.usize(..web.len())];
                // As a load balancer does: first no new requests, then the end.
                targets.set(fleet.urls(Some(leaving)));
                fleet.stop(leaving).await?;
            } else {
                fleet.start_application(sandbox, "web").await?;
                targets.set(fleet.urls(None));
            }
        }
        Ok(())
    }

    /// Kills a process on the spot, with requests in it, and puts another one in its place; or stops it for longer
    /// than its lease, and lets it go on.
    async fn trouble(&mut self, fleet: &mut Fleet, sandbox: &Sandbox, targets: &Targets) -> Result<()> {
        let sends = self.rng.bool() && self.next_trouble == Trouble::Killed;
        let role = if sends { "scheduler" } else { "web" };
        let names = fleet.names(&format!("handover-invoicing-{role}"));
        let name = names[self.rng.usize(..names.len())].clone();
        let from = record::now();
        let asleep = match self.next_trouble {
            Trouble::Killed => Duration::ZERO,
            // Requests gather in it, and die with it.
            Trouble::StoppedAndKilled => Duration::from_millis(self.rng.u64(50..300)),
            Trouble::Stopped => LEASE + Duration::from_secs(1),
        };
        if !asleep.is_zero() {
            fleet.signal(&name, Signal::SIGSTOP);
            tokio::time::sleep(asleep).await;
        }
        if self.next_trouble == Trouble::Stopped {
            fleet.signal(&name, Signal::SIGCONT);
            self.stopped += 1;
        } else {
            fleet.kill(&name).await?;
            self.killed += 1;
            fleet.start_application(sandbox, role).await?;
            targets.set(fleet.urls(None));
        }
        let waited_for = (asleep + LEASE + MAX_REQUEST + Duration::from_secs(1)).as_micros() as i64;
        self.silent.push((from, from + waited_for));
        self.next_trouble = self.next_trouble.next();
        Ok(())
    }
}

/// What a process meets, in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    StoppedAndKilled,
    Stopped,
    Killed,
}

impl Trouble {
    fn next(self) -> Self {
        match self {
            Self::StoppedAndKilled => Self::Stopped,
            Self::Stopped => Self::Killed,
            Self::Killed => Self::StoppedAndKilled,
        }
    }
}
