//! One user in the cache: what is known, and how many requests are in flight.
//!
//! What is known never changes within a [`Slot`]: a change makes another one that shares the [`Counter`]. A word
//! of the counter holds the number in flight *and* the epoch, so that entering and learning whether the slot is
//! still the newest is a single atomic step: a request either counts before a change, and the change sees it,
//! or comes after it and is turned back. Each thread counts in a word of its own, or nearly.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::known::{Known, States};

const COUNT: u64 = u32::MAX as u64;
/// Somebody waits for the count to reach zero.
const DRAINING: u64 = 1 << 32;
/// The epoch has the 31 bits above; one more of them wraps around in silence.
const EPOCH: u64 = 1 << 33;
/// The words that a user's counter has: a power of two.
const STRIPES: usize = 4;
/// How many users' words lie together. They are many, so that each stripe is dense: a thread that counts many users
/// has few lines of memory to keep at hand.
const GROUP: usize = 1024;

/// How many requests a user has in flight, look-ups on their way included. [`Counter::turn`] and what reads all
/// words is called under the core's mutex only, so all words are of one epoch there.
///
/// Copies are the same counter.
#[derive(Clone, Copy)]
pub(crate) struct Counter {
    group: &'static Group,
    at: u16,
}

/// The words of many users. It is never given back to the system: a permit reaches its word without a count of
/// references, which all threads would write to. A core that ends leaves its groups to the next one.
struct Group {
    stripes: [Words; STRIPES],
    /// Whoever waits for counts to reach zero; of the core whose group it is now.
    bell: Mutex<Arc<Notify>>,
}

/// Words that one in so many threads counts in, apart from the next ones.
#[repr(align(128))]
struct Words([AtomicU64; GROUP]);

/// One word of a counter that was entered, and has to be left.
#[derive(Clone, Copy)]
pub(crate) struct Stripe {
    group: &'static Group,
    lane: u16,
    at: u16,
}

/// Gives counters out, and takes them back. Under the core's mutex.
#[derive(Default)]
pub(crate) struct Counters {
    free: Vec<Counter>,
    groups: Vec<&'static Group>,
}

/// Groups of cores that have ended, in which nothing is in flight.
static LEFT: Mutex<Vec<&'static Group>> = Mutex::new(Vec::new());

impl Group {
    fn new(bell: &Arc<Notify>) -> &'static Self {
        let left = LEFT.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(group) = left {
            *group.bell.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(bell);
            return group;
        }
        let words = |_| Words(std::array::from_fn(|_| AtomicU64::new(0)));
        let bell = Mutex::new(Arc::clone(bell));
        Box::leak(Box::new(Self { stripes: std::array::from_fn(words), bell }))
    }

    fn is_idle(&self) -> bool {
        let mut words = self.stripes.iter().flat_map(|stripe| &stripe.0);
        words.all(|word| word.load(Ordering::SeqCst) & COUNT == 0)
    }

    fn ring(&self) {
        self.bell.lock().unwrap_or_else(PoisonError::into_inner).notify_one();
    }
}

impl Counters {
    /// A counter with nothing in flight.
    pub(crate) fn take(&mut self, bell: &Arc<Notify>) -> Counter {
        if let Some(counter) = self.free.pop() {
            return counter;
        }
        let group = Group::new(bell);
        self.groups.push(group);
        let counter = |at| Counter { group, at: at as u16 };
        self.free.extend((1..GROUP).map(counter));
        let first = counter(0);
        // The words of a counter have one epoch, also where the core that it is from ended in between.
        for counter in self.free.iter().chain([&first]) {
            counter.align();
        }
        first
    }

    /// Takes back a counter that was turned when nothing was in flight. Its epochs go on, so whoever still has a
    /// slot of its last user is turned back from the next one's.
    pub(crate) fn give_back(&mut self, counter: Counter) {
        self.free.push(counter);
    }
}

impl Drop for Counters {
    fn drop(&mut self) {
        // One in which something is still in flight stays as it is: its permits count in it.
        self.groups.retain(|group| group.is_idle());
        LEFT.lock().unwrap_or_else(PoisonError::into_inner).append(&mut self.groups);
    }
}

/// A number that each change of a user's slot makes another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch(u32);

impl Stripe {
    fn word(&self) -> &'static AtomicU64 {
        &self.group.stripes[usize::from(self.lane) % STRIPES].0[usize::from(self.at) % GROUP]
    }

    /// Counts one less.
    #[inline]
    pub(crate) fn leave(&self) {
        let before = self.word().fetch_sub(1, Ordering::SeqCst);
        if before & DRAINING != 0 && before & COUNT == 1 {
            self.group.ring();
        }
    }
}

/// Which stripe this thread counts in.
#[inline]
fn mine() -> u16 {
    const NONE: u16 = u16::MAX;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static MINE: Cell<u16> = const { Cell::new(NONE) });
    MINE.with(|mine| {
        if mine.get() == NONE {
            mine.set((NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES) as u16);
        }
        mine.get()
    })
}

