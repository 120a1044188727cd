//! The stages' steps: pause, copy, verify, complete, rollback. Each is one statement or transaction.

use super::identity::{Begin, End};
use super::state::{At, Attempt, Kind, Process, Stage, State};
use super::{Attempts, Job};
use crate::safeguard::Safeguard;

/// A process that begins a stage's job, if the attempt is due there.
pub(super) fn working(attempt: &mut Attempt, job: Job) -> Option<Process> {
    let (at, admitted) = match (job, attempt.kind, attempt.stage) {
        (Job::Pause, Kind::Move, Stage::Queued | Stage::Pausing) => (At::Begin, Stage::Pausing),
        (Job::Copy, _, Stage::Copying) => (At::Snapshot, Stage::Copying),
        (Job::Verify, _, Stage::Verifying) => (At::ReadBack, Stage::Verifying),
        (Job::Complete, _, Stage::Completing) => (At::Flip, Stage::Completing),
        (Job::Rollback, Kind::Rollback, _) if attempt.removed => (At::BackHome, Stage::RollingBack),
        (Job::Rollback, Kind::Rollback, _) => (At::BeginRollback, Stage::RollingBack),
        _ => return None,
    };
    attempt.stage = admitted;
    let position = if at == At::Snapshot { attempt.position } else { 0 };
    Some(Process { at, version: attempt.version, position, ..Process::IDLE })
}

/// A process that ends an attempt at the user's home.
pub(super) fn ending(attempt: Attempt) -> Process {
    let at = match attempt.kind {
        Kind::Move => At::RaiseIdentity,
        Kind::Rollback if attempt.removed => At::BackHome,
        Kind::Rollback => At::Refuse,
    };
    let is_move = attempt.kind == Kind::Move;
    // One that is failing was raised by whoever began this, and keeps the version it has.
    let raised = if is_move { attempt.version + u8::from(attempt.stage != Stage::Failing) } else { 0 };
    let was_pausing = is_move && attempt.stage == Stage::Pausing;
    Process { at, version: attempt.version, raised, was_pausing, ..Process::IDLE }
}

impl At {
    /// Whether the step belongs to a stage.
    pub(super) fn is_forth(self) -> bool {
        self < Self::RaiseIdentity
    }

    /// Whether the step writes tracking's row, or locks it.
    pub(super) fn takes_the_row(self) -> bool {
        matches!(
            self,
            Self::Fenced
                | Self::Copied
                | Self::Verified
                | Self::Completed
                | Self::RaiseTracking
                | Self::Remove
                | Self::Failed
                | Self::FencedRollback
                | Self::RemoveRollback
                | Self::RolledBack
                | Self::Refuse
                | Self::Orphan
                | Self::Requeue
                | Self::Skip
        )
    }
}

impl Attempts {
    /// What comes after this step; `None` where it has to wait.
    pub(super) fn forth(&self, state: &mut State, process: &mut Process, number: usize) -> Option<At> {
        let version = process.version;
        Some(match process.at {
            At::Begin => match state.identity.begin(version) {
                Begin::Begun => At::Drain,
                Begin::HomeIsNew => At::Skip,
                Begin::Busy => At::Requeue,
                Begin::Superseded | Begin::HomeIsLegacy => At::Idle,
            },
            At::Drain if state.in_flight.is_some() => return None,
            At::Drain => At::Take,
            At::Take => {
                process.position = state.legacy.set;
                At::Fenced
            }
            At::Fenced => {
                let position = process.position;
                if let Some(attempt) = state.of(version).filter(|attempt| attempt.stage == Stage::Pausing) {
                    (attempt.stage, attempt.position) = (Stage::Copying, position);
                }
                At::Idle
            }
            At::Snapshot if process.position & !state.replica != 0 => return None,
            At::Snapshot => {
                (process.rows, process.position) = (state.replica, 0);
                At::ProveEmpty
            }
            At::ProveEmpty if !state.new.is_empty() => At::Idle,
            At::ProveEmpty => At::Copied,
            At::Copied => self.copied(state, version, number),
            At::Commit => commit(state, process.rows, number),
            At::ReadBack => {
                let digest = state.of(version).and_then(|attempt| attempt.digest);
                if digest == Some(state.new.set) && state.new.twice == 0 { At::Verified } else { At::Idle }
            }
            At::Verified => {
                if let Some(attempt) = state.of(version).filter(|attempt| attempt.stage == Stage::Verifying) {
                    attempt.stage = Stage::Completing;
                }
                At::Idle
            }
            At::Flip => flip(state, version),
            At::Completed => {
                if let Some(attempt) = state.of(version).filter(|attempt| attempt.stage == Stage::Completing)
                {
                    let digest = attempt.digest;
                    (state.attempt, state.version, state.completed) = (None, version, digest);
                }
                At::Idle
            }
            _ => At::Idle,
        })
    }

    /// The compare-and-set at the copy's end, which holds the row until the commit.
    fn copied(&self, state: &mut State, version: u8, number: usize) -> At {
        let any_version = !self.keeps(Safeguard::VersionAtCopy);
        let stands = |attempt: &Attempt| any_version || attempt.version == version;
        if state.attempt.is_some_and(|attempt| stands(&attempt) && attempt.stage == Stage::Copying) {
            state.locked = Some(number as u8);
            return At::Commit;
        }
        At::Idle
    }
}

fn commit(state: &mut State, rows: u8, number: usize) -> At {
    if state.locked == Some(number as u8) {
        state.locked = None;
        state.new.add(rows);
        if let Some(attempt) = &mut state.attempt {
            (attempt.stage, attempt.digest, attempt.copied) = (Stage::Verifying, Some(rows), true);
        }
    }
    At::Idle
}

/// The one moment at which the home becomes the new system. That it was proven is what the model watches.
fn flip(state: &mut State, version: u8) -> At {
    match state.identity.flip(version) {
        End::Ended => {
            let stands = |a: &Attempt| a.version == version && a.stage == Stage::Completing && a.copied;
            let proven = |a: &Attempt| a.digest == Some(a.position) && a.digest == Some(state.new.set);
            let is_proven = state.attempt.is_some_and(|attempt| stands(&attempt) && proven(&attempt));
            state.unproven |= !is_proven || state.new.twice != 0;
            At::Completed
        }
        End::Already => At::Completed,
        End::Elsewhere | End::NotOurs => At::Idle,
    }
}
