//! What requests, the attempt and time do.

use super::Gates;
use super::state::{ALL_OVER, Home, OVER, Phase, Place, Request, Side, State, Step, Way};
use crate::safeguard::Safeguard;

/// All ages grow by one.
pub(super) fn tick(state: &mut State) -> bool {
    let older = |age: &mut u8, most: u8| *age = (*age + 1).min(most);
    for gate in state.gates.iter_mut().flatten() {
        older(&mut gate.member, ALL_OVER);
        older(&mut gate.lease, OVER);
        older(&mut gate.read, OVER);
    }
    for request in state.requests.iter_mut().flatten() {
        older(&mut request.age, OVER);
    }
    older(&mut state.ready, OVER);
    older(&mut state.copy.1, OVER);
    if state.step == Step::Drain {
        older(&mut state.waited, ALL_OVER);
        if state.waited == ALL_OVER {
            state.waits = 0;
        }
    }
    // A member that has been silent for so long is none any more, and nothing that it let through is left.
    for (number, gate) in state.gates.iter().enumerate() {
        if gate.is_some_and(|gate| gate.member == ALL_OVER) {
            state.waits &= !(1 << number);
        }
    }
    true
}

/// The deadline is looked at, and then the write is made.
pub(super) fn check(state: &mut State, number: usize) -> bool {
    let Some(request) = &mut state.requests[number] else { return false };
    let Phase::Admitted(side) = request.phase else { return false };
    request.phase = Phase::Checked(side);
    request.age < OVER
}

/// A request writes where it was told to.
pub(super) fn write(state: &mut State, number: usize, most: u8) -> bool {
    let Some(request) = &mut state.requests[number] else { return false };
    let (Phase::Admitted(side) | Phase::Checked(side)) = request.phase else { return false };
    if state.writes == most {
        return false;
    }
    let bit = 1 << state.writes;
    request.phase = Phase::Written(side, state.writes);
    state.writes += 1;
    match side {
        Side::Legacy => state.legacy |= bit,
        Side::New => state.new |= bit,
    }
    true
}

/// The attempt is taken back: the home is legacy, and the pause ends.
pub(super) fn give_up(state: &mut State) -> bool {
    if state.truth != Home::Paused {
        return false;
    }
    state.truth = Home::Back;
    finish(state);
    state.step = Step::TellEnd;
    true
}

/// What is not needed any more is forgotten.
fn finish(state: &mut State) {
    (state.waits, state.waited, state.position, state.announced) = (0, 0, 0, false);
}

impl Gates {
    /// A request comes in.
    pub(super) fn come(&self, state: &mut State, way: Way) -> bool {
        let Some(slot) = state.requests.iter().position(Option::is_none) else { return false };
        let phase = match way {
            Way::Gate(gate) => self.look(state, gate),
            Way::Plain => self.look_plain(state),
        };
        let Some(phase) = phase else { return false };
        state.requests[slot] = Some(Request { way, phase, age: 0, draining: false, overtaken: false });
        true
    }

    /// What a gate knows at once; `None` where the request waits.
    fn look(&self, state: &State, gate: u8) -> Option<Phase> {
        let gate = state.gates[usize::from(gate)]?;
        if gate.member >= OVER && self.keeps(Safeguard::Membership) {
            return None;
        }
        let believed = gate.lease < OVER || !self.keeps(Safeguard::Lease);
        match gate.cache.filter(|_| believed) {
            Some(home) => home.side().map(Phase::Admitted),
            None => Some(Phase::Asking(state.truth)),
        }
    }

    /// What middleware without a cache finds: user and `!ready` in one command, else Identity's truth.
    fn look_plain(&self, state: &State) -> Option<Phase> {
        let home = match (state.ready < OVER, state.mirror) {
            (true, Some(home)) => home,
            (_, None) if !self.keeps(Safeguard::AbsentMeansAsk) => Home::Legacy,
            _ => state.truth,
        };
        home.side().map(Phase::Admitted)
    }