impl Counter {
    /// Whether the other is a copy of this one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        std::ptr::eq(self.group, other.group) && self.at == other.at
    }

    /// Each word once.
    fn words(&self) -> impl Iterator<Item = &'static AtomicU64> {
        let Self { group, at } = *self;
        group.stripes.iter().map(move |stripe| &stripe.0[usize::from(at)])
    }

    #[inline]
    fn mine(&self) -> Stripe {
        Stripe { group: self.group, lane: mine(), at: self.at }
    }

    /// Brings all words to one epoch, the highest. Nothing is in flight.
    fn align(&self) {
        let highest = self.words().map(|word| word.load(Ordering::SeqCst) / EPOCH).max().unwrap_or(0);
        self.words().for_each(|word| word.store(highest * EPOCH, Ordering::SeqCst));
    }

    /// Counts one more, if the epoch is still this one. Who gets the word has to leave it.
    #[inline]
    pub(crate) fn enter(&self, epoch: Epoch) -> Option<Stripe> {
        let stripe = self.mine();
        if epoch_of(stripe.word().fetch_add(1, Ordering::SeqCst)) == epoch {
            return Some(stripe);
        }
        stripe.leave();
        None
    }

    /// Counts one more, and says in which epoch.
    pub(crate) fn enter_any(&self) -> (Stripe, Epoch) {
        let stripe = self.mine();
        let epoch = epoch_of(stripe.word().fetch_add(1, Ordering::SeqCst));
        (stripe, epoch)
    }

    /// Begins another epoch, in which the count is or is not waited for. Returns it, with the count.
    pub(crate) fn turn(&self, draining: bool) -> (Epoch, u32) {
        let flag = if draining { DRAINING } else { 0 };
        let next = |word: u64| (word.wrapping_add(EPOCH) & !DRAINING) | flag;
        let mut all = 0;
        for word in self.words() {
            let before = word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |word| Some(next(word)));
            all += (before.unwrap_or_else(|word| word) & COUNT) as u32;
        }
        (self.epoch(), all)
    }

    /// From now on the count is waited for, in the same epoch.
    pub(crate) fn drain(&self) {
        for word in self.words() {
            word.fetch_or(DRAINING, Ordering::SeqCst);
        }
    }

    /// Ends the waiting if nothing is in flight of what was when it began; says whether that is so.
    pub(crate) fn settle(&self) -> bool {
        // What was in flight can only leave, so words that are found empty one after the other were all left.
        if self.count() > 0 {
            return false;
        }
        for word in self.words() {
            word.fetch_and(!DRAINING, Ordering::SeqCst);
        }
        true
    }

    pub(crate) fn count(&self) -> u32 {
        self.words().map(|word| (word.load(Ordering::SeqCst) & COUNT) as u32).sum()
    }

    pub(crate) fn epoch(&self) -> Epoch {
        epoch_of(self.group.stripes[0].0[usize::from(self.at)].load(Ordering::SeqCst))
    }
}

fn epoch_of(word: u64) -> Epoch {
    Epoch((word / EPOCH) as u32)
}

/// What the gate knows of a user, as of one epoch. Small: with a short key it lies on one line of memory, or two.
pub(crate) struct Slot {
    pub(crate) counter: Counter,
    pub(crate) epoch: Epoch,
    /// The newest revision that was heard of; what is known is of it.
    pub(crate) floor: i64,
    /// `None`: nothing is known; the slot only keeps the count, and the revision below which no answer is taken.
    states: Option<&'static States>,
    paused: bool,
    /// Known, and not paused.
    pub(crate) open: bool,
    /// Whether it was used since the last sweep.
    used: AtomicBool,
}

impl Slot {
    pub(crate) fn new(counter: Counter, epoch: Epoch, known: Option<Known>, floor: i64) -> Self {
        let open = known.is_some_and(|known| !known.paused);
        let paused = known.is_some_and(|known| known.paused);
        let floor = known.map_or(floor, |known| known.revision);
        let states = known.map(|known| known.states);
        Self { counter, epoch, floor, states, paused, open, used: AtomicBool::new(true) }
    }

    /// What is known.
    #[inline]
    pub(crate) fn known(&self) -> Option<Known> {
        let Self { floor: revision, paused, .. } = *self;
        self.states.map(|states| Known { revision, paused, states })
    }

    /// The slot as it is, to work with once the map is let go.
    pub(crate) fn copy(&self) -> Self {
        Self::new(self.counter, self.epoch, self.known(), self.floor)
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
        let counter = Counters::default().take(&bell);
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
        let counter = Counters::default().take(&Arc::new(Notify::new()));
        let epoch = counter.epoch();
        let enter = || counter.enter(epoch).unwrap();
        let entered: Vec<Stripe> = std::thread::scope(|scope| {
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
    fn a_counter_given_back_turns_back_who_knew_its_last_user() {
        let mut counters = Counters::default();
        let counter = counters.take(&Arc::new(Notify::new()));
        let old = counter.epoch();
        counter.turn(false);
        counters.give_back(counter);
        let next = counters.take(&Arc::new(Notify::new()));
        assert!(next.is(&counter) && !next.is(&counters.take(&Arc::new(Notify::new()))));
        assert!(counter.enter(old).is_none() && next.enter(next.epoch()).is_some());
    }

    #[test]
    fn a_core_that_ends_leaves_its_counters_to_the_next_one_but_for_those_in_use() {
        let bell = Arc::new(Notify::new());
        let mut counters = Counters::default();
        let (counter, busy) = (counters.take(&bell), counters.groups[0]);
        let (permit, _) = counter.enter_any();
        drop(counters);
        let mut next = Counters::default();
        for _ in 0..GROUP * 8 {
            let other = next.take(&Arc::new(Notify::new()));
            assert!(!std::ptr::eq(other.group, busy), "something is in flight there");
            assert!(other.words().all(|word| epoch_of(word.load(Ordering::SeqCst)) == other.epoch()));
        }
        permit.leave();
    }

    #[test]
    fn the_epoch_wraps_without_touching_the_count() {
        let counter = Counters::default().take(&Arc::new(Notify::new()));
        for word in counter.words() {
            word.store(u64::MAX - COUNT - DRAINING + 7, Ordering::SeqCst);
        }
        let (epoch, count) = counter.turn(false);
        assert_eq!((epoch, count), (Epoch(0), 7 * STRIPES as u32));
    }
}
