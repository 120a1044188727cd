//! The database fence: two attempts, one after the other, raise it, and late workers of the first one try to lift it;
//! transactions of two isolation levels write through no gate at all.
//!
//! One user, whose rows have the user's column. Does not model rows that reach their user through a parent, nor
//! `crossing`: a race against real servers watches those.

use stateright::{Model, Property};

use crate::explore::Told;
use crate::safeguard::{KEPT, ONE_HOME, Safeguard};

/// How much of everything there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// Transactions that write, of which one is REPEATABLE READ.
    pub(crate) writers: usize,
    /// Attempts that are made, of which the last may flip.
    pub(crate) attempts: u8,
}

/// The model: a setup, and the safeguard that is taken out of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fence {
    pub(crate) setup: Setup,
    pub(crate) removed: Option<Safeguard>,
}

/// The fence's row, as a snapshot shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Row {
    version: u8,
    drained: bool,
}

/// How far a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Phase {
    NotBegun,
    /// Its snapshot, if it keeps one, was taken.
    Begun,
    /// It has written, and waits for the bucket's lock in its trigger; then holds it until its end.
    Holds,
    /// Its trigger has found no fence.
    Wrote,
    Committed,
    Refused,
}

/// A transaction of the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Writer {
    phase: Phase,
    /// REPEATABLE READ: whether its snapshot shows a fence, and the clock that it shows.
    keeps: Option<(bool, u8)>,
}

/// How far the attempt of now is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Raise,
    Wait,
    Mark,
    Snapshot,
    Flip,
    Moved,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    attempt: u8,
    step: Step,
    row: Option<Row>,
    /// The sequence and the number in the table, which are bumped together with each fence.
    clock: u8,
    writers: [Writer; 3],
    /// Writes in the primary; in the replica, with the row that it shows; and at the destination.
    legacy: u8,
    replica: (u8, Option<Row>),
    new: u8,
    /// An older attempt's worker that has not lifted its fence yet.
    late: Option<u8>,
}

/// Something that can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A transaction takes its next step.
    Writer(u8),
    /// The application begins it again after a serialization failure, or gives up.
    Abort(u8),
    /// The attempt takes its next step.
    Go,
    /// The attempt is given up; who was to lift its fence may come late.
    GiveUp,
    /// The late one lifts.
    LiftLate,
    /// The replica replays all there is.
    Replay,
}

impl Fence {
    fn keeps(&self, safeguard: Safeguard) -> bool {
        self.removed != Some(safeguard)
    }

    fn writer(&self, state: &mut State, number: usize) -> bool {
        let Writer { phase, keeps } = state.writers[number];
        let next = match phase {
            Phase::NotBegun => {
                let kept = (state.row.is_some(), state.clock);
                state.writers[number].keeps = keeps.map(|_| kept);
                Phase::Begun
            }
            Phase::Begun => Phase::Holds,
            Phase::Holds => {
                let is_behind = |clock| clock != state.clock && self.keeps(Safeguard::FenceSequence);
                let is_refused = match keeps {
                    None => state.row.is_some(),
                    Some((shown, clock)) => shown || is_behind(clock),
                };
                if is_refused { Phase::Refused } else { Phase::Wrote }
            }
            Phase::Wrote => {
                state.legacy |= 1 << number;
                Phase::Committed
            }
            Phase::Committed | Phase::Refused => return false,
        };
        state.writers[number].phase = next;
        true
    }

