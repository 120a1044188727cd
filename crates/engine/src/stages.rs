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
pub(crate) use copy::Writer;
pub(crate) use pause::born_on_new;
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
    for (migration, mut claims) in groups {
        // In one order everywhere, so that two batches that share users do not wait for each other in a circle.
        claims.sort_unstable_by(|a, b| (&a.user, a.version).cmp(&(&b.user, b.version)));
        // A job that was queued twice can be claimed twice at once; an attempt stands in a bundle once.
        claims.dedup();
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
    Ok(engine.tracking.migration_id(name).await?)
}

pub(crate) fn retry(error: &Error) -> Outcome {
    tracing::debug!(%error, "a batch failed and is tried again");
    Outcome::Retry { reason: error.to_string() }
}

/// The attempts under these claims that stand in that state, in the order of their users.
pub(crate) async fn standing(
    engine: &Engine,
    migration_id: i32,
    claims: &[Claim],
    state: OpenState,
) -> Result<Vec<OpenAttempt>, Error> {
    let mut open = engine.tracking.open(migration_id, claims).await?;
    open.retain(|attempt| attempt.state == state);
    open.sort_unstable_by(|a, b| a.user.cmp(&b.user));
    Ok(open)
}

/// The attempts by the plan they are pinned to. A plan that cannot be bound fails its own attempts, and nobody
/// else's.
pub(crate) async fn by_plan(
    engine: &Engine,
    stage: &'static str,
    migration: &str,
    attempts: Vec<OpenAttempt>,
    outcomes: &mut Outcomes,
) -> Vec<(Arc<Bound>, Vec<OpenAttempt>)> {
    let mut plans: HashMap<i32, Vec<OpenAttempt>> = HashMap::new();
    for attempt in attempts {
        plans.entry(attempt.plan_id).or_default().push(attempt);
    }
    let mut bundles = Vec::with_capacity(plans.len());
    for (plan_id, attempts) in plans {
        match engine.plan(plan_id).await {
            Ok(bound) => bundles.push((bound, attempts)),
            Err(error) => failed(engine, stage, migration, &attempts, &error, outcomes).await,
        }
    }
    bundles
}

/// What follows for attempts that an error concerns alike: they are tried again, or each is ended at its user's
/// home.
async fn failed(
    engine: &Engine,
    stage: &'static str,
    migration: &str,
    attempts: &[OpenAttempt],
    error: &Error,
    outcomes: &mut Outcomes,
) {
    if error.disposition() == Disposition::Retry {
        return outcomes.set_all(attempts.iter().map(OpenAttempt::claim), &retry(error));
    }
    for attempt in attempts {
        let outcome = engine.end_failed(migration, attempt, reason::of_error(stage, error)).await;
        outcomes.set(attempt.claim(), outcome);
    }
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
        match Box::pin(work(bundle.clone())).await {
            Ok(done) => outcomes.0.extend(done),
            Err(error) if error.disposition() == Disposition::Data && bundle.len() > 1 => {
                metrics::counter!("handover_bundle_splits_total", "stage" => stage).increment(1);
                waiting.extend(halves(bundle, &error));
            }
            Err(error) => failed(engine, stage, bound.plan.name(), &bundle, &error, outcomes).await,
        }
    }
}

/// A bundle in two, of which the second is worked on first. Where it is known who is to blame, that user is set
/// apart, and the others do not wait.
fn halves(mut bundle: Vec<OpenAttempt>, error: &Error) -> [Vec<OpenAttempt>; 2] {
    if let Error::Crowded { claim } = error {
        let (alone, others): (Vec<_>, Vec<_>) =
            bundle.iter().cloned().partition(|attempt| attempt.claim() == *claim);
        if alone.len() == 1 && !others.is_empty() {
            return [alone, others];
        }
    }
    let second = bundle.split_off(bundle.len() / 2);
    [second, bundle]
}
