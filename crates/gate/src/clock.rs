//! The clock that leases and deadlines are measured on. It goes on while the machine is suspended, and never
//! goes back.
//!
//! It is read anew for every decision. A tick kept by a thread would be cheaper, and wrong: in a process that was
//! stopped and continued, the first decisions would still see the time of before. The kernel answers this one
//! without a system call.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;

/// A moment: nanoseconds since this machine was started, suspends included. Means nothing on another machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// Before every other moment: what is valid until then is never valid.
    pub const NEVER: Self = Self(0);

    /// Now. A clock that cannot be read gives the last of all moments: every lease has run out.
    pub fn now() -> Self {
        match clock_gettime(CLOCK) {
            Ok(time) => Self(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64),
            Err(_) => Self(u64::MAX),
        }
    }

    /// That many nanoseconds after the start of the clock.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the start of the clock.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long it is from `earlier` to here; zero if this is before it.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_moves_on() {
        let before = Moment::now();
        while Moment::now() == before {}
        assert!(Moment::now() > before && before > Moment::NEVER);
    }

    #[test]
    fn a_moment_too_far_away_is_the_last_one() {
        let last = Moment::from_nanos(u64::MAX);
        assert_eq!(last + Duration::from_secs(1), last);
        assert_eq!(Moment::NEVER.since(last), Duration::ZERO);
        assert_eq!((Moment::NEVER + Duration::from_secs(2)).since(Moment::NEVER), Duration::from_secs(2));
    }
}
