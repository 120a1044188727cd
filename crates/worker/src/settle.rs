//! What becomes of jobs after their step: each outcome is one call of the queue for all jobs that share it.
//!
//! A queue that does not answer is asked again until the lease would have ended; then the jobs are left to
//! recovery. The step has made its transitions in Postgres by then, so that doing it again is harmless.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use handover_queue::{Delivery, Entry, Queues, Rejected, Settled, backoff};
use tokio::time::Instant;

use crate::driver::Driver;
use crate::metric;
use crate::panic::caught;
use handover_engine::{Job, Outcome, StageName, Step};

/// Rest of the process after jobs were "not now".
const NOT_NOW_WAIT: Duration = Duration::from_millis(100);
/// Attempts that are taken back at the same time.
const GIVING_UP_AT_ONCE: usize = 8;
/// First wait before an unanswered call is repeated; doubles up to a second.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// Jobs by what becomes of them.
#[derive(Default)]
struct Sorted {
    advance: BTreeMap<&'static str, Vec<Delivery<Job>>>,
    done: Vec<Delivery<Job>>,
    not_now: Vec<Delivery<Job>>,
    failed: Vec<(Delivery<Job>, String)>,
    park: BTreeMap<String, Vec<Delivery<Job>>>,
}

impl Sorted {
    fn new(stage: StageName, deliveries: Vec<Delivery<Job>>, outcomes: Vec<Outcome>) -> Self {
        let mut sorted = Self::default();
        for (delivery, outcome) in deliveries.into_iter().zip(outcomes) {
            metric::outcomes(stage, name(&outcome), 1);
            match outcome {
                Outcome::Advance(next) => sorted.advance.entry(next.as_str()).or_default().push(delivery),
                Outcome::Finished | Outcome::Stale => sorted.done.push(delivery),
                Outcome::NotNow => sorted.not_now.push(delivery),
                Outcome::Retry { reason } => sorted.failed.push((delivery, reason)),
                Outcome::Park { reason } => sorted.park.entry(reason).or_default().push(delivery),
            }
        }
        sorted
    }
}

const fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Advance(_) => "advanced",
        Outcome::Finished => "finished",
        Outcome::Stale => "stale",
        Outcome::NotNow => "not_now",
        Outcome::Retry { .. } => "failed",
        Outcome::Park { .. } => "parked",
    }
}

impl<S: Step> Driver<S> {
    /// Settles each delivery by its outcome; both are in the same order.
    pub(crate) async fn settle(&self, deliveries: Vec<Delivery<Job>>, outcomes: Vec<Outcome>) {
        let mut sorted = Sorted::new(self.worker.stage, deliveries, outcomes);
        for (next, deliveries) in sorted.advance {
            self.advance(next, deliveries).await;
        }
        self.acknowledge(sorted.done).await;
        if !sorted.not_now.is_empty() {
            self.worker.cooldown.begin(NOT_NOW_WAIT);
            self.hand_back(sorted.not_now).await;
        }
        let (exhausted, again): (Vec<_>, Vec<_>) =
            sorted.failed.into_iter().partition(|(delivery, _)| self.is_exhausted(delivery));
        self.retry(again).await;
        for (delivery, reason) in self.give_up(exhausted).await {
            sorted.park.entry(reason).or_default().push(delivery);
        }
        for (reason, deliveries) in sorted.park {
            self.park(deliveries, &reason).await;
        }
    }

    fn is_exhausted(&self, delivery: &Delivery<Job>) -> bool {
        delivery.entry.tries.saturating_add(1) >= self.worker.limits.max_tries
    }

    async fn advance(&self, next: &'static str, deliveries: Vec<Delivery<Job>>) {
        let at = now_ms();
        let follow = |delivery: &Delivery<Job>| {
            let entry = &delivery.entry;
            Entry::new(entry.job.clone(), at).with_traceparent(entry.traceparent.clone())
        };
        let entries: Vec<Entry<Job>> = deliveries.iter().map(follow).collect();
        let entries = entries.as_slice();
        let stage = self.worker.stage.as_str();
        self.persist("advance", deliveries, |queues, deliveries| async move {
            queues.ack(stage, deliveries, Some((next, entries))).await
        })
        .await;
    }

