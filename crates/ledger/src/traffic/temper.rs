//! What kind of user somebody is. Of users who write without a break hardly one can be rolled back losslessly, so
//! there are others too.

use std::time::Duration;

/// How a user writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temper {
    /// Reads and writes all the time.
    Busy,
    /// Writes for so long, then only reads for as long, and so on.
    Bursts(Duration),
    /// Only reads.
    Reader,
}

impl Temper {
    /// A user's, which the seed fixes: of ten users five are busy, three write in bursts, two only read.
    pub fn of(user: i64, seed: u64) -> Self {
        let mixed =
            fastrand::Rng::with_seed(seed ^ user.unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15)).u64(..);
        match mixed % 10 {
            0..5 => Self::Busy,
            5..8 => Self::Bursts(Duration::from_secs(3 + mixed / 10 % 6)),
            _ => Self::Reader,
        }
    }

    /// Whether such a user writes, that long after the beginning.
    pub fn writes(self, after: Duration) -> bool {
        match self {
            Self::Busy => true,
            Self::Bursts(each) => (after.as_millis() / each.as_millis().max(1)).is_multiple_of(2),
            Self::Reader => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_fixes_who_writes_and_there_are_all_kinds() {
        let of = |seed: u64| (1..=200).map(|user| Temper::of(user, seed)).collect::<Vec<_>>();
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
        let tempers = of(7);
        let share = |is: fn(&Temper) -> bool| tempers.iter().filter(|temper| is(temper)).count();
        assert!(share(|temper| *temper == Temper::Busy) > 60);
        assert!(share(|temper| matches!(temper, Temper::Bursts(_))) > 30);
        assert!(share(|temper| *temper == Temper::Reader) > 15);
    }

    #[test]
    fn bursts_end_and_come_again() {
        let bursts = Temper::Bursts(Duration::from_secs(4));
        let at = |second: u64| bursts.writes(Duration::from_secs(second));
        assert!(at(0) && at(3) && !at(4) && !at(7) && at(8));
    }
}
