//! What a value that is overwritten may be, given who wrote it when: the last write wins, and of writes that
//! overlap any may have been the last.

use crate::record::{Outcome, Record};

/// A write of the whole value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// Its number.
    pub number: u64,
    /// When it was sent.
    pub sent: i64,
    /// From when on it can no longer take effect; `i64::MAX` while that is not known.
    pub over: i64,
    /// Whether it was acknowledged.
    pub acknowledged: bool,
}

impl Write {
    /// The write that a record tells of; none where it was not done.
    pub fn of(record: &Record) -> Option<Self> {
        let acknowledged = record.outcome == Outcome::Acknowledged;
        let perhaps = acknowledged || record.outcome == Outcome::Indeterminate;
        perhaps.then(|| Self { number: record.number, sent: record.sent, over: record.over(), acknowledged })
    }
}

/// Whether a read that lasted `from..to` may have seen this value; `None` is the one from before all writes.
pub fn may_be(writes: &[Write], value: Option<u64>, from: i64, to: i64) -> bool {
    let began = match value {
        None => i64::MIN,
        Some(number) => match writes.iter().find(|write| write.number == number) {
            Some(write) if write.sent <= to => write.over,
            _ => return false,
        },
    };
    // Overwritten, for certain, before the read began.
    !writes.iter().any(|later| later.acknowledged && later.sent > began && later.over < from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(number: u64, sent: i64, over: i64) -> Write {
        Write { number, sent, over, acknowledged: over != i64::MAX }
    }

    #[test]
    fn the_last_acknowledged_write_is_the_value() {
        let writes = [write(1, 10, 20), write(2, 30, 40)];
        assert!(may_be(&writes, Some(2), 50, 60));
        assert!(!may_be(&writes, Some(1), 50, 60));
        assert!(!may_be(&writes, None, 50, 60));
        assert!(!may_be(&writes, Some(3), 50, 60), "nobody wrote it");
    }

    #[test]
    fn of_writes_that_overlap_either_may_win() {
        let writes = [write(1, 10, 35), write(2, 30, 40)];
        assert!(may_be(&writes, Some(1), 50, 60) && may_be(&writes, Some(2), 50, 60));
    }

    #[test]
    fn a_write_whose_outcome_is_not_known_may_come_late_or_never() {
        let writes = [write(1, 10, i64::MAX), write(2, 30, 40)];
        assert!(may_be(&writes, Some(1), 50, 60) && may_be(&writes, Some(2), 50, 60));
        assert!(may_be(&writes[..1], None, 50, 60));
    }

    #[test]
    fn a_read_sees_what_was_written_while_it_lasted_or_what_was_before() {
        let writes = [write(1, 10, 20), write(2, 55, 57), write(3, 70, 80)];
        assert!(may_be(&writes, Some(1), 50, 60) && may_be(&writes, Some(2), 50, 60));
        assert!(!may_be(&writes, Some(3), 50, 60), "it was sent after the answer");
    }
}
