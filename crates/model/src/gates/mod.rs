//! Gates, the mirror and the drain: one user is moved while requests come in by up to two gates, or by middleware
//! without a cache, and Redis is emptied or fails over to a stale copy.
//!
//! Does not model how an attempt is carried out and taken back by several workers: that is `attempts`. What is
//! shown here, that nothing is acknowledged by legacy between the drain and the pause's end, is assumed there.

mod feed;
mod state;
mod steps;

use stateright::{Model, Property};

use crate::explore::Told;
use crate::safeguard::{KEPT, ONE_HOME, Safeguard};
use state::{Gate, Home, OVER, Phase, Request, Side, State, Step, Way};

/// What there is, and how much of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// Gates that serve the user already, and gates that start meanwhile.
    pub(crate) warm: usize,
    pub(crate) fresh: usize,
    /// Whether middleware without a cache serves the user too.
    pub(crate) plain: bool,
    /// Requests at once.
    pub(crate) requests: usize,
    /// Writes in all.
    pub(crate) writes: u8,
    /// Faults in all: Redis emptied, a stale fail-over, a gate killed.
    pub(crate) faults: u8,
}

/// The model: a setup, and the safeguard that is taken out of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gates {
    pub(crate) setup: Setup,
    pub(crate) removed: Option<Safeguard>,
}

/// Something that can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Time passes.
    Tick,
    /// A request comes in at a gate, or at middleware without a cache.
    Come { gate: Option<u8> },
    /// Identity's answer arrives.
    Answer { request: u8 },
    /// The deadline is looked at before the write: only without `RecheckAfterStop`.
    Check { request: u8 },
    /// A request writes.
    Write { request: u8 },
    /// A request ends, acknowledged if it is in time.
    End { request: u8 },
    /// A gate tells Identity that it is alive, or registers.
    Seen { gate: u8 },
    /// A gate reads the stream, with or without a heartbeat that it has not read.
    Read { gate: u8, heartbeat: bool },
    /// A gate connects to the server of now.
    Reconnect { gate: u8 },
    /// The drain hears a gate's acknowledgement.
    Acknowledge { gate: u8 },
    /// A gate's process is killed, and another one starts.
    Kill { gate: u8 },
    /// The attempt goes on.
    Go,
    /// The attempt is given up.
    GiveUp,
    /// The replica replays what the primary has.
    Replay,
    /// The reconciler tells the mirror what it should hold.
    Repair,
    /// The reconciler says that the mirror may be believed.
    Ready,
    /// Redis is emptied.
    Empty,
    /// The server's copy gets what the server has.
    Replicate,
    /// The copy takes over.
    FailOver,
}

impl Gates {
    pub(crate) fn keeps(&self, safeguard: Safeguard) -> bool {
        self.removed != Some(safeguard)
    }

    fn faults(state: &State, actions: &mut Vec<Action>) {
        if state.faults == 0 || state.step == Step::Done {
            return;
        }
        actions.extend([Action::Empty, Action::FailOver]);
        let gates = (0..2).filter(|gate| state.gates[*gate].is_some());
        actions.extend(gates.map(|gate| Action::Kill { gate: gate as u8 }));
    }

    fn requests(&self, state: &State, actions: &mut Vec<Action>) {
        let free = state.requests.iter().flatten().count() < self.setup.requests;
        if free && state.writes < self.setup.writes {
            let gates = (0..2).filter(|gate| state.gates[*gate].is_some());
            actions.extend(gates.map(|gate| Action::Come { gate: Some(gate as u8) }));
            if self.setup.plain {
                actions.push(Action::Come { gate: None });
            }
        }
        for (number, request) in state.requests.iter().enumerate() {
            let (Some(Request { phase, .. }), request) = (request, number as u8) else { continue };
            match phase {
                Phase::Asking(_) => actions.push(Action::Answer { request }),
                Phase::Admitted(_) if self.keeps(Safeguard::RecheckAfterStop) => {
                    actions.extend([Action::Write { request }, Action::End { request }]);
                }
                Phase::Admitted(_) => actions.extend([Action::Check { request }, Action::End { request }]),
                Phase::Checked(_) => actions.push(Action::Write { request }),
                Phase::Written(..) => actions.push(Action::End { request }),
            }
        }
    }
}

