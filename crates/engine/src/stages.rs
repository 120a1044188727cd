//! The five stages, and what they have in common: jobs of one migration become open attempts, attempts of one
//! plan become bundles, and a bundle that one user's data makes fail is split until that user stands alone.

mod complete;
mod copy;
mod pause;
mod rollback;
mod verify;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use handover_tracking::{Claim, OpenAttempt, OpenState};

pub use complete::Complete;
pub use copy::Copy;
pub use pause::Pause;
pub use rollback::Rollback;
pub use verify::Verify;

pub(crate) use complete::flip;
pub(crate) use rollback::{back_home, delete};

use crate::bound::Bound;
use crate::error::Disposition;
use crate::{Engine, Error, Job, Outcome, reason};

/// What is known so far of a batch of jobs: one outcome a claim, `Stale` until something better is known.
pub(crate) struct Outcomes(HashMap<Claim, Outcome>);

impl Outcomes {
    pub(crate) fn new() -> Self {
        Self(HashMap::new())
    }

    pub(crate) fn set(&mut self, claim: Claim, outcome: Outcome) {
        self.0.insert(claim, outcome);
    }

    pub(crate) fn set_all(&mut self, claims: impl IntoIterator<Item = Claim>, outcome: &Outcome) {
        self.0.extend(claims.into_iter().map(|claim| (claim, outcome.clone())));
    }

    /// In the jobs' order; a second job for the same attempt is stale.
    fn answer(mut self, jobs: &[Job]) -> Vec<Outcome> {
        jobs.iter().map(|job| self.0.remove(&job.claim()).unwrap_or(Outcome::Stale)).collect()
    }
}

/// Runs `work` once for each migration among the jobs; an error of the whole makes those jobs retry.
pub(crate) async fn by_migration<F>(
    engine: &Engine,
    jobs: &[Job],
    work: impl Fn(String, i32, Vec<Claim>) -> F,
) -> Vec<Outcome>
where
    F: Future<Output = Result<Outcomes, Error>>,
{
    let mut outcomes = Outcomes::new();
    let mut groups: HashMap<&str, Vec<Claim>> = HashMap::new();
    for job in jobs {
        groups.entry(&job.migration).or_default().push(job.claim());
    }
    for (migration, claims) in groups {
        match migration_id(engine, migration).await {
            // A job of a migration that nobody registered was never ours.
            Ok(None) => {}
            Ok(Some(id)) => match Box::pin(work(migration.to_owned(), id, claims.clone())).await {
                Ok(done) => outcomes.0.extend(done.0),
                Err(error) => outcomes.set_all(claims, &retry(&error)),
            },
            Err(error) => outcomes.set_all(claims, &retry(&error)),
        }
    }
    outcomes.answer(jobs)
}

pub(crate) async fn migration_id(engine: &Engine, name: &str) -> Result<Option<i32>, Error> {
    match engine.tracking.current_plan(name).await {
        Ok(plan) => Ok(Some(plan.migration_id)),
        Err(handover_tracking::Error::NoSuchMigration(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn retry(error: &Error) -> Outcome {
    tracing::debug!(%error, "a batch failed and is tried again");
    Outcome::Retry { reason: error.to_string() }
}

/// The attempts under these claims that stand in that state, by the plan they are pinned to.
pub(crate) async fn due(
    engine: &Engine,
    migration_id: i32,
    claims: &[Claim],
    state: OpenState,
) -> Result<Vec<(Arc<Bound>, Vec<OpenAttempt>)>, Error> {
    let open = engine.tracking.open(migration_id, claims).await?;
    by_plan(engine, open.into_iter().filter(|attempt| attempt.state == state)).await
}

pub(crate) async fn by_plan(
    engine: &Engine,
    attempts: impl Iterator<Item = OpenAttempt>,
) -> Result<Vec<(Arc<Bound>, Vec<OpenAttempt>)>, Error> {
    let mut plans: HashMap<i32, Vec<OpenAttempt>> = HashMap::new();
    for attempt in attempts {
        plans.entry(attempt.plan_id).or_default().push(attempt);
    }
    let mut bundles = Vec::with_capacity(plans.len());
    for (plan_id, attempts) in plans {
        bundles.push((engine.plan(plan_id).await?, attempts));
    }
    Ok(bundles)
}

/// Runs `work` on a bundle; when one user's data makes it fail, on its halves, until that user stands alone,
/// whose attempt is ended at the user's home. `work` answers for the attempts that it moved on; the others are stale.
pub(crate) async fn splitting<F>(
    engine: &Engine,
    stage: &'static str,
    bound: &Bound,
    attempts: Vec<OpenAttempt>,
    outcomes: &mut Outcomes,
    work: impl Fn(Vec<OpenAttempt>) -> F,
) where
    F: Future<Output = Result<Vec<(Claim, Outcome)>, Error>>,
{
    let mut waiting = vec![attempts];
    while let Some(bundle) = waiting.pop() {
        let error = match Box::pin(work(bundle.clone())).await {
            Ok(done) => {
                outcomes.0.extend(done);
                continue;
            }
            Err(error) => error,
        };
        match error.disposition() {
            Disposition::Retry => outcomes.set_all(bundle.iter().map(OpenAttempt::claim), &retry(&error)),
            Disposition::Data if bundle.len() > 1 => {
                let mut first = bundle;
                let second = first.split_off(first.len() / 2);
                metrics::counter!("handover_bundle_splits_total", "stage" => stage).increment(1);
                waiting.extend([second, first]);
            }
            Disposition::Data | Disposition::TakeBack => {
                for attempt in &bundle {
                    let reason = reason::of_error(stage, &error);
                    let outcome = engine.end_failed(bound.plan.name(), attempt, reason).await;
                    outcomes.set(attempt.claim(), outcome);
                }
            }
        }
    }
}
