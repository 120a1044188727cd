//! Passes of requests whose end nobody tells: each counts as in flight until its deadline, or until it is given
//! back.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Moment;
use crate::pass::Pass;

/// How often it is looked whether a deadline has passed. A pause waits that much longer at most.
const EVERY: Duration = Duration::from_millis(50);

/// The passes, by deadline.
#[derive(Default)]
pub(crate) struct Counted {
    passes: Mutex<BTreeMap<(Moment, u64), Pass>>,
}

impl Counted {
    /// Keeps a pass; returns the name under which it can be given back.
    pub(crate) fn keep(&self, pass: Pass) -> String {
        let mut passes = self.passes();
        let deadline = pass.deadline();
        let mut number = fastrand::u64(..);
        while passes.contains_key(&(deadline, number)) {
            number = fastrand::u64(..);
        }
        passes.insert((deadline, number), pass);
        format!("{:x}-{number:x}", deadline.as_nanos())
    }

    /// Gives a pass back before its deadline. False where there is none of that name, or none any more.
    pub(crate) fn give_back(&self, name: &str) -> bool {
        let Some((deadline, number)) = name.split_once('-') else { return false };
        let hex = |text: &str| u64::from_str_radix(text, 16).ok();
        let (Some(deadline), Some(number)) = (hex(deadline), hex(number)) else { return false };
        let pass = self.passes().remove(&(Moment::from_nanos(deadline), number));
        pass.is_some_and(|pass| !pass.has_expired())
    }

    /// Lets go of the passes whose deadline has come.
    fn expire(&self, now: Moment) {
        let mut passes = self.passes();
        // What is left is later than any pass of this very moment.
        let left = passes.split_off(&(now, u64::MAX));
        let ended = std::mem::replace(&mut *passes, left);
        drop(passes);
        drop(ended);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.passes().len()
    }

    /// Lets go of passes as their deadlines come, until it is told to stop and none is left.
    pub(crate) async fn tend(&self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        while !(stop.is_cancelled() && self.len() == 0) {
            ticks.tick().await;
            self.expire(Moment::now());
            metrics::gauge!("handover_sidecar_counted").set(self.len() as f64);
        }
    }

    fn passes(&self) -> MutexGuard<'_, BTreeMap<(Moment, u64), Pass>> {
        self.passes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
