//! Leave to serve one request, and a look-up on its way. Each counts as in flight until it is dropped.

use std::sync::Arc;

use super::slot::{Epoch, Slot};
use crate::clock::Moment;

/// Leave to serve one request of a user, until a deadline.
pub(crate) struct Permit {
    slot: Arc<Slot>,
    deadline: Moment,
}

impl Permit {
    /// The slot's counter must have been entered for it.
    pub(super) fn of(slot: Arc<Slot>, deadline: Moment) -> Self {
        Self { slot, deadline }
    }

    /// From then on nothing that the request did may be acknowledged.
    pub(crate) fn deadline(&self) -> Moment {
        self.deadline
    }

    /// The slot, to keep what was known beyond the permit.
    pub(crate) fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.slot.counter.leave();
    }
}

/// A question to Identity. Its user counts as in flight from before it is sent.
pub(crate) struct Asking {
    pub(super) user: Box<str>,
    pub(super) slot: Arc<Slot>,
    pub(super) epoch: Epoch,
    pub(super) asked: Moment,
}

impl Asking {
    /// The user who is asked for.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.slot.counter.leave();
    }
}
