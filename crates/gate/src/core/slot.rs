//! One user in the cache: what is known, and how many requests are in flight.
//!
//! What is known never changes within a [`Slot`]: a change makes another one that shares the [`Counter`]. The
//! counter's one word holds the number in flight *and* the epoch, so that entering and learning whether the
//! slot is still the newest is a single atomic step: a request either counts before a change, and the change
//! sees it, or comes after it and is turned back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

use super::known::Known;

const COUNT: u64 = u32::MAX as u64;
/// Somebody waits for the count to reach zero.
const DRAINING: u64 = 1 << 32;
/// The epoch has the 31 bits above; one more of them wraps around in silence.
const EPOCH: u64 = 1 << 33;

/// How many requests a user has in flight, look-ups on their way included.
pub(crate) struct Counter {
    word: AtomicU64,
    bell: Arc<Notify>,
}

/// A number that each change of a user's slot makes another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch(u64);

impl Counter {
    pub(crate) fn new(bell: &Arc<Notify>) -> Arc<Self> {
        Arc::new(Self { word: AtomicU64::new(0), bell: Arc::clone(bell) })
    }

    /// Counts one more, if the epoch is still this one.
    pub(crate) fn enter(&self, epoch: Epoch) -> bool {
        if self.enter_any() == epoch {
            return true;
        }
        self.leave();
        false
    }

    /// Counts one more, and says in which epoch.
    pub(crate) fn enter_any(&self) -> Epoch {
        epoch_of(self.word.fetch_add(1, Ordering::SeqCst))
    }

    /// Counts one less.
    pub(crate) fn leave(&self) {
        let before = self.word.fetch_sub(1, Ordering::SeqCst);
        if before & DRAINING != 0 && before & COUNT == 1 {
            self.bell.notify_one();
        }
    }

    /// Begins another epoch, in which the count is or is not waited for. Returns it, with the count.
    pub(crate) fn turn(&self, draining: bool) -> (Epoch, u32) {
        let flag = if draining { DRAINING } else { 0 };
        let next = |word: u64| (word.wrapping_add(EPOCH) & !DRAINING) | flag;
        let before = self.word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |word| Some(next(word)));
        let after = next(before.unwrap_or_else(|word| word));
        (epoch_of(after), (after & COUNT) as u32)
    }

    /// From now on the count is waited for, in the same epoch.
    pub(crate) fn drain(&self) {
        self.word.fetch_or(DRAINING, Ordering::SeqCst);
    }

    /// Ends the waiting if nothing is in flight; says whether that is so.
    pub(crate) fn settle(&self) -> bool {
        let settle = |word: u64| (word & COUNT == 0).then_some(word & !DRAINING);
        self.word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, settle).is_ok()
    }

    /// Makes the slots of this counter useless if nothing is in flight; says whether that is so.
    pub(crate) fn retire(&self) -> bool {
        let retire = |word: u64| (word & COUNT == 0).then_some(word.wrapping_add(EPOCH));
        self.word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, retire).is_ok()
    }

    pub(crate) fn count(&self) -> u32 {
        (self.word.load(Ordering::SeqCst) & COUNT) as u32
    }

    pub(crate) fn epoch(&self) -> Epoch {
        epoch_of(self.word.load(Ordering::SeqCst))
    }
}

fn epoch_of(word: u64) -> Epoch {
    Epoch(word / EPOCH)
}

/// What the gate knows of a user, as of one epoch.
pub(crate) struct Slot {
    pub(crate) counter: Arc<Counter>,
    pub(crate) epoch: Epoch,
    /// `None`: not known; the slot only keeps the count, and the revision below which no answer is taken.
    pub(crate) known: Option<Known>,
    /// The newest revision that was heard of.
    pub(crate) floor: i64,
    /// Known, and not paused.
    pub(crate) open: bool,
    /// Whether it was used since the last sweep.
    used: AtomicBool,
}

impl Slot {
    pub(crate) fn new(counter: Arc<Counter>, epoch: Epoch, known: Option<Known>, floor: i64) -> Arc<Self> {
        let open = known.as_ref().is_some_and(|known| !known.paused);
        let floor = known.as_ref().map_or(floor, |known| known.revision);
        Arc::new(Self { counter, epoch, known, floor, open, used: AtomicBool::new(true) })
    }

    /// Remembers that it was used. Writes only once a sweep, so that readers share the line.
    pub(crate) fn touch(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was used since this was last asked.
    pub(crate) fn was_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rung(bell: &Notify) -> bool {
        use futures_util::FutureExt;
        bell.notified().now_or_never().is_some()
    }

    #[test]
    fn a_change_turns_back_who_comes_later_and_counts_who_came_before() {
        let bell = Arc::new(Notify::new());
        let counter = Counter::new(&bell);
        let old = counter.epoch();
        assert!(counter.enter(old));
        let (new, in_flight) = counter.turn(true);
        assert_eq!(in_flight, 1);
        assert!(!counter.enter(old), "the slot is out of date");
        assert!(!rung(&bell), "the first is still in flight");
        assert_eq!(counter.count(), 1);
        counter.leave();
        assert!(rung(&bell));
        assert!(counter.settle() && counter.enter(new));
    }

    #[test]
    fn what_is_in_flight_is_neither_retired_nor_settled() {
        let counter = Counter::new(&Arc::new(Notify::new()));
        let epoch = counter.enter_any();
        assert!(!counter.retire() && !counter.settle());
        counter.leave();
        assert!(counter.retire());
        assert!(!counter.enter(epoch), "a reader that still holds the slot is turned back");
        assert_eq!(counter.count(), 0);
    }

    #[test]
    fn the_epoch_wraps_without_touching_the_count() {
        let counter = Counter::new(&Arc::new(Notify::new()));
        counter.word.store(u64::MAX - COUNT - DRAINING + 7, Ordering::SeqCst);
        let (epoch, count) = counter.turn(false);
        assert_eq!((epoch, count), (Epoch(0), 7));
    }
}
