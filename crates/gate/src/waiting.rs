//! Where held requests wait for news of their user: bounded per user and in all.
//!
//! It says only that something may have changed; whoever waits looks again. Nothing here knows why.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Bounds of a [`WaitingRoom`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seats {
    pub(crate) per_user: usize,
    pub(crate) in_all: usize,
}

pub(crate) struct WaitingRoom {
    seats: Seats,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    in_all: usize,
    users: HashMap<Box<str>, Bench>,
}

struct Bench {
    sitting: usize,
    news: Arc<Notify>,
}

/// A place in the room, until it is dropped.
pub(crate) struct Seat {
    room: Arc<WaitingRoom>,
    user: Box<str>,
    news: Arc<Notify>,
}

impl WaitingRoom {
    pub(crate) fn new(seats: Seats) -> Arc<Self> {
        Arc::new(Self { seats, taken: Mutex::default() })
    }

    /// A seat, unless too many wait already.
    pub(crate) fn sit(self: &Arc<Self>, user: &str) -> Option<Seat> {
        let mut taken = self.taken();
        if taken.in_all >= self.seats.in_all || self.seats.per_user == 0 {
            return None;
        }
        let news = match taken.users.get_mut(user) {
            Some(bench) if bench.sitting >= self.seats.per_user => return None,
            Some(bench) => {
                bench.sitting += 1;
                Arc::clone(&bench.news)
            }
            None => {
                let news = Arc::new(Notify::new());
                taken.users.insert(user.into(), Bench { sitting: 1, news: Arc::clone(&news) });
                news
            }
        };
        taken.in_all += 1;
        Some(Seat { room: Arc::clone(self), user: user.into(), news })
    }

    /// There is news of a user.
    pub(crate) fn ring(&self, user: &str) {
        if let Some(bench) = self.taken().users.get(user) {
            bench.news.notify_waiters();
        }
    }

    /// There may be news of anybody.
    pub(crate) fn ring_all(&self) {
        for bench in self.taken().users.values() {
            bench.news.notify_waiters();
        }
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.taken().in_all
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Completes at the next news. News that come between this call and its first poll count: ask for it
    /// first, and look again then.
    pub(crate) fn news(&self) -> tokio::sync::futures::Notified<'_> {
        self.news.notified()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.room.taken();
        taken.in_all -= 1;
        if let Some(bench) = taken.users.get_mut(&self.user) {
            bench.sitting -= 1;
            if bench.sitting == 0 {
                taken.users.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn seats_are_bounded_per_user_and_in_all_and_given_back() {
        let room = WaitingRoom::new(Seats { per_user: 2, in_all: 3 });
        let first = room.sit("a").unwrap();
        let _second = room.sit("a").unwrap();
        assert!(room.sit("a").is_none(), "the user's seats are taken");
        let _third = room.sit("b").unwrap();
        assert!(room.sit("c").is_none(), "all seats are taken");
        drop(first);
        assert!(room.sit("c").is_some());
        assert_eq!(room.waiting(), 2);
    }

    #[test]
    fn news_between_asking_and_waiting_are_not_missed() {
        let room = WaitingRoom::new(Seats { per_user: 1, in_all: 9 });
        let (seat, other) = (room.sit("a").unwrap(), room.sit("b").unwrap());
        let (news, none) = (seat.news(), other.news());
        room.ring("a");
        assert!(news.now_or_never().is_some());
        assert!(none.now_or_never().is_none());
    }
}
