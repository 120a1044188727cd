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
/// The most words that a user's counter has.
const MOST_STRIPES: usize = 4;
/// How many users' words lie together, for one of the stripes. They are many to keep the cache of the processor
/// small, and so the reference count before them is on a line that its threads have at hand.
const CHUNK: usize = 1024;

/// How many words each counter has on this machine: a power of two.
static STRIPES: LazyLock<usize> = LazyLock::new(|| {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    threads.next_power_of_two().min(MOST_STRIPES)
});

/// How many requests a user has in flight, look-ups on their way included. [`Counter::turn`] and what reads all
/// words is called under the core's mutex only, so all words are of one epoch there.
///
/// Clones are the same counter. Each thread's word is reached from the slot in one step, so where there are fewer
/// stripes than [`MOST_STRIPES`], they are named again.
#[derive(Clone)]
pub(crate) struct Counter {
    chunks: [Arc<Chunk>; MOST_STRIPES],
    at: usize,
}

/// Words of many users, which one in so many threads counts in.
struct Chunk {
    words: [AtomicU64; CHUNK],
    bell: Arc<Notify>,
    /// Keeps what lies behind, of another thread, off the last line.
    _apart: [u64; 16],
}

/// One word of a counter that was entered, and has to be left.
pub(crate) struct Stripe {
    chunk: Arc<Chunk>,
    at: usize,
}

/// Gives counters out, and takes them back. Under the core's mutex.
#[derive(Default)]
pub(crate) struct Counters {
    free: Vec<Counter>,
}

impl Counters {
    /// A counter with nothing in flight.
    pub(crate) fn take(&mut self, bell: &Arc<Notify>) -> Counter {
        if let Some(counter) = self.free.pop() {
            return counter;
        }
        let chunk = |_| {
            let words = std::array::from_fn(|_| AtomicU64::new(0));
            Arc::new(Chunk { words, bell: Arc::clone(bell), _apart: [0; 16] })
        };
        let own: Vec<Arc<Chunk>> = (0..*STRIPES).map(chunk).collect();
        let chunks: [Arc<Chunk>; MOST_STRIPES] = std::array::from_fn(|at| Arc::clone(&own[at % own.len()]));
        self.free.extend((1..CHUNK).map(|at| Counter { chunks: chunks.clone(), at }));
        Counter { chunks, at: 0 }
    }

    /// Takes back a counter that was turned when nothing was in flight. Its epochs go on, so whoever still has a
    /// slot of its last user is turned back from the next one's.
    pub(crate) fn give_back(&mut self, counter: Counter) {
        self.free.push(counter);
    }
}

/// A number that each change of a user's slot makes another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch(u64);

impl Stripe {
    /// Counts one less.
    #[inline]
    pub(crate) fn leave(&self) {
        leave(&self.chunk, self.at);
    }
}

#[inline]
fn leave(chunk: &Chunk, at: usize) {
    let before = chunk.words[at].fetch_sub(1, Ordering::SeqCst);
    if before & DRAINING != 0 && before & COUNT == 1 {
        chunk.bell.notify_one();
    }
}

impl Counter {
    /// Whether the other is a clone of this one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.chunks[0], &other.chunks[0]) && self.at == other.at
    }

    /// Each word once.
    fn words(&self) -> impl Iterator<Item = &AtomicU64> {
        self.chunks.iter().take(*STRIPES).map(|chunk| &chunk.words[self.at])
    }

    /// Where this thread counts.
    #[inline]
    fn mine(&self) -> &Arc<Chunk> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed));
        let mine = MINE.try_with(|mine| *mine).unwrap_or(0);
        &self.chunks[mine % MOST_STRIPES]
    }

    /// Counts one more, if the epoch is still this one. Who gets the word has to leave it.
    #[inline]
    pub(crate) fn enter(&self, epoch: Epoch) -> Option<Stripe> {
        let chunk = self.mine();
        if epoch_of(chunk.words[self.at].fetch_add(1, Ordering::SeqCst)) == epoch {
            return Some(Stripe { chunk: Arc::clone(chunk), at: self.at });
        }
        leave(chunk, self.at);
        None
    }

    /// Counts one more, and says in which epoch.
    pub(crate) fn enter_any(&self) -> (Stripe, Epoch) {
        let chunk = self.mine();
        let epoch = epoch_of(chunk.words[self.at].fetch_add(1, Ordering::SeqCst));
        (Stripe { chunk: Arc::clone(chunk), at: self.at }, epoch)
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
        epoch_of(self.chunks[0].words[self.at].load(Ordering::SeqCst))
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
        counters.give_back(counter.clone());
        let next = counters.take(&Arc::new(Notify::new()));
        assert!(next.is(&counter) && !next.is(&counters.take(&Arc::new(Notify::new()))));
        assert!(counter.enter(old).is_none() && next.enter(next.epoch()).is_some());
    }

    #[test]
    fn the_epoch_wraps_without_touching_the_count() {
        let counter = Counters::default().take(&Arc::new(Notify::new()));
        for word in counter.words() {
            word.store(u64::MAX - COUNT - DRAINING + 7, Ordering::SeqCst);
        }
        let (epoch, count) = counter.turn(false);
        assert_eq!((epoch, count), (Epoch(0), 7 * *STRIPES as u32));
    }
}
