//! The driver of one stage: a permit first, then room, then a claim; each claim is worked on by a task of
//! its own. Knows nothing of what a step does, and is tested without a database.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use handover_queue::{Claimed, Delivery, Doorbell, WorkerId};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cooldown::Cooldown;
use crate::held::Held;
use crate::lifecycle::Lifecycle;
use crate::limits::Limits;
use crate::line::Line;
use crate::metric;
use crate::panic::caught;
use crate::vitals::{Phase, Vitals};
use crate::{presence, upkeep};
use handover_engine::{Job, StageName, Step};

/// Wait before the stage is asked for room again. Room is made by other processes, which tell nobody.
const ROOM_WAIT: Duration = Duration::from_millis(50);
/// First wait after Redis or the capacity failed; doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// Longest wait after a failure: an outage's end is noticed within this.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// What the tasks of one worker process share.
#[derive(Debug)]
pub struct Worker {
    /// The stage whose jobs are claimed.
    pub stage: StageName,
    /// Names this start of this process.
    pub id: WorkerId,
    /// The way to Redis.
    pub line: Arc<Line>,
    /// What bounds it.
    pub limits: Limits,
    /// Its end.
    pub lifecycle: Lifecycle,
    /// Its health.
    pub vitals: Arc<Vitals>,
    /// Where health and metrics are served, once they are.
    pub http: OnceLock<SocketAddr>,
    pub(crate) held: Held,
    pub(crate) cooldown: Cooldown,
}

impl Worker {
    /// A worker of that stage, with an id of its own.
    pub fn new(stage: StageName, line: Arc<Line>, limits: Limits, lifecycle: Lifecycle) -> Self {
        Self {
            stage,
            id: WorkerId::new(stage.as_str()),
            line,
            limits,
            lifecycle,
            vitals: Arc::default(),
            http: OnceLock::new(),
            held: Held::default(),
            cooldown: Cooldown::default(),
        }
    }

    fn facts(&self) -> presence::Facts {
        vec![
            ("phase", self.vitals.phase().as_str().to_owned()),
            ("held", self.held.count().to_string()),
            ("concurrency", self.limits.concurrency.to_string()),
            ("batch", self.limits.batch.to_string()),
            ("http", self.http.get().map(ToString::to_string).unwrap_or_default()),
        ]
    }
}

/// Claims jobs of a stage and runs its step on them, until it is stopped.
#[derive(Debug)]
pub struct Driver<S> {
    pub(crate) step: S,
    pub(crate) worker: Arc<Worker>,
}

impl<S: Step> Driver<S> {
    /// A driver that runs `step` as `worker`.
    pub fn new(step: S, worker: Arc<Worker>) -> Arc<Self> {
        Arc::new(Self { step, worker })
    }

    /// Works until the worker's lifecycle says stop, and returns once nothing is held any more.
    pub async fn run(self: Arc<Self>) {
        // Dropped, and so ended, last: leases must be renewed for as long as a batch drains.
        let mut background = JoinSet::new();
        upkeep::spawn(&mut background, &self.worker);
        self.announce(&mut background);
        let mut batches = JoinSet::new();
        self.claim_until_stopped(&mut batches).await;
        self.worker.vitals.enter(Phase::Draining);
        while batches.join_next().await.is_some() {}
        drop(background);
        presence::leave(&self.worker.line, &self.worker.id).await;
    }

    fn announce(&self, background: &mut JoinSet<()>) {
        let worker = Arc::clone(&self.worker);
        let (line, id, stage) = (Arc::clone(&worker.line), worker.id.clone(), worker.stage.as_str());
        presence::spawn(background, line, id, stage, move || worker.facts());
    }

    async fn claim_until_stopped(self: &Arc<Self>, batches: &mut JoinSet<()>) {
        let slots = Arc::new(Semaphore::new(self.worker.limits.concurrency));
        let stopping = self.worker.lifecycle.stopping().clone();
        let mut claimer = Claimer::new(self);
        while !stopping.is_cancelled() {
            if slots.available_permits() == 0 {
                self.worker.vitals.enter(Phase::Full);
            }
            let permit = Arc::clone(&slots).acquire_owned();
            let Some(Ok(permit)) = stopping.run_until_cancelled(permit).await else { return };
            while batches.try_join_next().is_some() {}
            // A claim that is under way when the signal comes is awaited: dropped, its jobs would wait for
            // their lease to run out. The batch itself hands back what must not be begun.
            if let Some(deliveries) = claimer.next().await {
                let driver = Arc::clone(self);
                batches.spawn(async move {
                    driver.work(deliveries).await;
                    drop(permit);
                });
            }
        }
    }
}

