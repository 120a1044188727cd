//! Attempts: one user is moved, taken back, moved again, rolled back and carried back by two or three processes, each
//! of which may stand still between any two steps, or die.
//!
//! Each step is one statement or transaction of the engine. Does not model gates: here a request that was let
//! through before a pause ends before the drain does, which is what `gates` shows.

mod back;
mod forth;
mod identity;
mod settle;
mod state;

use stateright::{Model, Property};

use crate::explore::Told;
use crate::safeguard::{BOUNDED, CLEAN, KEPT, ONCE, ONE_HOME, PROVEN, Safeguard};
use state::{At, Attempt, Identity, Kind, Marker, Process, Rows, Stage, State};

/// How much of everything there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// Processes that work at the same time: at most three.
    pub(crate) processes: usize,
    /// Moves and rollbacks that are ordered.
    pub(crate) moves: u8,
    pub(crate) rollbacks: u8,
    /// Writes by the user.
    pub(crate) writes: u8,
    /// Pauses by other migrations.
    pub(crate) others: u8,
    /// The highest version that is looked at: deaths in the midst of taking back can raise it for ever.
    pub(crate) versions: u8,
    /// Whether a rollback carries back what was written on the new system.
    pub(crate) carry: bool,
}

/// The model: a setup, and the safeguard that is taken out of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempts {
    pub(crate) setup: Setup,
    pub(crate) removed: Option<Safeguard>,
}

/// What a process begins when it has nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    Pause,
    Copy,
    Verify,
    Complete,
    Rollback,
    /// The attempt is ended at the user's home: it failed, lasts too long, or was left half taken back.
    End,
    /// A pause is looked at behind which no attempt may stand.
    Orphan,
}

const JOBS: [Job; 7] =
    [Job::Pause, Job::Copy, Job::Verify, Job::Complete, Job::Rollback, Job::End, Job::Orphan];

/// Something that can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A process begins.
    Start { process: u8, job: Job },
    /// A process takes its next step.
    Step { process: u8 },
    /// A process dies, and another one takes its place.
    Die { process: u8 },
    /// The user's request is let through.
    Come,
    /// The request writes, and is acknowledged.
    Write,
    /// The replica replays what the primary has.
    Replay,
    /// The user is launched, or sent again.
    OrderMove,
    /// The user's rollback is asked for.
    OrderRollback,
    /// The cohort is held or cancelled: who waits is taken out of the window.
    Withdraw,
    /// Another migration pauses the user.
    OtherBegins,
    /// It ends.
    OtherEnds,
}

impl Attempts {
    pub(crate) fn keeps(&self, safeguard: Safeguard) -> bool {
        self.removed != Some(safeguard)
    }

    /// A process reads what it is to work on. An attempt that waits is admitted in the same transaction.
    fn start(state: &mut State, number: usize, job: Job) -> bool {
        let idle = Process::IDLE;
        let found = match job {
            Job::Orphan => state.identity.open.map(|(kind, version)| Process {
                at: At::Orphan,
                version,
                is_rollback: kind == Kind::Rollback,
                ..idle
            }),
            Job::End => state.attempt.map(forth::ending),
            Job::Pause | Job::Rollback if state.locked.is_some() => None,
            _ => state.attempt.as_mut().and_then(|attempt| forth::working(attempt, job)),
        };
        let Some(found) = found else { return false };
        state.processes[number] = found;
        true
    }

    /// The next step of a process, unless it has to wait.
    fn step(&self, state: &mut State, number: usize) -> bool {
        let mut process = state.processes[number];
        if process.at.takes_the_row() && state.locked.is_some_and(|holder| usize::from(holder) != number) {
            return false;
        }
        let next = match process.at {
            At::Idle => None,
            at if at.is_forth() => self.forth(state, &mut process, number),
            _ => self.back(state, &mut process),
        };
        let Some(next) = next else { return false };
        process.at = next;
        state.processes[number] = if next == At::Idle { Process::IDLE } else { process };
        true
    }

    fn orders(&self, state: &State, actions: &mut Vec<Action>) {
        let waits = state.attempt.is_some_and(|a| a.stage == Stage::Queued && a.kind == Kind::Move);
        let free = state.attempt.is_none();
        let possible = [
            (
                Action::Come,
                !state.is_paused() && state.in_flight.is_none() && state.writes < self.setup.writes,
            ),
            (Action::Write, state.in_flight.is_some()),
            (Action::Replay, state.replica != state.legacy.set),
            (Action::OrderMove, free && state.completed.is_none() && state.moves > 0),
            (Action::OrderRollback, free && state.completed.is_some() && state.rollbacks > 0),
            (Action::Withdraw, waits && state.locked.is_none()),
            (Action::OtherBegins, !state.is_paused() && state.others > 0),
            (Action::OtherEnds, state.identity.other),
        ];
        actions
            .extend(possible.into_iter().filter_map(|(action, is_possible)| is_possible.then_some(action)));
    }
}

