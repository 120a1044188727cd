//! What an operation did to a user, or why it did nothing. One enum an operation.
//!
//! A repeat of what this version has done already is told apart from a change, and both from a refusal.

use crate::state::State;

/// What [`begin`](crate::Truth::begin) did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// The user is paused by this version.
    Begun,
    /// The user was paused by this very version before.
    AlreadyBegun,
    /// Nothing to move: the user is at home on the new system.
    HomeIsNew,
    /// Another migration is under way, or an older attempt of this one that was not taken back.
    Busy {
        /// The migration under way.
        migration: String,
    },
    /// A newer version has been seen, or this one has ended: the request comes late.
    Superseded,
}

/// What [`flip`](crate::Truth::flip) did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flip {
    /// Home is the new system, from this moment.
    Flipped,
    /// This very version flipped the user before.
    AlreadyFlipped,
    /// This version does not hold the user: it was raised, ended, or never began.
    NotOurs,
}

/// What [`raise`](crate::Truth::raise) found. Except for `Superseded`, no version below the new one can begin
/// or flip any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raise {
    /// The user is paused, and held by the new version.
    Raised {
        /// Which of the two paused states.
        state: State,
    },
    /// The user is not paused by this migration, and is at home on the new system: roll forward.
    HomeIsNew,
    /// The user is not paused by this migration, and is at home on legacy.
    HomeIsLegacy,
    /// A still newer version holds the user.
    Superseded,
}

/// What [`release`](crate::Truth::release) did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Home is legacy, and the pause has ended.
    Released,
    /// Home was legacy, without a pause.
    AlreadyLegacy,
    /// Not paused by this migration, and at home on the new system.
    HomeIsNew,
    /// Another version holds the user.
    NotOurs,
}

/// What [`begin_rollback`](crate::Truth::begin_rollback) did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BeginRollback {
    /// The user is paused by this version.
    Begun,
    /// The user was paused by this very version before.
    AlreadyBegun,
    /// Nothing to roll back: the user is at home on legacy.
    HomeIsLegacy,
    /// Another migration is under way, or an older attempt of this one that was not taken back.
    Busy {
        /// The migration under way.
        migration: String,
    },
    /// A newer version has been seen, or this one has ended: the request comes late.
    Superseded,
}

/// What [`restore`](crate::Truth::restore) did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restore {
    /// Home is the new system still, and the pause has ended.
    Restored,
    /// Home was the new system, without a pause.
    AlreadyMigrated,
    /// Not paused by this migration, and at home on legacy: the rollback was done.
    HomeIsLegacy,
    /// Another version holds the user, or it is not a rollback.
    NotOurs,
}

/// What [`enroll`](crate::Truth::enroll) did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enroll {
    /// The user is at home on the new system from the first request.
    Enrolled,
    /// The user was at home on the new system in each of these migrations.
    AlreadyEnrolled,
}

/// An outcome that a repeat would tell otherwise.
pub(crate) trait Outcome: Clone {
    /// Given what the rules say of the row *after* a change, what the change is called; `None` where no
    /// change can have led to such a row.
    fn of_change(self) -> Option<Self>;
}

impl Outcome for Begin {
    fn of_change(self) -> Option<Self> {
        (self == Self::AlreadyBegun).then_some(Self::Begun)
    }
}

impl Outcome for Flip {
    fn of_change(self) -> Option<Self> {
        (self == Self::AlreadyFlipped).then_some(Self::Flipped)
    }
}

impl Outcome for Raise {
    fn of_change(self) -> Option<Self> {
        (self != Self::Superseded).then_some(self)
    }
}

impl Outcome for Release {
    fn of_change(self) -> Option<Self> {
        (self == Self::AlreadyLegacy).then_some(Self::Released)
    }
}

impl Outcome for BeginRollback {
    fn of_change(self) -> Option<Self> {
        (self == Self::AlreadyBegun).then_some(Self::Begun)
    }
}

impl Outcome for Restore {
    fn of_change(self) -> Option<Self> {
        (self == Self::AlreadyMigrated).then_some(Self::Restored)
    }
}
