//! What the model of attempts remembers: Identity's row, tracking's row, three stores, and what each process has
//! in its head.

/// A set of writes, as bits; and those that are there twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Rows {
    pub(super) set: u8,
    pub(super) twice: u8,
}

impl Rows {
    pub(super) fn add(&mut self, set: u8) {
        self.twice |= self.set & set;
        self.set |= set;
    }

    /// Whether these writes are here, each once.
    pub(super) fn hold(self, writes: u8) -> bool {
        writes & !self.set == 0 && writes & self.twice == 0
    }

    pub(super) fn is_empty(self) -> bool {
        self.set == 0
    }
}

/// Which way an attempt goes, and what a pause of Identity's is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    Move,
    Rollback,
}

/// Identity's row of the user: the rules are those of `crates/identity/src/rules.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    /// The version that flipped the user; none where home is legacy.
    pub(super) flipped: Option<u8>,
    /// The pause, and the version that holds it.
    pub(super) open: Option<(Kind, u8)>,
    /// The lowest version that may begin.
    pub(super) floor: u8,
    /// Another migration has the user paused.
    pub(super) other: bool,
}

/// How far an open attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Stage {
    Queued,
    Pausing,
    Copying,
    Verifying,
    Completing,
    RollingBack,
    Failing,
}

/// Tracking's row of the open attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Attempt {
    pub(super) kind: Kind,
    pub(super) version: u8,
    pub(super) stage: Stage,
    /// The position that was taken after the drain: the writes before it.
    pub(super) position: u8,
    /// What the copy committed; for a rollback, what the attempt that it undoes did.
    pub(super) digest: Option<u8>,
    /// The copy committed.
    pub(super) copied: bool,
    /// The rollback's removal committed.
    pub(super) removed: bool,
}

/// The user's row in legacy that a reverse load compares and sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Marker {
    pub(super) version: u8,
    pub(super) loaded: bool,
}

/// What a process does next. The names are those of the engine's functions where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum At {
    Idle,
    // pause
    Begin,
    Drain,
    Take,
    Fenced,
    // copy
    Snapshot,
    ProveEmpty,
    Copied,
    Commit,
    // verify
    ReadBack,
    Verified,
    // complete, and rolling forward
    Flip,
    Completed,
    // taking back
    RaiseIdentity,
    RaiseTracking,
    Look,
    Remove,
    Delete,
    Release,
    Failed,
    Forward,
    // rollback
    BeginRollback,
    DrainRollback,
    Claim,
    TakeRollback,
    FencedRollback,
    HashSource,
    Hash,
    Load,
    RemoveRollback,
    BackHome,
    RolledBack,
    // giving a rollback up
    Refuse,
    Restore,
    ShutOut,
    // a pause without an attempt
    Orphan,
    EndOrphan,
    // putting an attempt back to wait
    Requeue,
    // the end of an attempt of a user who was on the new system already
    Skip,
}

/// A process: what it does next, for which attempt, and what it has read. Read long ago, perhaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Process {
    pub(super) at: At,
    pub(super) version: u8,
    /// The version that it raises to.
    pub(super) raised: u8,
    /// The attempt was in `pausing` when it was read.
    pub(super) was_pausing: bool,
    /// A pause is a rollback's.
    pub(super) is_rollback: bool,
    /// A position, a snapshot, what a copy was found to have committed.
    pub(super) position: u8,
    pub(super) rows: u8,
    pub(super) copied: Option<u8>,
}

impl Process {
    pub(super) const IDLE: Self = Self {
        at: At::Idle,
        version: 0,
        raised: 0,
        was_pausing: false,
        is_rollback: false,
        position: 0,
        rows: 0,
        copied: None,
    };
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(super) identity: Identity,
    pub(super) attempt: Option<Attempt>,
    /// The last version that was given out; what the last completed attempt copied.
    pub(super) version: u8,
    pub(super) completed: Option<u8>,
    /// The process whose transaction holds tracking's row.
    pub(super) locked: Option<u8>,
    pub(super) legacy: Rows,
    pub(super) replica: u8,
    pub(super) new: Rows,
    pub(super) marker: Marker,
    pub(super) acknowledged: u8,
    pub(super) writes: u8,
    /// A request that was let through on that side (true: new), and has not written yet.
    pub(super) in_flight: Option<bool>,
    pub(super) processes: [Process; 3],
    /// Moves, rollbacks and foreign pauses that may still be ordered.
    pub(super) moves: u8,
    pub(super) rollbacks: u8,
    pub(super) others: u8,
    /// Identity has said `migrated` of an attempt that was not proven.
    pub(super) unproven: bool,
}

impl State {
    pub(super) fn home_is_new(&self) -> bool {
        self.identity.flipped.is_some()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.identity.open.is_some() || self.identity.other
    }

    /// The open attempt, if it has that version.
    pub(super) fn of(&mut self, version: u8) -> Option<&mut Attempt> {
        self.attempt.as_mut().filter(|attempt| attempt.version == version)
    }

    /// Whether the open attempt has that version, and is so.
    pub(super) fn stands(&self, version: u8, so: impl Fn(Attempt) -> bool) -> bool {
        self.attempt.is_some_and(|attempt| attempt.version == version && so(attempt))
    }

    /// One form for states that differ by the processes' numbers alone. Those that do nothing come first.
    pub(super) fn canonical(mut self) -> Self {
        self.processes.sort_unstable();
        let commits = self.processes.iter().position(|process| process.at == At::Commit);
        self.locked = commits.map(|number| number as u8);
        self
    }
}
