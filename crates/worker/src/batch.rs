//! One claim's way through the step: by migration, since a plan is a migration's, one group after the other.

use std::collections::BTreeMap;

use handover_queue::{Delivery, Token};
use tokio::time::Instant;

use crate::driver::Driver;
use crate::metric;
use crate::panic::caught;
use handover_engine::{Job, Outcome, Step};

impl<S: Step> Driver<S> {
    /// Works on claimed jobs until each is settled; what is not begun when the end begins is handed back.
    pub(crate) async fn work(&self, deliveries: Vec<Delivery<Job>>) {
        let mut left = by_migration(deliveries);
        while let Some((_, group)) = left.pop_first() {
            let tokens: Vec<Token> = group.iter().map(|delivery| delivery.token().clone()).collect();
            if self.worker.lifecycle.is_stopping() {
                metric::outcomes(self.worker.stage, "not_begun", group.len());
                self.hand_back(group).await;
            } else {
                self.run_group(group).await;
            }
            self.worker.held.remove(&tokens);
        }
    }

    async fn run_group(&self, group: Vec<Delivery<Job>>) {
        let stage = self.worker.stage;
        let jobs: Vec<Job> = group.iter().map(|delivery| delivery.entry.job.clone()).collect();
        let begun = Instant::now();
        let outcomes = tokio::select! {
            biased;
            outcomes = caught(self.step.run(&jobs)) => outcomes,
            // The future, and with it each open transaction, is dropped: the jobs can be run again at once.
            () = self.worker.lifecycle.aborting().cancelled() => {
                metric::outcomes(stage, "interrupted", group.len());
                return self.hand_back(group).await;
            }
        };
        metric::batch(stage, jobs.len(), begun.elapsed());
        let outcomes = match outcomes {
            Ok(outcomes) if outcomes.len() == jobs.len() => outcomes,
            Ok(outcomes) => {
                tracing::error!(
                    stage = stage.as_str(),
                    jobs = jobs.len(),
                    outcomes = outcomes.len(),
                    "step lost count"
                );
                retry_all(jobs.len(), "the step did not say how each job ended")
            }
            Err(panicked) => {
                metric::panicked(stage);
                retry_all(jobs.len(), &panicked.to_string())
            }
        };
        self.settle(group, outcomes).await;
    }
}

fn retry_all(count: usize, reason: &str) -> Vec<Outcome> {
    (0..count).map(|_| Outcome::Retry { reason: reason.to_owned() }).collect()
}

fn by_migration(deliveries: Vec<Delivery<Job>>) -> BTreeMap<String, Vec<Delivery<Job>>> {
    let mut groups: BTreeMap<String, Vec<Delivery<Job>>> = BTreeMap::new();
    for delivery in deliveries {
        groups.entry(delivery.entry.job.migration.clone()).or_default().push(delivery);
    }
    groups
}
