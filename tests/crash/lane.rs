//! One world with its fleet, through which waves go one after the other, each with users of its own. The lane restarts
//! what was killed, as a supervisor does, and wakes what was stopped once its lease has passed.

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use handover_sandbox::Server;
use handover_tests::{Fleet, PROGRAMS, World};
use handover_tracking::CohortInfo;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::image::{Eyes, Image, ensure_same};
use crate::waves::{Needs, RECONCILE, Wave, Way};
use crate::{Blow, CHANGE, MIGRATION, USERS};

/// Users of one claim.
const BATCH: usize = 3;
/// Processes that are struck side by side.
const AT_ONCE: usize = 5;
/// How long a stopped process lies: longer than the lease of three seconds, and one look of whoever recovers.
const LIES: Duration = Duration::from_millis(3_600);
/// How often a wave is sent for points that were not struck, since others came first.
const ROUNDS: usize = 5;
/// What must come, comes within this.
const PATIENCE: Duration = Duration::from_mins(2);
/// For how long all is as it should be before it is taken for granted that no strike comes any more.
const SETTLED: Duration = Duration::from_secs(4);
/// Time between two looks at processes, and at the servers.
const LOOK: Duration = Duration::from_millis(25);
const COMPARE: Duration = Duration::from_millis(250);

/// What every process is told beside the world's settings. Failures that are ordered use up no tries.
const SETTINGS: &[(&str, &str)] = &[
    ("WORKER__CONCURRENCY", "1"),
    ("WORKER__BATCH", "3"),
    ("WORKER__MAX_TRIES", "100"),
    ("WORKER__MAX_RECOVERIES", "50"),
    ("WORKER__BACKOFF_BASE", "20ms"),
];

struct Process {
    number: usize,
    program: &'static str,
}

/// A strike as it is on record.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Strike {
    point: String,
    action: String,
    pid: u32,
}

/// A world, its fleet, and what has happened in it.
pub(crate) struct Lane<'w> {
    world: &'w World,
    expected: &'w Image,
    eyes: Eyes<'w>,
    fleet: Fleet<'w>,
    processes: Vec<Process>,
    records: tempfile::TempDir,
    /// Users who were in no wave yet.
    left: Vec<u64>,
    used: Vec<String>,
    rounds: usize,
}

/// One round of a wave, while it goes on.
struct Round {
    record: PathBuf,
    blow: Blow,
    /// Points that are to be struck.
    points: Vec<&'static str>,
    /// Strikes that were seen, with the time.
    seen: Vec<(Strike, Instant)>,
    /// How many of them were woken.
    woken: usize,
    /// Whether a fresh process stands in for those that were struck.
    has_spare: bool,
}

impl<'w> Lane<'w> {
    pub(crate) async fn new(world: &'w World, expected: &'w Image) -> Result<Self> {
        Ok(Self {
            world,
            expected,
            eyes: Eyes::open(world).await?,
            fleet: Fleet::new(world)?,
            processes: Vec::new(),
            records: tempfile::tempdir()?,
            left: (1..=USERS).collect(),
            used: Vec::new(),
            rounds: 0,
        })
    }

    /// Sends a wave until each of its points was struck by that blow, and all users have recovered.
    pub(crate) async fn send(&mut self, wave: &Wave, blow: Blow) -> Result<()> {
        let side_by_side = if is_in_turn(wave, blow) { usize::MAX } else { AT_ONCE };
        for points in wave.points.chunks(side_by_side.min(wave.points.len())) {
            let mut left = points.to_vec();
            for _ in 0..ROUNDS {
                if !left.is_empty() {
                    let round = Box::pin(self.round(wave, blow, left.clone())).await;
                    left = round.map_err(|error| {
                        let about = format!("{} {left:?} {blow:?}", wave.program);
                        error.context(self.fleet.last_words()).context(about)
                    })?;
                }
            }
            ensure!(
                left.is_empty(),
                "{left:?} {blow:?} never struck {} (`cargo build --workspace` arms it)",
                wave.program
            );
        }
        Ok(())
    }

    /// After all waves: whoever was struck in any of them is still as if nothing had been, also behind those that
    /// woke late.
    pub(crate) async fn end(&mut self) -> Result<()> {
        ensure_same(&self.eyes.image(&self.used).await?, self.expected)?;
        if let Some(unrest) = self.eyes.unrest().await? {
            bail!("not at rest: {unrest}");
        }
        for cohort in self.world.engine.tracking.cohorts().await? {
            let status = self.world.engine.tracking.status(&cohort).await?;
            ensure!(status.users.unsettled() == 0, "{status:?}");
        }
        Ok(())
    }

