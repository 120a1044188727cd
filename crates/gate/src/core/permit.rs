//! Leave to serve one request, and a look-up on its way. Each counts as in flight until it is dropped.

use super::known::Known;
use super::slot::{Epoch, Stripe};
use crate::clock::Moment;

/// Leave to serve one request of a user, until a deadline.
pub(crate) struct Permit {
    stripe: Stripe,
    known: Known,
    deadline: Moment,
}

impl Permit {
    /// The stripe must have been entered for it.
    #[inline]
    pub(super) fn of(stripe: Stripe, known: Known, deadline: Moment) -> Self {
        Self { stripe, known, deadline }
    }

    /// From then on nothing that the request did may be acknowledged.
    pub(crate) fn deadline(&self) -> Moment {
        self.deadline
    }

    /// What was known when it was given.
    pub(crate) fn known(&self) -> Known {
        self.known
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        self.stripe.leave();
    }
}

/// A question to Identity. Its user counts as in flight from before it is sent.
pub(crate) struct Asking {
    pub(super) user: Box<str>,
    pub(super) stripe: Stripe,
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
        self.stripe.leave();
    }
}
