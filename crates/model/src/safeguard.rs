//! The safeguards that can be taken out, one at a time, and the properties that the models have.

/// At no moment are there two requests, one on each side, that would both be acknowledged.
pub const ONE_HOME: &str = "one home";
/// Every acknowledged write is on the side that owns the user.
pub const KEPT: &str = "no acknowledged write is lost";
/// No write is there twice.
pub const ONCE: &str = "no write is doubled";
/// Identity says `migrated` only where this attempt's digest is the source's at the fence, and the destination's.
pub const PROVEN: &str = "migrated only where proven";
/// Whatever has happened, the reconciler alone ends the pause, at the user's home.
pub const BOUNDED: &str = "every pause ends";
/// A user who is at home on legacy, with no attempt open, has no rows at the destination.
pub const CLEAN: &str = "nothing is left behind";

/// One safeguard of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Safeguard {
    /// The pause waits until gates have let go of the user.
    Drain,
    /// The position is taken after the drain.
    PositionAfterDrain,
    /// A gate believes its cache only under a lease.
    Lease,
    /// Only entries that are new renew the lease, never an answer alone.
    EntriesRenew,
    /// The lease counts from when the read before the one that brought the entries was sent.
    LeaseFromReadBefore,
    /// A gate admits only while it is a member, also by what Identity answers it.
    Membership,
    /// Identity's truth is changed before the mirror.
    TruthBeforeMirror,
    /// The gates that are waited for are read from Postgres.
    MembersFromPostgres,
    /// What is done after a permit's deadline is not acknowledged.
    PermitDeadline,
    /// The deadline is looked at again after the write, since the process may have been stopped before it.
    RecheckAfterStop,
    /// An answer that was asked for before a change was heard is thrown away.
    OvertakenAnswer,
    /// A field that is absent means "ask Identity".
    AbsentMeansAsk,
    /// The snapshot that is copied is past the position.
    SnapshotPastPosition,
    /// The copy's compare-and-set compares the version.
    VersionAtCopy,
    /// Taking back raises Identity's row first, which shuts the flip out.
    RaiseIdentity,
    /// Taking back raises tracking's row before it looks whether the copy committed.
    RaiseThenLook,
    /// What is removed is hashed in the transaction that removes it.
    HashAndRemoveInOne,
    /// A rollback drains, as a move does.
    OwnDrain,
    /// A rollback reads the source past a position that was taken after its own drain.
    OwnPosition,
    /// A reverse load commits once, and only while the marker in legacy is its attempt's.
    Marker,
    /// A rollback that finds nothing to carry back spends its marker all the same, before it removes.
    MarkerIsSpent,
    /// A rollback that is given up ends at its user's home, which is the new system.
    BackToNew,
    /// A rollback that is given up is closed in tracking first, which shuts the removal out.
    CloseThenRestore,
    /// An attempt that waits while a pause of its user stands is given a number past the pause's, also where that
    /// was raised already.
    RenumberPastPause,
    /// A rollback that is given up takes the next number for shutting late workers out; no other attempt gets it.
    RefusalTakesANumber,
    /// The fence raises its rows and then waits for the transactions that hold the lock.
    FenceWaits,
    /// A transaction whose snapshot is older than the fence is found out by the sequence.
    FenceSequence,
    /// The reading snapshot must show that the fence was drained, not only that it was raised.
    FenceDrained,
    /// A fence is lifted by the version that raised it.
    FenceByVersion,
}
