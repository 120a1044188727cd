//! The way back: taking an attempt back, rolling back, giving a rollback up, ending a pause without an attempt.

use super::Attempts;
use super::identity::{Begin, End, Raise};
use super::state::{At, Attempt, Kind, Process, Rows, Stage, State};
use crate::safeguard::Safeguard;

impl Attempts {
    /// What comes after this step; `None` where it has to wait.
    pub(super) fn back(&self, state: &mut State, process: &mut Process) -> Option<At> {
        match process.at {
            At::RaiseIdentity
            | At::RaiseTracking
            | At::Look
            | At::Remove
            | At::Delete
            | At::Release
            | At::Failed
            | At::Forward => Some(self.take_back(state, process)),
            At::Refuse | At::Restore | At::ShutOut => Some(self.give_up(state, process)),
            At::Orphan => Some(self.orphan(state, process.version)),
            At::EndOrphan | At::Requeue | At::Skip => Some(stray(state, process)),
            _ => self.roll_back(state, process),
        }
    }

    fn take_back(&self, state: &mut State, process: &mut Process) -> At {
        let (version, raised) = (process.version, process.raised);
        let look_first = !self.keeps(Safeguard::RaiseThenLook);
        match process.at {
            At::RaiseIdentity => match self.raise_identity(state, raised) {
                Raise::HomeIsNew => At::Forward,
                Raise::Superseded => At::Idle,
                Raise::Raised | Raise::HomeIsLegacy if look_first => At::Look,
                Raise::Raised | Raise::HomeIsLegacy => At::RaiseTracking,
            },
            At::RaiseTracking => {
                let stands = |a: &&mut Attempt| {
                    a.kind == Kind::Move
                        && (a.version == version || (a.version == raised && a.stage == Stage::Failing))
                };
                let Some(attempt) = state.attempt.as_mut().filter(stands) else { return At::Idle };
                (attempt.version, attempt.stage) = (raised, Stage::Failing);
                match (look_first, process.copied) {
                    (false, _) => At::Look,
                    (true, Some(_)) => At::Remove,
                    (true, None) => At::Release,
                }
            }
            At::Look => {
                let at = if look_first { version } else { raised };
                process.copied = state.of(at).filter(|attempt| attempt.copied).and_then(|a| a.digest);
                match (look_first, process.copied) {
                    (true, _) => At::RaiseTracking,
                    (false, Some(_)) => At::Remove,
                    (false, None) => At::Release,
                }
            }
            At::Remove => self.remove(state, raised),
            At::Delete => {
                state.new = Rows::default();
                At::Release
            }
            At::Release => {
                // Without: the row has the version that it had.
                let held = if self.keeps(Safeguard::RaiseIdentity) { raised } else { version };
                match state.identity.release(held) {
                    End::Ended | End::Already => At::Failed,
                    End::Elsewhere | End::NotOurs => At::Idle,
                }
            }
            At::Failed => {
                if state.stands(raised, |a| a.stage == Stage::Failing && a.kind == Kind::Move) {
                    (state.attempt, state.version) = (None, raised);
                }
                At::Idle
            }
            // The home is new: it was flipped, or never paused.
            _ if process.was_pausing => At::Skip,
            _ => At::Flip,
        }
    }

    fn raise_identity(&self, state: &mut State, raised: u8) -> Raise {
        if self.keeps(Safeguard::RaiseIdentity) {
            return state.identity.raise(raised);
        }
        if state.home_is_new() { Raise::HomeIsNew } else { Raise::Raised }
    }

    /// One transaction that holds the row, hashes and removes; or, without that, hashes alone.
    fn remove(&self, state: &mut State, raised: u8) -> At {
        let Some(attempt) = state.of(raised) else { return At::Release };
        let digest = attempt.digest;
        let is_ours = digest == Some(state.new.set) && state.new.twice == 0;
        if is_ours && !self.keeps(Safeguard::HashAndRemoveInOne) {
            return At::Delete;
        }
        if is_ours {
            state.new = Rows::default();
        }
        // What is not ours is left, and the user goes back all the same.
        At::Release
    }

    fn roll_back(&self, state: &mut State, process: &mut Process) -> Option<At> {
        let version = process.version;
        Some(match process.at {
            At::BeginRollback => match state.identity.begin_rollback(version) {
                Begin::Begun => At::DrainRollback,
                Begin::Busy => At::Requeue,
                Begin::Superseded | Begin::HomeIsLegacy | Begin::HomeIsNew => At::Idle,
            },
            At::DrainRollback if state.in_flight.is_some() && self.keeps(Safeguard::OwnDrain) => return None,
            At::DrainRollback if self.setup.carry => At::Claim,
            At::DrainRollback => At::TakeRollback,
            At::Claim if state.marker.version > version => At::Idle,
            At::Claim => {
                if state.marker.version < version {
                    (state.marker.version, state.marker.loaded) = (version, false);
                }
                At::TakeRollback
            }
            At::TakeRollback => {
                // Without: the move's own, which the replica has passed long ago.
                process.position = if self.keeps(Safeguard::OwnPosition) { state.legacy.set } else { 0 };
                At::FencedRollback
            }
            At::FencedRollback => {
                if state.stands(version, is_standing) {
                    At::HashSource
                } else {
                    At::Idle
                }
            }
            At::HashSource if process.position & !state.replica != 0 => return None,
            At::HashSource => {
                (process.rows, process.position) = (state.replica, 0);
                let digest = state.of(version).and_then(|attempt| attempt.digest);
                match (self.setup.carry, digest == Some(process.rows)) {
                    (true, _) => At::Hash,
                    (false, true) => At::RemoveRollback,
                    (false, false) => At::Refuse,
                }
            }
            At::Hash => {
                process.copied = Some(state.new.set);
                let has_nothing = state.new.set == process.rows;
                if has_nothing && !self.keeps(Safeguard::MarkerIsSpent) {
                    At::RemoveRollback
                } else {
                    At::Load
                }
            }
            At::Load => self.load(state, process),
            At::RemoveRollback => remove_rollback(state, process),
            At::BackHome => match state.identity.release(version) {
                End::Ended | End::Already => At::RolledBack,
                End::Elsewhere | End::NotOurs => At::Idle,
            },
            _ => {
                if state.stands(version, |attempt| attempt.removed) {
                    (state.attempt, state.version, state.completed) = (None, version, None);
                }
                At::Idle
            }
        })
    }

