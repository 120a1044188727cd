//! What came of the requests, in numbers.

use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::record::{Outcome, Record, Side};

/// Requests by what came of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// All that have ended.
    pub requests: u64,
    /// Done, and acknowledged.
    pub acknowledged: u64,
    /// Of those, the ones that write.
    pub acknowledged_writes: u64,
    /// Answered with "no" by the application.
    pub declined: u64,
    /// Answered with "not now, nothing was done".
    pub refused: u64,
    /// Nobody was listening.
    pub not_sent: u64,
    /// The outcome is not known.
    pub indeterminate: u64,
    /// Served by legacy.
    pub by_legacy: u64,
    /// Served by the new system.
    pub by_new: u64,
    /// Answers that did not show, or did not find, what was acknowledged before.
    pub stale: u64,
    /// Half of the acknowledged requests took no longer, in milliseconds.
    pub p50_ms: f64,
    /// 99 of a hundred took no longer.
    pub p99_ms: f64,
}

/// The numbers as they grow.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<(Figures, Vec<u32>)>);

impl Tally {
    /// Counts a request that has ended.
    pub(super) fn add(&self, record: &Record) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (figures, took) = &mut *inner;
        figures.requests += 1;
        *match record.outcome {
            Outcome::Acknowledged => &mut figures.acknowledged,
            Outcome::Declined => &mut figures.declined,
            Outcome::Refused => &mut figures.refused,
            Outcome::NotSent => &mut figures.not_sent,
            Outcome::Indeterminate => &mut figures.indeterminate,
        } += 1;
        let done = record.outcome == Outcome::Acknowledged;
        figures.acknowledged_writes += u64::from(done && record.kind.writes());
        figures.by_legacy += u64::from(record.served_by == Some(Side::Legacy));
        figures.by_new += u64::from(record.served_by == Some(Side::New));
        figures.stale += u64::from(!record.missed.is_empty());
        if done {
            took.push((record.answered - record.sent).clamp(0, i64::from(u32::MAX)) as u32);
        }
    }

    /// The numbers so far.
    pub(super) fn figures(&self) -> Figures {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut took = inner.1.clone();
        took.sort_unstable();
        let at = |share: f64| percentile(&took, share) / 1_000.0;
        Figures { p50_ms: at(0.5), p99_ms: at(0.99), ..inner.0.clone() }
    }
}

/// The value that so large a share of the sorted values does not exceed; 0 of none.
pub(crate) fn percentile(sorted: &[u32], share: f64) -> f64 {
    let nth = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(nth.saturating_sub(1)).map_or(0.0, |value| f64::from(*value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<u32> = (1..=100).collect();
        assert_eq!((percentile(&values, 0.5), percentile(&values, 0.99)), (50.0, 99.0));
        assert_eq!((percentile(&[7], 0.99), percentile(&[], 0.5)), (7.0, 0.0));
    }
}
