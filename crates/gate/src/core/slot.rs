//! One user in the cache: what is known, and how many requests are in flight.
//!
//! What is known never changes within a [`Slot`]: a change makes another one that shares the [`Counter`]. A word
//! of the counter holds the number in flight *and* the epoch, so that entering and learning whether the slot is
//! still the newest is a single atomic step: a request either counts before a change, and the change sees it,
//! or comes after it and is turned back. Each thread counts in a word of its own, or nearly.

use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::known::Known;

const COUNT: u64 = u32::MAX as u64;
/// Somebody waits for the count to reach zero.
const DRAINING: u64 = 1 << 32;
/// The epoch has the 31 bits above; one more of them wraps around in silence.
const EPOCH: u64 = 1 << 33;
/// The most words that a user's counter has; each takes a line of the processor's cache.
const MOST_STRIPES: usize = 4;

/// How many words each counter has on this machine: a power of two.
static STRIPES: LazyLock<usize> = LazyLock::new(|| {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    threads.next_power_of_two().min(MOST_STRIPES)
});

/// How many requests a user has in flight, look-ups on their way included. [`Counter::turn`] and what reads all
/// words is called under the core's mutex only, so all words are of one epoch there.
///
/// Clones are the same counter. Each thread's word is reached from the slot in one step, so where there are fewer
/// words than [`MOST_STRIPES`], they are named again.
#[derive(Clone)]
pub(crate) struct Counter {
    stripes: [Arc<Stripe>; MOST_STRIPES],
}

/// One word of a counter. A permit holds it, so that its own reference count lies on the same line.
pub(crate) struct Stripe {
    word: AtomicU64,
    bell: Arc<Notify>,
    /// Keeps the next word, of another thread, off this line.
    _apart: [u64; 4],
}

/// A number that each change of a user's slot makes another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch(u64);

impl Stripe {
    /// Counts one less.
    pub(crate) fn leave(&self) {
        let before = self.word.fetch_sub(1, Ordering::SeqCst);
        if before & DRAINING != 0 && before & COUNT == 1 {
            self.bell.notify_one();
        }
    }

    fn enter(&self) -> Epoch {
        epoch_of(self.word.fetch_add(1, Ordering::SeqCst))
    }

    fn count(&self) -> u32 {
        (self.word.load(Ordering::SeqCst) & COUNT) as u32
    }
}

impl Counter {
    pub(crate) fn new(bell: &Arc<Notify>) -> Self {
        let stripe = |_| Arc::new(Stripe { word: AtomicU64::new(0), bell: Arc::clone(bell), _apart: [0; 4] });
        let own: Vec<Arc<Stripe>> = (0..*STRIPES).map(stripe).collect();
        Self { stripes: std::array::from_fn(|at| Arc::clone(&own[at % own.len()])) }
    }

    /// Whether the other is a clone of this one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.stripes[0], &other.stripes[0])
    }

    /// Each word once.
    fn words(&self) -> impl Iterator<Item = &Arc<Stripe>> {
        self.stripes.iter().take(*STRIPES)
    }

    /// This thread's word.
    fn stripe(&self) -> &Arc<Stripe> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed));
        let mine = MINE.try_with(|mine| *mine).unwrap_or(0);
        &self.stripes[mine % MOST_STRIPES]
    }

    /// Counts one more, if the epoch is still this one. Who gets the word has to leave it.
    #[inline]
    pub(crate) fn enter(&self, epoch: Epoch) -> Option<Arc<Stripe>> {
        let stripe = self.stripe();
        if stripe.enter() == epoch {
            return Some(Arc::clone(stripe));
        }
        stripe.leave();
        None
    }

    /// Counts one more, and says in which epoch.
    pub(crate) fn enter_any(&self) -> (Arc<Stripe>, Epoch) {
        let stripe = self.stripe();
        let epoch = stripe.enter();
        (Arc::clone(stripe), epoch)
    }

    /// Begins another epoch, in which the count is or is not waited for. Returns it, with the count.
    pub(crate) fn turn(&self, draining: bool) -> (Epoch, u32) {
        let flag = if draining { DRAINING } else { 0 };
        let next = |word: u64| (word.wrapping_add(EPOCH) & !DRAINING) | flag;
        let mut all = 0;
        for stripe in self.words() {
            let word = &stripe.word;
            let before = word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |word| Some(next(word)));
            all += (before.unwrap_or_else(|word| word) & COUNT) as u32;
        }
        (self.epoch(), all)
    }

    /// From now on the count is waited for, in the same epoch.
    pub(crate) fn drain(&self) {
        for stripe in self.words() {
            stripe.word.fetch_or(DRAINING, Ordering::SeqCst);
        }
    }

    /// Ends the waiting if nothing is in flight of what was when it began; says whether that is so.
    pub(crate) fn settle(&self) -> bool {
        // What was in flight can only leave, so words that are found empty one after the other were all left.
        if self.count() > 0 {
            return false;
        }
        for stripe in self.words() {
            stripe.word.fetch_and(!DRAINING, Ordering::SeqCst);
        }
        true
    }

    pub(crate) fn count(&self) -> u32 {
        self.words().map(|stripe| stripe.count()).sum()
    }

    pub(crate) fn epoch(&self) -> Epoch {
        epoch_of(self.stripes[0].word.load(Ordering::SeqCst))
    }
}

fn epoch_of(word: u64) -> Epoch {
    Epoch(word / EPOCH)
}

/// What the gate knows of a user, as of one epoch.
pub(crate) struct Slot {
    pub(crate) counter: Counter,
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
    pub(crate) fn new(counter: Counter, epoch: Epoch, known: Option<Known>, floor: i64) -> Self {
        let open = known.is_some_and(|known| !known.paused);
        let floor = known.map_or(floor, |known| known.revision);
        Self { counter, epoch, known, floor, open, used: AtomicBool::new(true) }
    }

    /// The slot as it is, to work with once the map is let go.
    pub(crate) fn copy(&self) -> Self {
        Self::new(self.counter.clone(), self.epoch, self.known, self.floor)
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
        let first = counter.enter(old).unwrap();
        let (new, in_flight) = counter.turn(true);
        assert_eq!(in_flight, 1);
        assert!(counter.enter(old).is_none(), "the slot is out of date");
        assert!(!rung(&bell), "the first is still in flight");
        assert!(counter.count() == 1 && !counter.settle());
        first.leave();
        assert!(rung(&bell));
        assert!(counter.settle() && counter.enter(new).is_some());
    }

    #[test]
    fn threads_count_apart_and_a_change_sees_them_all() {
        let counter = Counter::new(&Arc::new(Notify::new()));
        let epoch = counter.epoch();
        let enter = || counter.enter(epoch).unwrap();
        let entered: Vec<Arc<Stripe>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(enter)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(counter.turn(true).1, 8);
        let turned_back = || counter.enter(epoch).is_none();
        std::thread::scope(|scope| {
            assert!((0..8).map(|_| scope.spawn(turned_back)).all(|thread| thread.join().unwrap()));
        });
        // Left by other threads than they were entered by.
        for stripe in &entered {
            stripe.leave();
        }
        assert!(counter.settle());
    }

    #[test]
    fn the_epoch_wraps_without_touching_the_count() {
        let counter = Counter::new(&Arc::new(Notify::new()));
        for stripe in counter.words() {
            stripe.word.store(u64::MAX - COUNT - DRAINING + 7, Ordering::SeqCst);
        }
        let (epoch, count) = counter.turn(false);
        assert_eq!((epoch, count), (Epoch(0), 7 * *STRIPES as u32));
    }
}
