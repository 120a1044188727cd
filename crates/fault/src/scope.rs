//! Faults within one process: a test that enters a scope decides alone which mutant is on and which point holds.
//!
//! Scopes of one process follow each other, since mutants and points are the process'. Tests that use them belong
//! into a test binary of their own, or the others would meet their faults.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex as Sync, MutexGuard, PoisonError};

use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use crate::mutant::Mutant;

static ONE_AT_A_TIME: LazyLock<Arc<Mutex<()>>> = LazyLock::new(Arc::default);
static SCOPED: AtomicU32 = AtomicU32::new(0);
static HELD: LazyLock<Sync<HashMap<String, Arc<Held>>>> = LazyLock::new(Sync::default);

/// A word that cannot be read must not pass for a run without a mutant.
static FROM_ENVIRONMENT: LazyLock<u32> = LazyLock::new(|| {
    let words = std::env::var("HANDOVER_MUTANT").unwrap_or_default();
    let each = words.split(',').filter(|word| !word.trim().is_empty());
    each.map(|word| word.parse::<Mutant>().unwrap_or_else(|error| panic!("HANDOVER_MUTANT: {error}")).bit())
        .sum()
});

pub(crate) fn mutated(mutant: Mutant) -> bool {
    (*FROM_ENVIRONMENT | SCOPED.load(Ordering::SeqCst)) & mutant.bit() != 0
}

struct Held {
    reached: watch::Sender<u64>,
    open: watch::Sender<bool>,
}

fn held() -> MutexGuard<'static, HashMap<String, Arc<Held>>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a test holds any point.
pub(crate) fn holds_any() -> bool {
    !held().is_empty()
}

/// Waits where a test holds this point.
pub(crate) async fn hold(name: &'static str) {
    let Some(held) = held().get(name).cloned() else { return };
    let mut open = held.open.subscribe();
    held.reached.send_modify(|times| *times += 1);
    // An error would say that the sender is gone; we hold it ourselves.
    drop(open.wait_for(|open| *open).await);
}

/// The faults of one test: all are lifted when it is dropped.
pub struct Scope {
    _one: OwnedMutexGuard<()>,
}

impl Scope {
    /// Waits until no other test of this process has a scope, and opens one without faults.
    pub async fn enter() -> Self {
        Self { _one: ONE_AT_A_TIME.clone().lock_owned().await }
    }

    /// Takes this safeguard away until the scope ends.
    pub fn mutate(&self, mutant: Mutant) {
        SCOPED.fetch_or(mutant.bit(), Ordering::SeqCst);
    }

    /// Puts this safeguard back.
    pub fn heal(&self, mutant: Mutant) {
        SCOPED.fetch_and(!mutant.bit(), Ordering::SeqCst);
    }

    /// Whoever passes this point from now on waits there until the hold is released or dropped.
    pub fn hold(&self, point: &str) -> Hold {
        let fresh = Arc::new(Held { reached: watch::Sender::new(0), open: watch::Sender::new(false) });
        held().insert(point.to_owned(), Arc::clone(&fresh));
        Hold { point: point.to_owned(), held: fresh }
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        SCOPED.store(0, Ordering::SeqCst);
        for (_, left) in held().drain() {
            left.open.send_replace(true);
        }
    }
}

/// A point that holds whoever comes by.
pub struct Hold {
    point: String,
    held: Arc<Held>,
}

impl Hold {
    /// Waits until somebody stands at the point; the event that a directed schedule goes on at.
    pub async fn reached(&self) {
        self.reached_times(1).await;
    }

    /// Waits until the point was reached this often since the hold began.
    pub async fn reached_times(&self, times: u64) {
        let mut reached = self.held.reached.subscribe();
        // We hold the sender: it cannot be gone.
        drop(reached.wait_for(|now| *now >= times).await);
    }

    /// How often the point was reached since the hold began.
    pub fn times(&self) -> u64 {
        *self.held.reached.borrow()
    }

    /// Lets everybody go on, those who come later too.
    pub fn release(self) {}
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut all = held();
        if all.get(&self.point).is_some_and(|now| Arc::ptr_eq(now, &self.held)) {
            all.remove(&self.point);
        }
        self.held.open.send_replace(true);
    }
}
