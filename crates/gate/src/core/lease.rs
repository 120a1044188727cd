//! Until when the cache may be relied on, and until when this gate is a member. Read without a lock.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use handover_fault::{Mutant, mutated};

use crate::clock::Moment;

/// Two leases: the one on the stream of changes, and the one on membership. Both only grow, until they are
/// taken away.
#[derive(Default)]
pub(super) struct Leases {
    /// Whichever ends first.
    cache: AtomicU64,
    member: AtomicU64,
    terms: Mutex<Terms>,
}

#[derive(Default)]
struct Terms {
    heard: Moment,
    member: Moment,
    closed: bool,
}

impl Leases {
    #[inline]
    pub(super) fn cache_holds(&self, now: Moment) -> bool {
        mutated(Mutant::NoLease) || now.as_nanos() < self.cache.load(Ordering::SeqCst)
    }

    pub(super) fn member_holds(&self, now: Moment) -> bool {
        now.as_nanos() < self.member.load(Ordering::SeqCst)
    }

    /// All changes were heard of; good until then.
    pub(super) fn heard(&self, until: Moment) {
        self.set(|terms| terms.heard = terms.heard.max(until));
    }

    /// Something may have been missed.
    pub(super) fn forget(&self) {
        self.set(|terms| terms.heard = Moment::NEVER);
    }

    /// This gate is waited for until then, and for `max_request` more.
    pub(super) fn member(&self, until: Moment) {
        self.set(|terms| terms.member = terms.member.max(until));
    }

    /// This gate signs off, for good.
    pub(super) fn close(&self) {
        self.set(|terms| terms.closed = true);
    }

    fn set(&self, change: impl FnOnce(&mut Terms)) {
        let mut terms = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut terms);
        let member = if terms.closed { Moment::NEVER } else { terms.member };
        self.member.store(member.as_nanos(), Ordering::SeqCst);
        self.cache.store(member.min(terms.heard).as_nanos(), Ordering::SeqCst);
    }
}
