//! The heart of a gate, without I/O and without a clock of its own: what is cached, under which lease, what is
//! in flight, and what may be acknowledged.
//!
//! Cached decisions take no lock. Everything else happens under one mutex, so that a change, an answer and an
//! acknowledgement have an order; none of it waits for anything. Times are given by the caller.

mod key;
mod known;
mod lease;
mod news;
mod permit;
mod slot;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use handover_fault::{Mutant, mutated};
use tokio::sync::Notify;

use crate::clock::Moment;
use crate::waiting::WaitingRoom;
use key::Key;
pub(crate) use known::Known;
use lease::Leases;
pub(crate) use news::{Acknowledgement, Change, Entry, Lost, Place, Read};
pub(crate) use permit::{Asking, Permit};
use slot::{Counter, Counters, Slot};

/// A gate's bounds, as far as the core needs them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) lease: Duration,
    pub(crate) max_request: Duration,
    /// Users in the cache, but for those in flight.
    pub(crate) capacity: usize,
}

/// What is known at once.
pub(crate) enum Look {
    /// The request may go on.
    Admitted(Permit),
    /// The user is paused.
    Paused,
    /// Identity has to be asked.
    Ask(Asking),
    /// This gate is no member, or not yet: it may serve nobody.
    Closed,
}

/// What an answer led to.
pub(crate) enum Answered {
    /// The request may go on.
    Admitted(Permit),
    /// The user is paused.
    Paused,
    /// The answer is worth nothing: it was overtaken by a change, is older than one, or came too late. To be
    /// looked up anew.
    Again,
    /// This gate is a member no longer.
    Closed,
}

pub(crate) struct Core {
    map: papaya::HashMap<Key, Slot, RandomState>,
    leases: Leases,
    limits: Limits,
    books: Mutex<Books>,
    bell: Arc<Notify>,
    room: Arc<WaitingRoom>,
}

/// What changes under the mutex.
#[derive(Default)]
struct Books {
    place: Option<Place>,
    /// When the last complete read *on this connection* was sent. What is new in the next one was written
    /// after that, by a server that was in use then.
    read_before: Option<Moment>,
    /// Users whose count is waited for.
    draining: HashMap<Box<str>, Drain>,
    counters: Counters,
    /// Permits of requests that were given up after they had handed them on.
    lingering: Vec<Permit>,
}

struct Drain {
    counter: Counter,
    /// In flight since before something may have been missed: only an end of all its requests clears it.
    suspect: bool,
}

impl Books {
    /// From now on the user's count is waited for.
    fn drain(&mut self, user: &str, counter: &Counter, suspect: bool) {
        // An entry of another counter is of one that was dropped, with nothing in flight.
        let suspect = suspect || self.suspects(user, counter);
        self.draining.insert(user.into(), Drain { counter: *counter, suspect });
    }

    /// The user has left the cache with nothing in flight.
    fn dropped(&mut self, user: &str, counter: &Counter) {
        // It is another user's from now on, and must not be waited for in this one's name.
        if self.draining.get(user).is_some_and(|drain| drain.counter.is(counter)) {
            self.draining.remove(user);
        }
        self.counters.give_back(*counter);
    }

    fn suspects(&self, user: &str, counter: &Counter) -> bool {
        self.draining.get(user).is_some_and(|drain| drain.suspect && drain.counter.is(counter))
    }
}

impl Core {
    pub(crate) fn new(limits: Limits, room: Arc<WaitingRoom>) -> Self {
        Self {
            map: papaya::HashMap::builder().hasher(RandomState::default()).build(),
            leases: Leases::default(),
            limits,
            books: Mutex::default(),
            bell: Arc::new(Notify::new()),
            room,
        }
    }

    /// Rings when there may be something new to acknowledge.
    pub(crate) fn bell(&self) -> &Arc<Notify> {
        &self.bell
    }