    async fn round(
        &mut self,
        wave: &Wave,
        blow: Blow,
        points: Vec<&'static str>,
    ) -> Result<Vec<&'static str>> {
        self.rounds += 1;
        let in_turn = is_in_turn(wave, blow);
        let batches = if in_turn { 1 } else { points.len() };
        let users = self.draw(wave.way, batches * BATCH)?;
        let cohort = self.cohort(wave, &users).await?;
        self.end_all(wave.program).await?;
        self.prepare(wave, &cohort, &users).await?;
        let record = self.records.path().join(format!("round-{}", self.rounds));
        let mut round = Round {
            record,
            blow,
            points,
            seen: Vec::new(),
            woken: 0,
            has_spare: in_turn && blow == Blow::Error,
        };
        self.attack(wave, &round, in_turn)?;
        self.recover(wave, &mut round, &users, in_turn).await?;
        self.end_all(wave.program).await?;
        if let Some((program, _)) = wave.elsewhere {
            self.end_all(program).await?;
        }
        Ok(round.left())
    }

    /// Whether there are users enough for a wave and for some of its points once more.
    pub(crate) fn has_room(&self, wave: &Wave) -> bool {
        let left = self.left.iter().filter(|user| Way::of(**user) == wave.way).count();
        left >= (wave.points.len() + 1) * BATCH
    }

    /// Users of that way who were in no wave yet.
    fn draw(&mut self, way: Way, many: usize) -> Result<Vec<String>> {
        let of_way = self.left.iter().copied().filter(|user| Way::of(*user) == way);
        let drawn: Vec<u64> = of_way.take(many).collect();
        ensure!(drawn.len() == many, "no user of way {way:?} is left");
        self.left.retain(|user| !drawn.contains(user));
        Ok(drawn.iter().map(u64::to_string).collect())
    }

    /// A cohort of these users, who have been moved and changed undisturbed where they are to go back.
    async fn cohort(&mut self, wave: &Wave, users: &[String]) -> Result<CohortInfo> {
        let names: Vec<&str> = users.iter().map(String::as_str).collect();
        let cohort = self.world.cohort(MIGRATION, &format!("w{}", self.rounds), &names).await?;
        self.used.extend_from_slice(users);
        if Way::BACK.contains(&wave.way) {
            self.start_all()?;
            let tracking = &self.world.engine.tracking;
            tracking.launch(&cohort, None).await?;
            let all = users.len() as i64;
            let moved = || async { Ok(tracking.status(&cohort).await?.users.completed == all) };
            self.fleet.until("they are moved, undisturbed", moved).await?;
            if wave.way.is_changed() {
                let client = self.world.client(Server::Destination).await?;
                client.execute(CHANGE, &[&users]).await?;
            }
        }
        Ok(cohort)
    }

    /// Everything that the wave's points need, short of the program itself; the users' jobs wait for it.
    async fn prepare(&mut self, wave: &Wave, cohort: &CohortInfo, users: &[String]) -> Result<()> {
        if wave.needs == Needs::SilentGate {
            // Heard of so late that it is a member still when a busy machine comes to the drain.
            let gate = "INSERT INTO identity.gate (id, kind, lease_ms, max_request_ms, last_seen)
                        VALUES ('silent', 'test', 400, 400, clock_timestamp() + interval '20 s')
                        ON CONFLICT (id) DO UPDATE SET last_seen = excluded.last_seen, ended_at = NULL";
            self.world.sql(Server::Identity, gate).await?;
        }
        if wave.needs == Needs::NoMirror {
            self.world.sql(Server::Identity, "DELETE FROM identity.mirror").await?;
        }
        if let Some((program, orders)) = wave.elsewhere {
            self.end_all(program).await?;
            self.start(program, &[("FAULT", orders)])?;
        }
        for program in PROGRAMS {
            if program != wave.program {
                self.ensure(program)?;
            }
        }
        let tracking = &self.world.engine.tracking;
        match wave.way {
            Way::Moves | Way::Fails => drop(tracking.launch(cohort, None).await?),
            Way::IsCarried => drop(tracking.request_carry_back(cohort, None).await?),
            Way::GoesBack | Way::IsRefused => drop(tracking.request_rollback(cohort, None).await?),
        }
        if wave.program == RECONCILE {
            return Ok(());
        }
        let stage = wave.program.strip_prefix("handover-").unwrap_or_default();
        let waiting = || async { Ok(self.eyes.waiting(stage).await >= users.len() as u64) };
        self.fleet.until("their jobs wait for the program", waiting).await?;
        match wave.needs {
            Needs::Death => self.die(wave, stage).await,
            Needs::Suspects => self.suspect(stage).await,
            Needs::Nothing | Needs::NoMirror | Needs::SilentGate => Ok(()),
        }
    }

    /// Lets a worker die with its jobs.
    async fn die(&mut self, wave: &Wave, stage: &str) -> Result<()> {
        let number = self.start(wave.program, &[("FAULT", "copy.hashed=kill@1")])?;
        self.fleet.ended(number).await?;
        self.processes.retain(|process| process.number != number);
        ensure!(self.world.queues()?.depth(stage).await?.inflight > 0, "it died without a job");
        Ok(())
    }

    /// Puts the jobs on their list once more, to be claimed first, as jobs that have lost two workers.
    async fn suspect(&self, stage: &str) -> Result<()> {
        for mut job in self.world.waiting(stage).await? {
            job["recoveries"] = 2.into();
            let mut push = redis::cmd("RPUSH");
            push.arg(self.world.key(&format!("queue:{stage}"))).arg(job.to_string());
            push.exec_async(&mut self.world.redis().await?).await?;
        }
        Ok(())
    }

    /// Starts the program under orders: one process for each point, or one for all of them in turn.
    fn attack(&mut self, wave: &Wave, round: &Round, in_turn: bool) -> Result<()> {
        let left = round.left();
        let orders: Vec<String> =
            if in_turn { vec![left.join(";")] } else { left.iter().map(ToString::to_string).collect() };
        let record = round.record.display().to_string();
        for points in orders {
            let each = points.split(';').map(|point| format!("{point}={}@1", round.blow.word()));
            let mut faults: Vec<String> = each.collect();
            if !wave.besides.is_empty() {
                faults.insert(0, wave.besides.to_owned());
            }
            let faults = faults.join(";");
            let mut settings = vec![("FAULT", faults.as_str()), ("FAULT_STRIKES", record.as_str())];
            settings.extend_from_slice(wave.settings);
            self.start(wave.program, &settings)?;
        }
        Ok(())
    }

    /// Supervises until every point was struck, nobody lies stopped, and all is as if nothing had been.
    async fn recover(
        &mut self,
        wave: &Wave,
        round: &mut Round,
        users: &[String],
        in_turn: bool,
    ) -> Result<()> {
        let (began, mut ticks) = (Instant::now(), tokio::time::interval(LOOK));
        let (mut compared, mut same_since) = (Instant::now(), None);
        loop {
            ticks.tick().await;
            round.look()?;
            round.wake()?;
            self.bury(wave, round, in_turn)?;
            self.stand_in(wave, round, in_turn)?;
            let is_over = round.left().is_empty() && round.nobody_lies();
            if compared.elapsed() < COMPARE {
                continue;
            }
            compared = Instant::now();
            let wrong = self.wrong(users).await;
            same_since = if wrong.is_none() { same_since.or(Some(Instant::now())) } else { None };
            if is_over && same_since.is_some() {
                return Ok(());
            }
            // Whoever is left finds nothing to do any more: another round, with other users.
            if round.nobody_lies() && same_since.is_some_and(|since| since.elapsed() > SETTLED) {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                let wrong = wrong.unwrap_or_else(|| anyhow::anyhow!("all is well, but {:?} lie", round.seen));
                return Err(
                    wrong.context(format!("not recovered after {PATIENCE:?}; struck {:?}", round.seen))
                );
            }
        }
    }

    /// What is not as it would be, had nothing been struck; or that a busy machine did not tell.
    async fn wrong(&self, users: &[String]) -> Option<anyhow::Error> {
        match self.eyes.unrest().await {
            Ok(Some(unrest)) => Some(anyhow::anyhow!("not at rest: {unrest}")),
            Ok(None) => {
                self.eyes.image(users).await.and_then(|image| ensure_same(&image, self.expected)).err()
            }
            Err(error) => Some(error),
        }
    }

    /// Notes who was killed. Anything else that ends a process is a failure.
    fn bury(&mut self, wave: &Wave, round: &mut Round, in_turn: bool) -> Result<()> {
        let mut alive = Vec::new();
        let mut died = false;
        for process in std::mem::take(&mut self.processes) {
            match self.fleet.over(process.number)? {
                None => alive.push(process),
                Some(status) => {
                    let killed = status.signal() == Some(Signal::SIGKILL as i32);
                    ensure!(killed && process.program == wave.program, "{}: {status}", process.program);
                    died = true;
                }
            }
        }
        self.processes = alive;
        if died && in_turn {
            round.look()?;
            if !round.left().is_empty() {
                self.attack(wave, round, true)?;
            }
        }
        Ok(())
    }

    /// Starts a process without orders: once all were struck, or nobody is left.
    fn stand_in(&mut self, wave: &Wave, round: &mut Round, in_turn: bool) -> Result<()> {
        let left = round.left();
        let alive = self.processes.iter().any(|process| process.program == wave.program);
        let is_quiet = round.seen.last().is_some_and(|(_, at)| at.elapsed() > Duration::from_secs(2));
        let is_due = match round.blow {
            Blow::Error => false,
            Blow::Kill => !alive || left.is_empty(),
            // One that lies keeps the lead: a second reconciler would only stand by.
            Blow::Stop => !in_turn && (left.is_empty() || is_quiet),
        };
        if is_due && !round.has_spare {
            round.has_spare = true;
            let settings: Vec<(&str, &str)> = wave.settings.to_vec();
            self.start(wave.program, &settings)?;
        }
        Ok(())
    }

    fn start(&mut self, program: &'static str, settings: &[(&str, &str)]) -> Result<usize> {
        let mut all = SETTINGS.to_vec();
        if program == RECONCILE {
            // Each stage's own workers recover its jobs first.
            all.push(("WORKER__UPKEEP", "2500ms"));
        }
        all.extend_from_slice(settings);
        let number = self.fleet.start_with(program, &all)?;
        self.processes.push(Process { number, program });
        Ok(number)
    }

    fn ensure(&mut self, program: &'static str) -> Result<()> {
        if !self.processes.iter().any(|process| process.program == program) {
            self.start(program, &[])?;
        }
        Ok(())
    }

    fn start_all(&mut self) -> Result<()> {
        PROGRAMS.into_iter().try_for_each(|program| self.ensure(program))
    }

    async fn end_all(&mut self, program: &str) -> Result<()> {
        for process in std::mem::take(&mut self.processes) {
            if process.program == program {
                self.fleet.kill(process.number).await?;
            } else {
                self.processes.push(process);
            }
        }
        Ok(())
    }
}

