//! The process' line to Redis, which the watchdog can replace as a whole.
//!
//! The queue crate replaces a connection that has shown itself to be broken. This is for the rest: after
//! some failovers a client sat idle, without an error, until it was restarted.

use std::sync::{Mutex, PoisonError};

use handover_queue::{Error, Queues, RedisTarget};

/// The queues over the newest connections.
#[derive(Debug)]
pub struct Line {
    target: RedisTarget,
    queues: Mutex<Queues>,
}

impl Line {
    /// A line to that Redis; nothing is connected before it is used.
    pub fn new(target: RedisTarget) -> Result<Self, Error> {
        let queues = Mutex::new(Queues::new(&target)?);
        Ok(Self { target, queues })
    }

    /// The queues. Ask each time: a kept copy would go on over connections that were given up.
    pub fn queues(&self) -> Queues {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Leaves all connections behind and makes new ones.
    pub(crate) fn rebuild(&self) -> Result<(), Error> {
        let fresh = Queues::new(&self.target)?;
        *self.queues.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }
}