    /// The decision for a user who is cached and not paused; `None` for any other. No lock, no allocation.
    #[inline]
    pub(crate) fn admit_cached(&self, user: &str, now: Moment) -> Option<Permit> {
        if !self.leases.cache_holds(now) {
            return None;
        }
        let map = self.map.pin();
        let slot = map.get(user.as_bytes()).filter(|slot| slot.open)?;
        let known = slot.known()?;
        slot.touch();
        // In flight only if the slot is still the newest at the very moment of counting.
        let stripe = slot.counter.enter(slot.epoch)?;
        Some(Permit::of(stripe, known, now + self.limits.max_request))
    }

    /// What is known of a user: the cached decision, or a question that counts as in flight already.
    pub(crate) fn look(&self, user: &str, now: Moment) -> Look {
        if let Some(permit) = self.admit_cached(user, now) {
            return Look::Admitted(permit);
        }
        if !self.leases.member_holds(now) {
            return Look::Closed;
        }
        let mut books = self.books();
        let slot = self.slot_of(&mut books, user);
        if let Some(known) = slot.known().filter(|_| self.leases.cache_holds(now)) {
            if known.paused {
                return Look::Paused;
            }
            let (stripe, _) = slot.counter.enter_any();
            return Look::Admitted(Permit::of(stripe, known, now + self.limits.max_request));
        }
        let (stripe, epoch) = slot.counter.enter_any();
        Look::Ask(Asking { user: user.into(), stripe, epoch, asked: now })
    }

    /// Takes Identity's answer to a question. It fills the cache and admits the request only if nothing was
    /// heard of the user since the question was asked, and it is no older than what was heard before.
    pub(crate) fn answered(&self, asking: &Asking, known: Known, now: Moment) -> Answered {
        // Counted from when the question was *sent*: the answer may have been true only then.
        let deadline = asking.asked + self.limits.max_request;
        if !self.leases.member_holds(now) {
            return Answered::Closed;
        }
        let mut books = self.books();
        let slot = self.slot_of(&mut books, &asking.user);
        if slot.counter.epoch() != asking.epoch || known.revision < slot.floor || deadline <= now {
            return Answered::Again;
        }
        self.fill(&books, &asking.user, &slot, known);
        if known.paused {
            return Answered::Paused;
        }
        let (stripe, _) = slot.counter.enter_any();
        Answered::Admitted(Permit::of(stripe, known, deadline))
    }

    fn fill(&self, books: &Books, user: &str, slot: &Slot, known: Known) {
        if slot.known() == Some(known) {
            return;
        }
        // Where nothing was known nobody can have been admitted by it, and other questions stay good.
        let epoch = match slot.known() {
            None => slot.counter.epoch(),
            Some(_) => slot.counter.turn(books.draining.contains_key(user)).0,
        };
        let filled = Slot::new(slot.counter, epoch, Some(known), slot.floor);
        self.map.pin().insert(user.into(), filled);
    }

    /// Admits what an admitted request has handed on: the pause waits for that one, so this one must not wait.
    pub(crate) fn continued(
        &self,
        user: &str,
        known: Known,
        deadline: Moment,
        now: Moment,
    ) -> Option<Permit> {
        if !self.leases.member_holds(now) || deadline <= now {
            return None;
        }
        let mut books = self.books();
        let slot = self.slot_of(&mut books, user);
        let (stripe, _) = slot.counter.enter_any();
        if !slot.open {
            slot.counter.drain();
            books.drain(user, &slot.counter, true);
            self.bell.notify_one();
        }
        Some(Permit::of(stripe, known, deadline.min(now + self.limits.max_request)))
    }

    /// Keeps the permit of a request that was given up until its deadline: an inner service that it was handed
    /// on to may still be at work.
    pub(crate) fn linger(&self, permit: Permit) {
        self.books().lingering.push(permit);
    }

    /// Another connection: what it brings first may be old.
    pub(crate) fn connected(&self) {
        self.books().read_before = None;
    }