impl Model for Gates {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut gates = vec![Gate::WARM; self.setup.warm];
        gates.extend(vec![Gate::FRESH; self.setup.fresh]);
        let state = State {
            truth: Home::Legacy,
            mirror: Some(Home::Legacy),
            ready: if self.setup.plain { 0 } else { OVER },
            copy: (None, OVER),
            verified: true,
            step: Step::Begin,
            waits: 0,
            waited: 0,
            announced: false,
            position: 0,
            snapshot: 0,
            legacy: 0,
            replica: 0,
            new: 0,
            acknowledged: 0,
            writes: 0,
            gates: [gates.first().copied(), gates.get(1).copied()],
            requests: [None, None],
            faults: self.setup.faults,
        };
        vec![state.canonical()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend([Action::Tick, Action::Go, Action::Replay, Action::Repair]);
        if self.setup.plain {
            actions.extend([Action::Ready, Action::Replicate]);
        }
        if state.step > Step::Begin && state.step <= Step::Flip {
            actions.push(Action::GiveUp);
        }
        self.requests(state, actions);
        for gate in (0..2_u8).filter(|gate| state.gates[usize::from(*gate)].is_some()) {
            actions.extend([Action::Seen { gate }, Action::Reconnect { gate }, Action::Acknowledge { gate }]);
            actions.extend([Action::Read { gate, heartbeat: false }, Action::Read { gate, heartbeat: true }]);
        }
        Self::faults(state, actions);
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        let happened = match action {
            Action::Tick => steps::tick(&mut state),
            Action::Come { gate } => self.come(&mut state, gate.map_or(Way::Plain, Way::Gate)),
            Action::Answer { request } => self.answer(&mut state, usize::from(request)),
            Action::Check { request } => steps::check(&mut state, usize::from(request)),
            Action::Write { request } => steps::write(&mut state, usize::from(request), self.setup.writes),
            Action::End { request } => self.end(&mut state, usize::from(request)),
            Action::Seen { gate } => feed::seen(&mut state, gate),
            Action::Read { gate, heartbeat } => self.read(&mut state, gate, heartbeat),
            Action::Reconnect { gate } => feed::reconnect(&mut state, gate),
            Action::Acknowledge { gate } => feed::acknowledge(&mut state, gate),
            Action::Kill { gate } => feed::kill(&mut state, gate),
            Action::Go => self.go(&mut state),
            Action::GiveUp => steps::give_up(&mut state),
            Action::Replay => {
                state.replica = state.legacy;
                true
            }
            Action::Repair => feed::repair(&mut state),
            Action::Ready => {
                state.ready = 0;
                state.verified
            }
            Action::Empty => feed::empty(&mut state),
            Action::Replicate => {
                state.copy = (state.mirror, state.ready);
                true
            }
            Action::FailOver => feed::fail_over(&mut state),
        };
        happened.then(|| state.canonical()).filter(|state| state != before)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(KEPT, |_, state: &State| {
                let home = if state.truth == Home::New { state.new } else { state.legacy };
                state.acknowledged & !home == 0
            }),
            Property::always(ONE_HOME, |model: &Self, state: &State| {
                let accepted = |side| state.requests.iter().flatten().any(|r| model.would_accept(*r, side));
                !(accepted(Side::Legacy) && accepted(Side::New))
            }),
            Property::sometimes("a write is moved", |_, state: &State| {
                state.step == Step::Done
                    && state.truth == Home::New
                    && state.acknowledged & state.snapshot != 0
            }),
            Property::sometimes("a write is made on the new system", |_, state: &State| {
                state.acknowledged & state.new & !state.legacy != 0
            }),
        ]
    }
}

impl Gates {
    /// Whether what the request does now could still be acknowledged.
    fn would_accept(&self, request: Request, side: Side) -> bool {
        let of = match request.phase {
            Phase::Asking(_) => None,
            Phase::Admitted(side) | Phase::Checked(side) | Phase::Written(side, _) => Some(side),
        };
        of == Some(side) && (request.age < OVER || !self.keeps(Safeguard::PermitDeadline))
    }
}

impl Told for Gates {
    fn told(&self, state: &State, action: &Action) -> String {
        match action {
            Action::Go => format!("the attempt: {:?}", state.step),
            action => format!("{action:?}"),
        }
    }
}
