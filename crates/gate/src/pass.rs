//! Leave to serve one request, and the decision that it carries to the handler.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderValue;

use crate::clock::Moment;
use crate::core::{Known, Permit};
use crate::decision::Side;
use crate::gate::Gate;

/// Leave to serve one request of a user. The user is not moved while it is held, until its deadline.
pub struct Pass {
    permit: Permit,
}

impl Pass {
    pub(crate) fn new(permit: Permit) -> Self {
        Self { permit }
    }

    /// The side that serves the user in that migration.
    pub fn side(&self, migration: &str) -> Side {
        self.permit.known().state(migration).into()
    }

    /// From then on nothing that was done under it may be acknowledged.
    pub fn deadline(&self) -> Moment {
        self.permit.deadline()
    }

    /// Whether its deadline has passed.
    pub fn has_expired(&self) -> bool {
        Moment::now() >= self.deadline()
    }

    /// How long it still lasts.
    pub fn remaining(&self) -> Duration {
        self.deadline().since(Moment::now())
    }

    pub(crate) fn known(&self) -> Known {
        self.permit.known()
    }

    pub(crate) fn into_permit(self) -> Permit {
        self.permit
    }

    pub(crate) fn decision(&self, user: &str, gate: &Gate) -> Decision {
        Decision {
            known: self.known(),
            deadline: self.deadline(),
            user: user.into(),
            gate: gate.clone(),
            handed_on: Arc::new(AtomicBool::new(false)),
        }
    }
}

impl std::fmt::Debug for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pass").field("deadline", &self.deadline()).finish_non_exhaustive()
    }
}

/// The gate's decision, in the request's extensions: which side serves this user in this request.
///
/// ```
/// # use handover_gate::{Decision, Side};
/// fn store(decision: &Decision) -> &'static str {
///     match decision.side("invoice-reminders") {
///         Side::Legacy => "the old tables",
///         Side::New => "the new service",
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Decision {
    known: Known,
    deadline: Moment,
    user: Box<str>,
    gate: Gate,
    handed_on: Arc<AtomicBool>,
}

impl Decision {
    /// The side that serves the user in that migration.
    pub fn side(&self, migration: &str) -> Side {
        self.known.state(migration).into()
    }

    /// The user's key.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// How long this request may still take. Time-outs of what it calls should be shorter.
    pub fn remaining(&self) -> Duration {
        self.deadline.since(Moment::now())
    }

    /// The value of the header [`PERMIT_HEADER`](crate::PERMIT_HEADER) for calls to inner services that stand
    /// behind gates of their own, so that they do not wait for a pause that waits for this request. `None` if no
    /// key is set, or the deadline has passed. Such calls must be awaited before this request is answered.
    pub fn permit_header(&self) -> Option<HeaderValue> {
        let value = self.gate.signed(&self.user, self.known.text(), self.deadline)?;
        self.handed_on.store(true, Ordering::SeqCst);
        HeaderValue::from_str(&value).ok()
    }

    pub(crate) fn was_handed_on(&self) -> bool {
        self.handed_on.load(Ordering::SeqCst)
    }
}

impl std::fmt::Debug for Decision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decision").field("remaining", &self.remaining()).finish_non_exhaustive()
    }
}
