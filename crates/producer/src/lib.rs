//! The producer: turns tracking's transitions into jobs on the stages' lists.
//!
//! It keeps the bounded window of the pause and rollback lists filled, drawn in turn from the launched cohorts,
//! and puts back the jobs that tracking says should be queued and Redis does not hold. The transition is always
//! committed first: a job that was not pushed is found again, one that was pushed twice is stale.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use handover_engine::{Engine, Job, StageName};
use handover_fault::point;
use handover_queue::{Entry, Queues};
use handover_tracking::{Drawn, Kind, Tracking};

/// How many users one draw opens at most.
const DRAW: usize = 1_000;

/// How many entries of a stage are looked at to find out which jobs are missing: more than the windows and
/// `max_paused` together let there be, at their largest.
const LOOKED_AT: usize = 4_000_000;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Tracking failed.
    #[error(transparent)]
    Tracking(#[from] handover_tracking::Error),
    /// The engine's question failed.
    #[error(transparent)]
    Engine(#[from] handover_engine::Error),
    /// Redis failed.
    #[error(transparent)]
    Queue(#[from] handover_queue::Error),
    /// A test ordered this failure.
    #[error(transparent)]
    Injected(#[from] handover_fault::Injected),
}

/// Pushes jobs.
#[derive(Clone)]
pub struct Producer {
    tracking: Tracking,
    queues: Queues,
}

impl Producer {
    /// A producer from that tracking onto those lists.
    pub fn new(tracking: Tracking, queues: Queues) -> Self {
        Self { tracking, queues }
    }

    /// Opens attempts until `window` of that kind wait to be admitted, and pushes their jobs; returns how many.
    pub async fn fill(&self, kind: Kind, window: usize) -> Result<usize, Error> {
        let waiting = self.tracking.window(kind).await?;
        let drawn = self.tracking.draw(kind, window.saturating_sub(waiting).min(DRAW)).await?;
        point("produce.drawn").await?;
        let stage = match kind {
            Kind::Move => StageName::Pause,
            Kind::Rollback => StageName::Rollback,
        };
        let jobs: Vec<Job> = drawn.into_iter().map(job).collect();
        self.push(stage, jobs).await
    }

    /// Pushes jobs onto a stage's list; returns how many.
    pub async fn push(&self, stage: StageName, jobs: Vec<Job>) -> Result<usize, Error> {
        if jobs.is_empty() {
            return Ok(0);
        }
        let at = self.queues.now_ms().await?;
        let entries: Vec<Entry<Job>> = jobs.into_iter().map(|job| Entry::new(job, at)).collect();
        self.queues.push(stage.as_str(), &entries).await?;
        Ok(entries.len())
    }

    /// Puts back the jobs of attempts that have stood in their state for `age` and that Redis holds nowhere: not
    /// waiting, not in flight, not delayed. Returns how many.
    pub async fn restore(&self, engine: &Engine, age: Duration) -> Result<usize, Error> {
        let mut due: HashMap<StageName, Vec<Job>> = HashMap::new();
        for (stage, job) in engine.due_jobs(age).await? {
            due.entry(stage).or_default().push(job);
        }
        let mut restored = 0;
        for (stage, mut jobs) in due {
            let held = self.queues.snapshot::<Job>(stage.as_str(), LOOKED_AT).await?;
            if held.truncated {
                // What was not looked at may hold them: pushing now would only double jobs, round after round.
                tracing::warn!(stage = stage.as_str(), "too many entries to tell which jobs are missing");
                continue;
            }
            let held: HashSet<Job> = held.jobs.into_iter().collect();
            jobs.retain(|job| !held.contains(job));
            point("produce.restoring").await?;
            restored += self.push(stage, jobs).await?;
        }
        Ok(restored)
    }
}

fn job(drawn: Drawn) -> Job {
    Job { migration: drawn.migration, user: drawn.user, version: drawn.version }
}
