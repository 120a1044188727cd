//! Whether the reconciler alone, whatever has died, ends the pause: run from every state that is reached.
//!
//! "Some day" is not asked of the checker, whose answer for it would miss ways that lead back to themselves.
//! From each state there is one way on which all other processes are dead; that way is walked, and must end. Since
//! every state that the others can lead to is walked from too, nothing they do meanwhile can keep the pause up,
//! but by going on for ever, which `max_paused` and the versions do not let them.

use super::state::{At, Process, Rows, Stage, State};
use super::{Attempts, Job};

/// More rounds than the reconciler needs.
const ROUNDS: usize = 4;
/// More steps than a round has.
const STEPS: usize = 16;

impl Attempts {
    /// Whether the reconciler ends the pause at a home that holds every acknowledged write.
    pub(super) fn settles(&self, state: &State) -> bool {
        if !state.is_paused() && state.attempt.is_none() {
            return true;
        }
        let mut state = state.clone();
        // The servers' time-outs end the dead processes' transactions; other migrations have their own reconciler.
        (state.processes, state.locked) = ([Process::IDLE; 3], None);
        (state.in_flight, state.identity.other) = (None, false);
        for _ in 0..ROUNDS {
            let is_admitted = state.attempt.is_some_and(|attempt| attempt.stage != Stage::Queued);
            if is_admitted {
                self.finish(&mut state, Job::End);
            }
            self.finish(&mut state, Job::Orphan);
        }
        !state.is_paused() && state.owner().hold(state.acknowledged)
    }

    fn finish(&self, state: &mut State, job: Job) {
        if !Self::start(state, 0, job) {
            return;
        }
        for _ in 0..STEPS {
            if state.processes[0].at == At::Idle || !self.step(state, 0) {
                return;
            }
        }
    }
}

impl State {
    /// What the owner of the user holds: the new system from the flip to the removal.
    pub(super) fn owner(&self) -> Rows {
        let is_removed = self.attempt.is_some_and(|attempt| attempt.removed);
        if self.home_is_new() && !is_removed { self.new } else { self.legacy }
    }
}