/// The claiming loop's own state.
struct Claimer<'a, S> {
    driver: &'a Driver<S>,
    doorbell: Doorbell,
    wait: Duration,
}

impl<'a, S: Step> Claimer<'a, S> {
    fn new(driver: &'a Driver<S>) -> Self {
        let doorbell = driver.worker.line.queues().doorbell();
        Self { driver, doorbell, wait: FIRST_WAIT }
    }

    /// The next jobs; none where it had to wait for something, whether or not that has come.
    async fn next(&mut self) -> Option<Vec<Delivery<Job>>> {
        let worker = &self.driver.worker;
        let rest = worker.cooldown.left();
        if !rest.is_zero() && worker.lifecycle.rest(rest).await {
            return None;
        }
        let room = self.room().await?;
        let claimed = self.claim(room).await?;
        if claimed.jobs.is_empty() {
            self.listen().await;
            return None;
        }
        worker.held.add(&claimed.jobs);
        Some(claimed.jobs)
    }

    /// How many jobs may be claimed now; none after a wait where there is no room or no answer.
    async fn room(&mut self) -> Option<usize> {
        let worker = &self.driver.worker;
        let asking = caught(self.driver.step.capacity(worker.limits.batch));
        match worker.lifecycle.stopping().run_until_cancelled(asking).await? {
            Ok(Ok(0)) => {
                worker.vitals.relieved();
                worker.vitals.enter(Phase::NoRoom);
                worker.lifecycle.rest(ROOM_WAIT).await;
                None
            }
            Ok(Ok(room)) => Some(room.min(worker.limits.batch)),
            Ok(Err(error)) => self.troubled("capacity", &error).await,
            Err(panicked) => self.troubled("capacity", &panicked).await,
        }
    }

    async fn claim(&mut self, most: usize) -> Option<Claimed<Job>> {
        let worker = &self.driver.worker;
        worker.vitals.asking(Instant::now());
        let queues = worker.line.queues();
        let claim = queues.claim::<Job>(worker.stage.as_str(), &worker.id, most, worker.limits.lease);
        match tokio::time::timeout(worker.limits.watchdog, claim).await {
            Ok(Ok(claimed)) => {
                worker.vitals.answered();
                self.wait = FIRST_WAIT;
                metric::claimed(worker.stage, claimed.jobs.len(), claimed.garbled);
                Some(claimed)
            }
            Ok(Err(error)) => self.troubled("claim", &error).await,
            Err(_) => self.troubled("claim", &"no answer to a claim").await,
        }
    }

    /// Waits at the empty queue for a job, the end, or the time to look again.
    async fn listen(&mut self) {
        let worker = &self.driver.worker;
        let ring = self.doorbell.wait(worker.stage.as_str(), worker.limits.idle_wait);
        if let Some(Err(error)) = worker.lifecycle.stopping().run_until_cancelled(ring).await {
            self.troubled::<()>("doorbell", &error).await;
        }
    }

    /// Notes a failure and waits; always none, so that callers can return it.
    async fn troubled<T>(&mut self, call: &'static str, error: &(dyn std::fmt::Display + Sync)) -> Option<T> {
        let worker = &self.driver.worker;
        metric::trouble(worker.stage, call);
        if worker.vitals.troubled(format!("{call}: {error}")) {
            tracing::warn!(stage = worker.stage.as_str(), call, %error, "cannot claim; trying again");
        }
        if worker.vitals.rebuild_is_due(Instant::now(), worker.limits.watchdog) {
            self.rebuild();
        }
        worker.lifecycle.rest(self.wait).await;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        None
    }

    fn rebuild(&mut self) {
        let worker = &self.driver.worker;
        metric::rebuilt(worker.stage);
        match worker.line.rebuild() {
            Ok(()) => tracing::warn!(
                stage = worker.stage.as_str(),
                "no claim was answered: new connection to redis"
            ),
            Err(error) => tracing::error!(%error, "the connection to redis cannot be made anew"),
        }
        self.doorbell = worker.line.queues().doorbell();
    }
}