    /// Identity's answer arrives at the gate that asked.
    pub(super) fn answer(&self, state: &mut State, number: usize) -> bool {
        let Some(mut request) = state.requests[number] else { return false };
        let (Phase::Asking(home), Way::Gate(gate)) = (request.phase, request.way) else { return false };
        let Some(gate) = &mut state.gates[usize::from(gate)] else { return false };
        state.requests[number] = None;
        let closed = gate.member >= OVER && self.keeps(Safeguard::Membership);
        let overtaken = request.overtaken || gate.cache > Some(home);
        if closed || request.age >= OVER || (overtaken && self.keeps(Safeguard::OvertakenAnswer)) {
            return true;
        }
        gate.cache = Some(home);
        if let Some(side) = home.side() {
            request.phase = Phase::Admitted(side);
            request.overtaken = false;
            state.requests[number] = Some(request);
        }
        true
    }

    /// A request ends: acknowledged if it wrote and its permit holds still.
    pub(super) fn end(&self, state: &mut State, number: usize) -> bool {
        let Some(request) = state.requests[number].take() else { return false };
        if let Phase::Written(_, write) = request.phase {
            let checked = !self.keeps(Safeguard::RecheckAfterStop);
            if request.age < OVER || checked || !self.keeps(Safeguard::PermitDeadline) {
                state.acknowledged |= 1 << write;
            }
        }
        true
    }

    /// The attempt's next step.
    pub(super) fn go(&self, state: &mut State) -> bool {
        match state.step {
            Step::Begin if self.keeps(Safeguard::TruthBeforeMirror) => {
                state.truth = Home::Paused;
                state.step = Step::Tell;
            }
            // Without: the mirror is told first, and the truth follows.
            Step::Begin => {
                announce(state, Home::Paused);
                state.step = Step::Tell;
            }
            Step::Tell => {
                if self.keeps(Safeguard::TruthBeforeMirror) {
                    announce(state, Home::Paused);
                }
                state.truth = Home::Paused;
                self.told(state);
            }
            Step::Members => {
                state.waits = self.members(state);
                state.step = Step::Drain;
            }
            Step::Drain => {
                if state.waits != 0 || (self.setup.plain && state.waited < ALL_OVER) {
                    return false;
                }
                (state.waited, state.announced) = (0, false);
                state.step =
                    if self.keeps(Safeguard::PositionAfterDrain) { Step::Position } else { Step::Snapshot };
            }
            Step::Position => {
                state.position = state.legacy;
                state.step = Step::Snapshot;
            }
            Step::Snapshot => {
                let past = state.position & !state.replica == 0;
                if !past && self.keeps(Safeguard::SnapshotPastPosition) {
                    return false;
                }
                state.snapshot = state.replica;
                state.step = Step::Commit;
            }
            Step::Commit => {
                state.new = state.snapshot;
                state.step = Step::Flip;
            }
            Step::Flip => {
                state.truth = Home::New;
                finish(state);
                state.step = Step::TellEnd;
            }
            Step::TellEnd => {
                announce(state, state.truth);
                state.announced = false;
                state.step = Step::Done;
            }
            Step::Done => return false,
        }
        true
    }

    /// The pause is told of: what comes next.
    fn told(&self, state: &mut State) {
        if !self.keeps(Safeguard::PositionAfterDrain) {
            state.position = state.legacy;
        }
        state.step = if self.keeps(Safeguard::Drain) { Step::Members } else { Step::Position };
    }

    /// The gates that the drain waits for.
    fn members(&self, state: &State) -> u8 {
        let waits = |number: &usize| {
            state.gates[*number].is_some_and(|gate| {
                if self.keeps(Safeguard::MembersFromPostgres) { gate.member < ALL_OVER } else { gate.told }
            })
        };
        (0..2).filter(waits).map(|number| 1 << number).sum()
    }
}

/// Writes the mirror and its entry, in one script; never over a newer state.
pub(super) fn announce(state: &mut State, home: Home) {
    state.mirror = state.mirror.max(Some(home));
    state.announced = true;
    for gate in state.gates.iter_mut().flatten().filter(|gate| gate.place == Place::Live) {
        gate.pending = state.mirror;
    }
}