    /// One transaction in legacy: the marker is compared, what was written on the new system is added.
    fn load(&self, state: &mut State, process: &Process) -> At {
        let missing = process.copied.unwrap_or(0) & !process.rows;
        if self.keeps(Safeguard::Marker) {
            if state.marker.version != process.version {
                return At::Idle;
            }
            if state.marker.loaded {
                return At::RemoveRollback;
            }
        }
        state.marker.loaded = true;
        state.legacy.add(missing);
        At::RemoveRollback
    }

    /// Whether no attempt stands behind the pause of that version. One that waits is given a number past it.
    fn orphan(&self, state: &mut State, version: u8) -> At {
        let Some(attempt) = &mut state.attempt else { return At::EndOrphan };
        if attempt.version > version {
            return At::EndOrphan;
        }
        let is_raised = attempt.version < version;
        if attempt.stage != Stage::Queued || (is_raised && !self.keeps(Safeguard::RenumberPastPause)) {
            return At::Idle;
        }
        attempt.version = version + 1;
        At::EndOrphan
    }

    /// Ends a rollback at the user's home, which is the new system: tracking first, then Identity.
    fn give_up(&self, state: &mut State, process: &Process) -> At {
        if !self.keeps(Safeguard::CloseThenRestore) {
            return restore_then_close(state, process);
        }
        let version = process.version;
        let takes_a_number = self.keeps(Safeguard::RefusalTakesANumber);
        match process.at {
            At::Refuse => {
                if !close_refused(state, version, u8::from(takes_a_number)) {
                    return At::Idle;
                }
                if takes_a_number { At::ShutOut } else { At::Restore }
            }
            At::Restore if !self.keeps(Safeguard::BackToNew) => {
                state.identity.release(version + u8::from(takes_a_number));
                At::Idle
            }
            At::Restore if takes_a_number => {
                state.identity.restore(version + 1);
                At::Idle
            }
            At::Restore => match state.identity.restore(version) {
                End::Already => At::ShutOut,
                End::Ended | End::Elsewhere | End::NotOurs => At::Idle,
            },
            _ => {
                state.identity.raise(version + 1);
                if takes_a_number { At::Restore } else { At::Idle }
            }
        }
    }
}

/// Without `CloseThenRestore`: Identity first, then tracking.
fn restore_then_close(state: &mut State, process: &Process) -> At {
    if process.at == At::Refuse {
        state.identity.restore(process.version);
        return At::ShutOut;
    }
    close_refused(state, process.version, 0);
    At::Idle
}

/// Closes a rollback that has removed nothing; its number grows by `by` in the same statement.
fn close_refused(state: &mut State, version: u8, by: u8) -> bool {
    let stands = |a: Attempt| {
        a.kind == Kind::Rollback && !a.removed && matches!(a.stage, Stage::Queued | Stage::RollingBack)
    };
    if !state.stands(version, stands) {
        return false;
    }
    (state.attempt, state.version) = (None, version + by);
    true
}

fn is_standing(attempt: Attempt) -> bool {
    attempt.stage == Stage::RollingBack && !attempt.removed
}

/// One transaction at the destination: hashes, removes, and makes tracking's compare-and-set.
fn remove_rollback(state: &mut State, process: &Process) -> At {
    let new = state.new;
    let Some(attempt) = state.of(process.version).filter(|attempt| is_standing(**attempt)) else {
        return At::Idle;
    };
    let expected = process.copied.or(attempt.digest);
    if expected != Some(new.set) || new.twice != 0 {
        return At::Refuse;
    }
    attempt.removed = true;
    state.new = Rows::default();
    At::BackHome
}

/// Steps about attempts and pauses that do not belong together.
fn stray(state: &mut State, process: &Process) -> At {
    let version = process.version;
    match process.at {
        At::EndOrphan => {
            if process.is_rollback {
                state.identity.restore(version);
            } else {
                state.identity.release(version);
            }
            At::Idle
        }
        At::Requeue => {
            let stands = |a: &&mut Attempt| a.stage == Stage::Pausing || is_standing(**a);
            if let Some(attempt) = state.of(version).filter(stands) {
                attempt.stage = Stage::Queued;
            }
            At::Idle
        }
        // The user was on the new system already.
        _ => {
            if state.stands(version, |attempt| attempt.stage == Stage::Pausing) {
                (state.attempt, state.version) = (None, version);
            }
            At::Idle
        }
    }
}
