//! The safeguards that a test can take away, one at a time.

use std::fmt;
use std::str::FromStr;

/// A safeguard that is left out. Each is to be caught by a test of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Mutant {
    /// The pause does not wait for gates to let go of the user.
    NoDrain,
    /// The fence position is taken before the drain, not after it.
    PositionBeforeDrain,
    /// A gate trusts its cache for ever.
    NoLease,
    /// The mirror is written before Identity's truth is.
    MirrorBeforeTruth,
    /// Whom to wait for is read from what gates tell in Redis, not from Postgres.
    MembersFromRedis,
    /// Any answer of the Redis server renews a gate's lease.
    PingRenews,
    /// What a handler answers after its permit's end is passed on.
    AnswerAfterPermit,
    /// A user whom the mirror does not hold is taken to be on legacy.
    AbsentIsLegacy,
}

impl Mutant {
    /// Every mutant.
    pub const ALL: [Self; 8] = [
        Self::NoDrain,
        Self::PositionBeforeDrain,
        Self::NoLease,
        Self::MirrorBeforeTruth,
        Self::MembersFromRedis,
        Self::PingRenews,
        Self::AnswerAfterPermit,
        Self::AbsentIsLegacy,
    ];

    /// Its word, as `HANDOVER_MUTANT` takes it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NoDrain => "no-drain",
            Self::PositionBeforeDrain => "position-before-drain",
            Self::NoLease => "no-lease",
            Self::MirrorBeforeTruth => "mirror-before-truth",
            Self::MembersFromRedis => "members-from-redis",
            Self::PingRenews => "ping-renews",
            Self::AnswerAfterPermit => "answer-after-permit",
            Self::AbsentIsLegacy => "absent-is-legacy",
        }
    }

    #[cfg(feature = "armed")]
    pub(crate) const fn bit(self) -> u32 {
        1 << self as u8
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// No mutant has this word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownMutant(
    /// What was given.
    pub String,
);

impl fmt::Display for UnknownMutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no mutant is called {:?}", self.0)
    }
}

impl std::error::Error for UnknownMutant {}

impl FromStr for Mutant {
    type Err = UnknownMutant;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|mutant| mutant.word() == word.trim())
            .ok_or_else(|| UnknownMutant(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mutant_is_found_by_its_word() {
        for mutant in Mutant::ALL {
            assert_eq!(mutant.to_string().parse::<Mutant>().expect("its own word"), mutant);
        }
        assert!("no-lunch".parse::<Mutant>().is_err());
    }

    #[cfg(not(feature = "armed"))]
    #[test]
    fn unarmed_nothing_is_mutated() {
        const { assert!(!crate::mutated(Mutant::NoLease)) };
        assert!(Mutant::ALL.into_iter().all(|mutant| !crate::mutated(mutant)));
    }

    #[cfg(not(feature = "armed"))]
    #[tokio::test]
    async fn unarmed_a_point_is_passed() {
        assert_eq!(crate::point("copy.committed").await, Ok(()));
    }
}