    /// Where the stream is to be followed from, unless that is not known.
    pub(crate) fn place(&self) -> Option<Place> {
        self.books().place.clone()
    }

    /// Begins to follow the stream after that entry, which was the last one when `sent` had passed. Forgets
    /// everything that was known.
    pub(crate) fn positioned(&self, place: Place, sent: Moment) {
        let mut books = self.books();
        self.forget_all(&mut books);
        books.place = Some(place);
        books.read_before = Some(sent);
        drop(books);
        self.bell.notify_one();
    }

    /// Takes what a read brought. Only entries that follow without a gap on the one at the gate's place renew
    /// the lease, and they do from when the read *before* was sent: those that were in the stream by then may
    /// have been written by whoever has been cut off since. Otherwise everything is forgotten.
    pub(crate) fn read(&self, read: Read) -> Result<(), Lost> {
        let mut books = self.books();
        let advanced = match self.apply(&mut books, read.entries) {
            Ok(advanced) => advanced,
            Err(lost) => {
                self.forget_all(&mut books);
                return Err(lost);
            }
        };
        if read.complete {
            if let Some(sent) = books.read_before.filter(|_| advanced || mutated(Mutant::PingRenews)) {
                self.leases.heard(sent + self.limits.lease);
            }
            books.read_before = Some(read.sent);
        }
        drop(books);
        if advanced {
            self.bell.notify_one();
        }
        Ok(())
    }

    fn apply(&self, books: &mut Books, entries: Vec<Option<Entry>>) -> Result<bool, Lost> {
        let mut place = books.place.clone().ok_or(Lost::Nowhere)?;
        let mut entries = entries.into_iter();
        match entries.next() {
            Some(Some(entry)) if entry.place == place => {}
            _ => return Err(Lost::Place),
        }
        let mut advanced = false;
        for entry in entries {
            let entry = entry.ok_or(Lost::Garbled)?;
            if entry.place.generation != place.generation {
                return Err(Lost::Generation);
            }
            if entry.place.number != place.number + 1 {
                return Err(Lost::Gap);
            }
            for change in &entry.changes {
                self.change(books, change, entry.forced);
            }
            place = entry.place;
            advanced = true;
        }
        books.place = Some(place);
        Ok(advanced)
    }

    /// Takes one change. Of a user who is neither cached nor asked for there is nothing to change.
    fn change(&self, books: &mut Books, change: &Change, forced: bool) {
        let user: &str = &change.user;
        let Some(slot) = self.map.pin().get(user.as_bytes()).map(Slot::copy) else { return };
        let Some(known) = change.known else {
            self.forget(books, user, &slot);
            return;
        };
        let paused = known.paused;
        if (known.revision < slot.floor && !forced) || (!paused && slot.known() == Some(known)) {
            return;
        }
        let suspect = books.suspects(user, &slot.counter);
        let (epoch, in_flight) = slot.counter.turn(paused || suspect);
        if paused && in_flight > 0 {
            books.drain(user, &slot.counter, false);
        } else if !paused && !suspect {
            books.draining.remove(user);
        }
        let next = Slot::new(slot.counter, epoch, Some(known), slot.floor);
        self.map.pin().insert(user.into(), next);
        self.room.ring(user);
    }

    /// Forgets what is known of a user. Whoever is in flight may be paused without our having heard.
    fn forget(&self, books: &mut Books, user: &str, slot: &Slot) {
        let (epoch, in_flight) = slot.counter.turn(true);
        let map = self.map.pin();
        if in_flight == 0 {
            map.remove(user.as_bytes());
            books.dropped(user, &slot.counter);
            return;
        }
        books.drain(user, &slot.counter, true);
        map.insert(user.into(), Slot::new(slot.counter, epoch, None, slot.floor));
    }

    fn forget_all(&self, books: &mut Books) {
        books.place = None;
        books.read_before = None;
        self.leases.forget();
        let map = self.map.pin();
        for (user, slot) in &map {
            self.forget(books, user.as_str(), slot);
        }
        self.room.ring_all();
    }

