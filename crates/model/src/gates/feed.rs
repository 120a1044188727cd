//! What gates hear, what they tell, and what happens to Redis.

use super::Gates;
use super::state::{Gate, Home, OVER, Place, State, Way};
use super::steps::announce;
use crate::safeguard::Safeguard;

fn gate(state: &mut State, number: u8) -> Option<&mut Gate> {
    state.gates[usize::from(number)].as_mut()
}

/// Everything that the gate knew is forgotten. Whoever is in flight may be paused without its having heard.
fn forget(state: &mut State, number: u8) {
    for request in state.requests.iter_mut().flatten().filter(|request| request.way == Way::Gate(number)) {
        (request.draining, request.overtaken) = (true, true);
    }
    if let Some(gate) = gate(state, number) {
        (gate.cache, gate.lease) = (None, OVER);
    }
}

/// Identity hears that the gate is alive. One that had been given up forgets everything.
pub(super) fn seen(state: &mut State, number: u8) -> bool {
    let Some(found) = gate(state, number) else { return false };
    let was_member = found.member < super::state::ALL_OVER;
    found.member = 0;
    if !was_member {
        forget(state, number);
        if let Some(gate) = gate(state, number) {
            (gate.place, gate.pending, gate.unread, gate.read) = (Place::Lost, None, false, OVER);
        }
    }
    true
}

/// The gate leaves a server that was cut off.
pub(super) fn reconnect(state: &mut State, number: u8) -> bool {
    let Some(gate) = gate(state, number).filter(|gate| gate.place == Place::Cut) else { return false };
    (gate.place, gate.pending, gate.unread, gate.read) = (Place::Lost, None, false, OVER);
    true
}

/// The drain hears that the gate acts on the pause and holds nothing of the user.
pub(super) fn acknowledge(state: &mut State, number: u8) -> bool {
    let draining = |way| state.requests.iter().flatten().any(|r| r.way == way && r.draining);
    let Some(gate) = state.gates[usize::from(number)] else { return false };
    let heard = state.announced && gate.place == Place::Live && gate.pending.is_none();
    if state.waits & 1 << number == 0 || !heard || draining(Way::Gate(number)) {
        return false;
    }
    state.waits &= !(1 << number);
    true
}

/// The process is gone, with all that it had in flight; its membership has to run out.
pub(super) fn kill(state: &mut State, number: u8) -> bool {
    for request in &mut state.requests {
        if request.is_some_and(|request| request.way == Way::Gate(number)) {
            *request = None;
        }
    }
    if let Some(gate) = gate(state, number) {
        *gate = Gate { member: super::state::ALL_OVER, ..Gate::FRESH };
    }
    // The new process has another name: the drain goes on waiting for the old one, which can only be longer.
    state.faults -= 1;
    true
}

/// The mirror is told what it should hold, and is held against the truth.
pub(super) fn repair(state: &mut State) -> bool {
    if state.mirror.is_some_and(|mirror| mirror != state.truth) {
        let announced = state.announced;
        announce(state, state.truth);
        state.announced = announced;
    }
    state.mirror = state.mirror.max(Some(state.truth));
    state.verified = true;
    true
}

/// All keys are gone. The stream begins anew, under another generation.
pub(super) fn empty(state: &mut State) -> bool {
    (state.mirror, state.ready, state.announced) = (None, OVER, false);
    for gate in state.gates.iter_mut().flatten() {
        gate.told = false;
        if gate.place == Place::Live {
            (gate.place, gate.pending) = (Place::Lost, None);
        }
    }
    state.faults -= 1;
    true
}

/// A copy takes over that lacks the last writes. Gates go on reading the old server until they notice.
pub(super) fn fail_over(state: &mut State) -> bool {
    (state.mirror, state.ready) = state.copy;
    (state.announced, state.verified) = (false, false);
    for gate in state.gates.iter_mut().flatten().filter(|gate| gate.place == Place::Live) {
        (gate.place, gate.unread) = (Place::Cut, true);
    }
    state.faults -= 1;
    true
}

impl Gates {
    /// The gate reads all there is after its place.
    pub(super) fn read(&self, state: &mut State, number: u8, heartbeat: bool) -> bool {
        let Some(found) = state.gates[usize::from(number)] else { return false };
        if found.place == Place::Lost {
            // It finds the last entry, and follows the stream from there.
            forget(state, number);
            if let Some(gate) = gate(state, number) {
                (gate.place, gate.read, gate.pending, gate.told) = (Place::Live, 0, None, true);
            }
            return !heartbeat;
        }
        if heartbeat && found.place == Place::Cut && !found.unread {
            return false;
        }
        if let Some(home) = found.pending {
            hear(state, number, home);
        }
        let Some(gate) = gate(state, number) else { return false };
        let is_new = heartbeat || found.pending.is_some();
        if is_new || !self.keeps(Safeguard::EntriesRenew) {
            let from = if self.keeps(Safeguard::LeaseFromReadBefore) { gate.read } else { 0 };
            gate.lease = gate.lease.min(from);
        }
        (gate.read, gate.pending, gate.unread) = (0, None, false);
        gate.told |= gate.place == Place::Live;
        true
    }
}

/// A gate takes one change. Of a user who is neither cached nor in flight there is nothing to change.
fn hear(state: &mut State, number: u8, home: Home) {
    let own = |way| way == Way::Gate(number);
    let in_flight = state.requests.iter().flatten().any(|request| own(request.way));
    let Some(gate) = gate(state, number) else { return };
    let is_old = gate.cache > Some(home) || (gate.cache == Some(home) && home != Home::Paused);
    if is_old || (gate.cache.is_none() && !in_flight) {
        return;
    }
    gate.cache = Some(home);
    for request in state.requests.iter_mut().flatten().filter(|request| own(request.way)) {
        request.overtaken = true;
        request.draining |= home == Home::Paused;
    }
}
