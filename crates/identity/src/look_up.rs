//! Look-ups of users' states: from the mirror while it may be believed, else from the truth, which then fills
//! the mirror's field. A mirror that fails or is slow is left alone for a moment, so that a Redis that hangs does
//! not slow every request down.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use handover_fault::{Mutant, mutated};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::error::Error;
use crate::keys::check_user;
use crate::record::{Record, Snapshot};
use crate::service::Identity;
use crate::source::{Trust, UserStates};

/// How long the mirror may take to answer a look-up.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long the mirror is left alone after it has failed.
const REST: Duration = Duration::from_secs(1);
/// How many fills may be under way at once. One that finds no room is left out: the next question fills again.
const FILLS: usize = 32;

/// Answers look-ups. Cheap to clone; clones share what they know of the mirror's health.
#[derive(Clone, Debug)]
pub struct LookUps {
    identity: Identity,
    skew: Duration,
    resting: Arc<Mutex<Option<Instant>>>,
    fills: Arc<Semaphore>,
}

impl LookUps {
    /// Look-ups at that Identity, on a machine whose clock differs from the reconciler's by at most `skew`.
    pub fn new(identity: Identity, skew: Duration) -> Self {
        Self { identity, skew, resting: Arc::default(), fills: Arc::new(Semaphore::new(FILLS)) }
    }

    /// The users' states, in the order of the input. Keys must be in their canonical spelling.
    pub async fn get(&self, users: &[String], trust: Trust) -> Result<Vec<UserStates>, Error> {
        users.iter().try_for_each(|user| check_user(user)).map_err(Error::UserKey)?;
        let mut found = match trust {
            Trust::Mirror => self.mirrored(users).await,
            Trust::Truth => vec![None; users.len()],
        };
        if mutated(Mutant::AbsentIsLegacy) {
            let absent = |(user, found): (&String, Option<UserStates>)| {
                found.unwrap_or_else(|| UserStates::of_record(&Record::absent(user)))
            };
            found = users.iter().zip(found).map(|pair| Some(absent(pair))).collect();
        }
        let missing: Vec<usize> = (0..users.len()).filter(|place| found[*place].is_none()).collect();
        count("mirror", users.len() - missing.len());
        count("truth", missing.len());
        if !missing.is_empty() {
            let asked: Vec<String> = missing.iter().map(|place| users[*place].clone()).collect();
            let records = self.identity.get(&asked).await?;
            for (place, record) in missing.into_iter().zip(&records) {
                found[place] = Some(UserStates::of_record(record));
            }
            if trust == Trust::Mirror {
                self.fill(&records);
            }
        }
        found.into_iter().collect::<Option<Vec<_>>>().ok_or(Error::Disagreement("a look-up"))
    }

    /// What the mirror says and may be believed in; `None` for all else, a garbled field included.
    async fn mirrored(&self, users: &[String]) -> Vec<Option<UserStates>> {
        let unknown = vec![None; users.len()];
        if self.is_resting() {
            return unknown;
        }
        match self.identity.mirror().believed(users, self.skew, PATIENCE).await {
            Ok(texts) => {
                let read = |(user, text): (&String, Option<String>)| {
                    text.and_then(|text| text.parse().ok()).map(|text| UserStates::of_text(user, text))
                };
                users.iter().zip(texts).map(read).collect()
            }
            Err(error) => {
                tracing::debug!(%error, "the mirror gives no answer; asking the truth");
                *self.resting.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + REST);
                unknown
            }
        }
    }

    fn is_resting(&self) -> bool {
        let until = *self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Fills the mirror in, beside the answer and not before it. The script keeps whatever is newer.
    fn fill(&self, records: &[Record]) {
        if self.is_resting() {
            return;
        }
        let Ok(permit) = Arc::clone(&self.fills).try_acquire_owned() else { return };
        let snapshots: Vec<Snapshot> = records.iter().map(Record::snapshot).collect();
        let mirror = self.identity.mirror().clone();
        tokio::spawn(async move {
            if let Err(error) = mirror.fill(&snapshots).await {
                tracing::debug!(%error, "the mirror was not filled in");
            }
            drop(permit);
        });
    }
}

fn count(source: &'static str, users: usize) {
    if users > 0 {
        metrics::counter!("handover_identity_look_ups_total", "source" => source).increment(users as u64);
    }
}