    fn go(&self, state: &mut State) -> bool {
        let version = state.attempt;
        match state.step {
            Step::Raise => {
                if state.row.is_some_and(|row| row.version > version) {
                    return false;
                }
                (state.row, state.clock) = (Some(Row { version, drained: false }), state.clock + 1);
                state.step = if self.keeps(Safeguard::FenceWaits) { Step::Wait } else { Step::Mark };
            }
            // The lock is had once nobody holds it who took it before.
            Step::Wait => {
                let holds = |writer: &Writer| matches!(writer.phase, Phase::Holds | Phase::Wrote);
                if state.writers.iter().any(holds) {
                    return false;
                }
                state.step = Step::Mark;
            }
            Step::Mark => {
                state.row =
                    state.row.map(|row| Row { drained: row.drained || row.version == version, ..row });
                state.step = Step::Snapshot;
            }
            Step::Snapshot => {
                let (rows, shown) = state.replica;
                let drained = |row: Row| row.drained || !self.keeps(Safeguard::FenceDrained);
                if !shown.is_some_and(|row| row.version == version && drained(row)) {
                    return false;
                }
                (state.new, state.step) = (rows, Step::Flip);
            }
            Step::Flip => state.step = Step::Moved,
            Step::Moved => return false,
        }
        true
    }

    fn lift(&self, state: &mut State, version: u8) {
        let is_ours = |row: &Row| row.version == version || !self.keeps(Safeguard::FenceByVersion);
        if state.row.as_ref().is_some_and(is_ours) {
            state.row = None;
        }
    }
}

impl Model for Fence {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let idle = Writer { phase: Phase::NotBegun, keeps: None };
        let out = Writer { phase: Phase::Refused, keeps: None };
        let long = Writer { phase: Phase::NotBegun, keeps: Some((false, 0)) };
        let of = |number| if number < self.setup.writers { idle } else { out };
        vec![State {
            attempt: 1,
            step: Step::Raise,
            row: None,
            clock: 0,
            writers: [long, of(1), of(2)],
            legacy: 0,
            replica: (0, None),
            new: 0,
            late: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend([Action::Go, Action::Replay]);
        for number in 0..3 {
            actions.extend([Action::Writer(number), Action::Abort(number)]);
        }
        if state.attempt < self.setup.attempts && state.step != Step::Moved {
            actions.push(Action::GiveUp);
        }
        if state.late.is_some() {
            actions.push(Action::LiftLate);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        let happened = match action {
            Action::Writer(number) => self.writer(&mut state, usize::from(number)),
            Action::Abort(number) => {
                let writer = &mut state.writers[usize::from(number)];
                let is_open = matches!(writer.phase, Phase::Begun | Phase::Holds | Phase::Wrote);
                writer.phase = Phase::Refused;
                is_open
            }
            Action::Go => self.go(&mut state),
            Action::GiveUp => {
                // The first to take it back lifts the fence in time; a second one may come late.
                self.lift(&mut state, before.attempt);
                (state.late, state.new) = (Some(before.attempt), 0);
                (state.attempt, state.step) = (before.attempt + 1, Step::Raise);
                true
            }
            Action::LiftLate => {
                let late = state.late.take();
                late.is_some_and(|version| {
                    self.lift(&mut state, version);
                    true
                })
            }
            Action::Replay => {
                state.replica = (state.legacy, state.row);
                true
            }
        };
        happened.then_some(state).filter(|state| state != before)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(KEPT, |_, state: &State| {
                !matches!(state.step, Step::Flip | Step::Moved) || state.legacy & !state.new == 0
            }),
            Property::always(ONE_HOME, |_, state: &State| {
                state.step != Step::Moved || state.writers.iter().all(|writer| writer.phase != Phase::Wrote)
            }),
            Property::sometimes("a write is moved", |_, state: &State| {
                state.step == Step::Moved && state.new != 0
            }),
            Property::sometimes("a write is refused after the move", |_, state: &State| {
                state.step == Step::Moved && state.writers[1].phase == Phase::Refused
            }),
        ]
    }
}

impl Told for Fence {
    fn told(&self, state: &State, action: &Action) -> String {
        match action {
            Action::Go => format!("attempt {}: {:?}", state.attempt, state.step),
            Action::Writer(number) => {
                format!("writer {number}: {:?}", state.writers[usize::from(*number)].phase)
            }
            action => format!("{action:?}"),
        }
    }
}
