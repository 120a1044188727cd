//! A short rest of the whole process after jobs came back "not now": what was handed back is first in the
//! queue, so the next claim would bring the same jobs, as fast as Redis can answer.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// When claiming may go on.
#[derive(Debug, Default)]
pub(crate) struct Cooldown {
    until: Mutex<Option<Instant>>,
}

impl Cooldown {
    /// No claim before `duration` has passed.
    pub(crate) fn begin(&self, duration: Duration) {
        let until = Instant::now() + duration;
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }

    /// How long to rest from now.
    pub(crate) fn left(&self) -> Duration {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }
}