fn order(state: &mut State, kind: Kind) -> bool {
    state.attempt = Some(Attempt {
        kind,
        version: state.version + 1,
        stage: Stage::Queued,
        position: 0,
        digest: state.completed.filter(|_| kind == Kind::Rollback),
        copied: kind == Kind::Rollback,
        removed: false,
    });
    match kind {
        Kind::Move => state.moves -= 1,
        Kind::Rollback => state.rollbacks -= 1,
    }
    true
}

fn write(state: &mut State) -> bool {
    let Some(is_new) = state.in_flight.take() else { return false };
    state.writes += 1;
    let bit = 1 << state.writes;
    if is_new {
        state.new.add(bit);
    } else {
        state.legacy.add(bit);
    }
    state.acknowledged |= bit;
    true
}

impl Model for Attempts {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        // The user has a row from the beginning, so that a copy is never empty.
        let rows = Rows { set: 1, twice: 0 };
        vec![State {
            identity: Identity { flipped: None, open: None, floor: 0, other: false },
            attempt: None,
            version: 0,
            completed: None,
            locked: None,
            legacy: rows,
            replica: rows.set,
            new: Rows::default(),
            marker: Marker::default(),
            acknowledged: rows.set,
            writes: 0,
            in_flight: None,
            processes: [Process::IDLE; 3],
            moves: self.setup.moves,
            rollbacks: self.setup.rollbacks,
            others: self.setup.others,
            unproven: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.orders(state, actions);
        let idle = state.processes.iter().filter(|process| process.at == At::Idle).count();
        // Those that do nothing are all the same.
        if state.processes.len() - idle < self.setup.processes {
            actions.extend(JOBS.map(|job| Action::Start { process: 0, job }));
        }
        for process in idle as u8..state.processes.len() as u8 {
            actions.extend([Action::Step { process }, Action::Die { process }]);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        let happened = match action {
            Action::Start { process, job } => Self::start(&mut state, usize::from(process), job),
            Action::Step { process } => self.step(&mut state, usize::from(process)),
            Action::Die { process } => {
                state.processes[usize::from(process)] = Process::IDLE;
                state.locked = state.locked.filter(|holder| *holder != process);
                true
            }
            Action::Come => {
                state.in_flight = Some(state.home_is_new());
                true
            }
            Action::Write => write(&mut state),
            Action::Replay => {
                state.replica = state.legacy.set;
                true
            }
            Action::OrderMove => order(&mut state, Kind::Move),
            Action::OrderRollback => order(&mut state, Kind::Rollback),
            Action::Withdraw => {
                state.version = state.attempt.take().map_or(state.version, |attempt| attempt.version);
                true
            }
            Action::OtherBegins => {
                (state.identity.other, state.others) = (true, state.others - 1);
                true
            }
            Action::OtherEnds => {
                state.identity.other = false;
                true
            }
        };
        happened.then(|| state.canonical())
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.attempt.is_none_or(|attempt| attempt.version <= self.setup.versions)
            && state.identity.floor <= self.setup.versions + 1
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(KEPT, |_, state: &State| state.acknowledged & !state.owner().set == 0),
            Property::always(ONCE, |_, state: &State| state.acknowledged & state.owner().twice == 0),
            Property::always(ONE_HOME, |_, state: &State| {
                state.is_paused() || state.in_flight.is_none_or(|is_new| is_new == state.home_is_new())
            }),
            Property::always(PROVEN, |_, state: &State| !state.unproven),
            Property::always(BOUNDED, |model: &Self, state: &State| model.settles(state)),
            Property::always(CLEAN, |_, state: &State| {
                state.attempt.is_some() || state.is_paused() || state.home_is_new() || state.new.is_empty()
            }),
            Property::sometimes("a user is moved", |_, state: &State| {
                state.attempt.is_none() && state.completed.is_some_and(|rows| rows & !1 != 0)
            }),
            Property::sometimes("an attempt is taken back after its copy", |_, state: &State| {
                state.attempt.is_some_and(|a| a.stage == Stage::Failing && a.copied) && state.new.is_empty()
            }),
        ];
        if self.setup.rollbacks > 0 {
            properties.push(Property::sometimes("a user is rolled back", |_, state: &State| {
                state.attempt.is_some_and(|a| a.removed) && !state.is_paused()
            }));
        }
        if self.setup.carry {
            properties.push(Property::sometimes("a write is carried back", |_, state: &State| {
                let carried = state.legacy.set & !state.completed.unwrap_or(0xFF);
                state.attempt.is_some_and(|a| a.removed) && !state.is_paused() && carried != 0
            }));
        }
        properties
    }
}

impl Told for Attempts {
    fn told(&self, state: &State, action: &Action) -> String {
        match action {
            Action::Step { process } => {
                let Process { at, version, .. } = state.processes[usize::from(*process)];
                format!("process {process}, version {version}: {at:?}")
            }
            action => format!("{action:?}"),
        }
    }
}