/// Whether one process meets the points one after the other: where a failure ends it not, or only one can lead.
fn is_in_turn(wave: &Wave, blow: Blow) -> bool {
    wave.program == RECONCILE || blow == Blow::Error
}

impl Round {
    /// Reads what was struck since the last look.
    fn look(&mut self) -> Result<()> {
        let text = std::fs::read_to_string(&self.record).unwrap_or_default();
        for line in text.lines().skip(self.seen.len()) {
            let (what, pid) = line.split_once(' ').with_context(|| format!("a strike: {line}"))?;
            let (point, action) = what.split_once('=').with_context(|| format!("a strike: {line}"))?;
            let strike = Strike { point: point.to_owned(), action: action.to_owned(), pid: pid.parse()? };
            self.seen.push((strike, Instant::now()));
        }
        Ok(())
    }

    /// Wakes those that have lain for longer than their lease.
    fn wake(&mut self) -> Result<()> {
        if self.blow != Blow::Stop {
            return Ok(());
        }
        let stops = self.seen.iter().filter(|(strike, _)| strike.action == "stop");
        let due = stops.skip(self.woken).take_while(|(_, at)| at.elapsed() > LIES);
        let pids: Vec<u32> = due.map(|(strike, _)| strike.pid).collect();
        for pid in pids {
            kill(Pid::from_raw(pid as i32), Signal::SIGCONT).context("a stopped process is gone")?;
            self.woken += 1;
        }
        Ok(())
    }

    /// The points that this blow has not struck.
    fn left(&self) -> Vec<&'static str> {
        let word = self.blow.word();
        let struck = |point: &str| self.seen.iter().any(|(s, _)| s.point == point && s.action == word);
        self.points.iter().copied().filter(|point| !struck(point)).collect()
    }

    fn nobody_lies(&self) -> bool {
        self.woken == self.seen.iter().filter(|(strike, _)| strike.action == "stop").count()
    }
}