    /// Everything known is forgotten, and the stream is to be followed anew.
    pub(crate) fn forget_everything(&self) {
        self.forget_all(&mut self.books());
    }

    /// What is known of one user is forgotten; the next request asks Identity. For an application that has just
    /// signed a user up and cannot wait until the change comes round.
    pub(crate) fn forget_user(&self, user: &str) {
        let mut books = self.books();
        let found = self.map.pin().get(user.as_bytes()).map(Slot::copy);
        if let Some(slot) = found {
            self.forget(&mut books, user, &slot);
        }
        drop(books);
        self.room.ring(user);
    }

    /// What may be told now; `None` before the stream was first read. Also ends what lingers.
    pub(crate) fn acknowledgement(&self, now: Moment) -> Option<Acknowledgement> {
        let mut books = self.books();
        books.lingering.retain(|permit| now < permit.deadline());
        books.draining.retain(|_, drain| !drain.counter.settle());
        let place = books.place.clone()?;
        let mut busy: Vec<String> = books.draining.keys().map(ToString::to_string).collect();
        busy.sort_unstable();
        Some(Acknowledgement { place, busy })
    }

    /// Identity has acknowledged this gate's membership; the question was sent at that time.
    pub(crate) fn member(&self, sent: Moment) {
        self.leases.member(sent + self.limits.lease);
    }

    /// Admits nobody from now on.
    pub(crate) fn close(&self) {
        self.leases.close();
        self.room.ring_all();
    }

    /// Whether cached states may be relied on.
    pub(crate) fn cache_holds(&self, now: Moment) -> bool {
        self.leases.cache_holds(now)
    }

    /// Whether this gate may serve at all.
    pub(crate) fn member_holds(&self, now: Moment) -> bool {
        self.leases.member_holds(now)
    }

    /// Users in the cache.
    pub(crate) fn cached(&self) -> usize {
        self.map.len()
    }

    /// Requests and look-ups in flight.
    pub(crate) fn in_flight(&self) -> u64 {
        self.map.pin().iter().map(|(_, slot)| u64::from(slot.counter.count())).sum()
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // A panic leaves no half change that a later change would not overwrite or a count would not show.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The user's slot; makes one of which nothing is known. Under the mutex.
    fn slot_of(&self, books: &mut Books, user: &str) -> Slot {
        let map = self.map.pin();
        if let Some(slot) = map.get(user.as_bytes()) {
            return slot.copy();
        }
        if map.len() >= self.limits.capacity {
            self.sweep(books);
        }
        let counter = books.counters.take(&self.bell);
        let epoch = counter.epoch();
        let slot = Slot::new(counter, epoch, None, i64::MIN);
        map.insert(user.into(), slot.copy());
        slot
    }

    /// Makes room: drops users without requests in flight, first those who were not seen since the last time.
    fn sweep(&self, books: &mut Books) {
        let map = self.map.pin();
        let wanted = (self.limits.capacity / 8).max(1);
        let mut dropped = 0;
        for _ in 0..2 {
            for (user, slot) in &map {
                if dropped >= wanted {
                    return;
                }
                if !slot.was_used() && slot.counter.count() == 0 && self.retire(books, user.as_str(), slot) {
                    dropped += 1;
                }
            }
        }
    }

    /// Drops a user, unless a request has just come in. Whoever still holds the slot is turned back.
    fn retire(&self, books: &mut Books, user: &str, slot: &Slot) -> bool {
        let (epoch, in_flight) = slot.counter.turn(true);
        if in_flight == 0 {
            self.map.pin().remove(user.as_bytes());
            books.dropped(user, &slot.counter);
            return true;
        }
        let again = Slot::new(slot.counter, epoch, slot.known(), slot.floor);
        self.map.pin().insert(user.into(), again);
        false
    }
}