    async fn acknowledge(&self, deliveries: Vec<Delivery<Job>>) {
        let stage = self.worker.stage.as_str();
        self.persist("acknowledge", deliveries, |queues, deliveries| async move {
            queues.ack(stage, deliveries, None).await
        })
        .await;
    }

    /// Puts jobs back that were not tried: they are the next to be claimed.
    pub(crate) async fn hand_back(&self, deliveries: Vec<Delivery<Job>>) {
        let stage = self.worker.stage.as_str();
        self.persist("hand_back", deliveries, |queues, deliveries| async move {
            queues.hand_back(stage, deliveries).await
        })
        .await;
    }

    async fn retry(&self, failed: Vec<(Delivery<Job>, String)>) {
        if let Some((_, reason)) = failed.first() {
            let stage = self.worker.stage.as_str();
            tracing::warn!(stage, jobs = failed.len(), reason, "jobs failed and will be tried again");
        }
        self.put_aside(failed.into_iter().map(|(delivery, _)| delivery).collect()).await;
    }

    async fn put_aside(&self, deliveries: Vec<Delivery<Job>>) {
        let (stage, limits) = (self.worker.stage.as_str(), self.worker.limits);
        self.persist("retry", deliveries, |queues, deliveries| async move {
            let mut rng = fastrand::Rng::new();
            let delay =
                |entry: &Entry<Job>| backoff(entry.tries, limits.backoff_base, limits.backoff_cap, &mut rng);
            queues.retry(stage, deliveries, delay).await
        })
        .await;
    }

    async fn park(&self, deliveries: Vec<Delivery<Job>>, reason: &str) {
        let stage = self.worker.stage.as_str();
        tracing::warn!(stage, jobs = deliveries.len(), reason, "jobs were given up");
        self.persist("park", deliveries, |queues, deliveries| async move {
            queues.park(stage, deliveries, reason).await
        })
        .await;
    }

    /// Takes back the attempts whose tries are used up, and returns those that are; the others' jobs come
    /// back later, when taking back may work.
    async fn give_up(&self, exhausted: Vec<(Delivery<Job>, String)>) -> Vec<(Delivery<Job>, String)> {
        let taking_back = exhausted.into_iter().map(|(delivery, reason)| async {
            let result = caught(self.step.give_up(&delivery.entry.job, &reason)).await;
            let failure = match result {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(panicked) => Some(panicked.to_string()),
            };
            (delivery, reason, failure)
        });
        let mut done = Vec::new();
        let mut later = Vec::new();
        let mut results = futures_util::stream::iter(taking_back).buffer_unordered(GIVING_UP_AT_ONCE);
        while let Some((delivery, reason, failure)) = results.next().await {
            match failure {
                None => done.push((delivery, reason)),
                Some(error) => {
                    tracing::warn!(
                        stage = self.worker.stage.as_str(),
                        error,
                        "an attempt could not be taken back yet"
                    );
                    later.push(delivery);
                }
            }
        }
        drop(results);
        metric::outcomes(self.worker.stage, "gave_up", done.len());
        self.put_aside(later).await;
        done
    }

    /// Calls the queue until it answers, the lease would have ended, or the process aborts.
    async fn persist<F, R>(&self, call: &'static str, mut deliveries: Vec<Delivery<Job>>, ask: F)
    where
        F: Fn(Queues, Vec<Delivery<Job>>) -> R,
        R: Future<Output = Result<Settled, Rejected<Job>>>,
    {
        if deliveries.is_empty() {
            return;
        }
        let stage = self.worker.stage;
        let deadline = Instant::now() + self.worker.limits.lease;
        let mut wait = FIRST_WAIT;
        loop {
            let Rejected { error, deliveries: left } = match ask(self.worker.line.queues(), deliveries).await
            {
                Ok(settled) => return metric::lost(stage, settled.lost),
                Err(rejected) => rejected,
            };
            metric::trouble(stage, call);
            let aborting = self.worker.lifecycle.aborting();
            if !error.is_transient() || Instant::now() >= deadline || aborting.is_cancelled() {
                metric::unsettled(stage, left.len());
                tracing::warn!(stage = stage.as_str(), call, jobs = left.len(), %error, "left to recovery");
                return;
            }
            deliveries = left;
            let _aborted = aborting.run_until_cancelled(tokio::time::sleep(wait)).await;
            wait = (wait * 2).min(Duration::from_secs(1));
        }
    }
}

/// This machine's clock, which the age of a job is shown by; nothing is decided by it.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
