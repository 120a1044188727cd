//! Which safeguard's absence breaks which property, and in which setup that shows.

use crate::safeguard::{BOUNDED, CLEAN, KEPT, ONCE, PROVEN, Safeguard};

/// The protocol without one safeguard.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    /// What is missing.
    pub without: Safeguard,
    /// Where it shows.
    pub setup: &'static str,
    /// What does not hold any more.
    pub breaks: &'static str,
}

const fn without(without: Safeguard, setup: &'static str, breaks: &'static str) -> Mutant {
    Mutant { without, setup, breaks }
}

/// All mutants: each safeguard once.
pub const MUTANTS: &[Mutant] = &[
    without(Safeguard::Drain, "gate", KEPT),
    without(Safeguard::PositionAfterDrain, "gate", KEPT),
    without(Safeguard::Lease, "gate", KEPT),
    without(Safeguard::EntriesRenew, "gate", KEPT),
    without(Safeguard::LeaseFromReadBefore, "gate", KEPT),
    without(Safeguard::Membership, "gate", KEPT),
    without(Safeguard::TruthBeforeMirror, "gate", KEPT),
    without(Safeguard::MembersFromPostgres, "gate", KEPT),
    without(Safeguard::PermitDeadline, "gate", KEPT),
    without(Safeguard::RecheckAfterStop, "gate", KEPT),
    without(Safeguard::OvertakenAnswer, "gate", KEPT),
    without(Safeguard::SnapshotPastPosition, "gate", KEPT),
    without(Safeguard::AbsentMeansAsk, "middleware", KEPT),
    without(Safeguard::VersionAtCopy, "moves", PROVEN),
    without(Safeguard::RaiseIdentity, "moves", KEPT),
    without(Safeguard::RaiseThenLook, "moves", CLEAN),
    without(Safeguard::HashAndRemoveInOne, "moves", KEPT),
    without(Safeguard::RenumberPastPause, "other-migration", BOUNDED),
    without(Safeguard::OwnDrain, "rollback", KEPT),
    without(Safeguard::BackToNew, "rollback", KEPT),
    without(Safeguard::CloseThenRestore, "rollback", KEPT),
    without(Safeguard::RefusalTakesANumber, "rollback", KEPT),
    without(Safeguard::OwnPosition, "carry-back", ONCE),
    without(Safeguard::Marker, "carry-back", ONCE),
    without(Safeguard::MarkerIsSpent, "carry-back-twice", ONCE),
    without(Safeguard::FenceWaits, "fence", KEPT),
    without(Safeguard::FenceSequence, "fence", KEPT),
    without(Safeguard::FenceDrained, "fence", KEPT),
    without(Safeguard::FenceByVersion, "fence", KEPT),
];
