//! Random histories, carried out by the database and by a model of a few lines that shares no code with it:
//! every outcome and every row must agree.

use std::collections::BTreeMap;

use handover_identity::{Begin, BeginRollback, Event, Flip, OpenState, Raise, Release, Restore, State};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::Stage;

const MIGRATIONS: [&str; 2] = ["m", "n"];
const USERS: usize = 4;

#[derive(Clone, Copy, Debug)]
enum Op {
    Begin,
    Flip,
    Raise,
    Release,
    BeginRollback,
    Restore,
}

#[derive(Clone, Debug)]
struct Batch {
    op: Op,
    migration: usize,
    users: Vec<(usize, i64)>,
}

/// A user in the model: the home and the lowest admissible version by migration, and what is open.
#[derive(Clone, Debug, Default)]
struct Model {
    revision: i64,
    homes: BTreeMap<usize, i64>,
    floors: BTreeMap<usize, i64>,
    open: Option<(usize, OpenState, i64)>,
}

impl Model {
    fn state(&self, migration: usize) -> State {
        match self.open {
            Some((open, state, _)) if open == migration => state.into(),
            _ if self.homes.contains_key(&migration) => State::Migrated,
            _ => State::Legacy,
        }
    }

    /// What the operation must answer, as its outcome's `Debug` text; the row is changed where it must be.
    fn apply(&mut self, op: Op, migration: usize, version: i64) -> String {
        let before = self.state(migration);
        let holder = self.open.filter(|(open, ..)| *open == migration).map(|(_, _, version)| version);
        let floor = self.floors.get(&migration).copied().unwrap_or(0);
        let (answer, event) = match op {
            Op::Begin => self.begin(migration, version, State::Legacy, State::Migrating),
            Op::BeginRollback => self.begin(migration, version, State::Migrated, State::RollingBack),
            Op::Flip if before == State::Migrating && holder == Some(version) => {
                ("Flipped".into(), Some(Event::Flip))
            }
            Op::Flip if before == State::Migrated && self.homes[&migration] == version => {
                ("AlreadyFlipped".into(), None)
            }
            Op::Flip => ("NotOurs".into(), None),
            Op::Raise if holder.is_some_and(|holder| holder > version) => ("Superseded".into(), None),
            Op::Raise if holder.is_some() => {
                let changes = holder != Some(version);
                (format!("Raised {{ state: {before:?} }}"), changes.then_some(Event::Raise))
            }
            Op::Raise => {
                if version > floor {
                    self.floors.insert(migration, version);
                    self.revision += 1;
                }
                (if before == State::Migrated { "HomeIsNew" } else { "HomeIsLegacy" }.to_owned(), None)
            }
            Op::Release if holder == Some(version) => ("Released".into(), Some(Event::Release)),
            Op::Release => (Self::idle(before, "AlreadyLegacy", "HomeIsNew"), None),
            Op::Restore if before == State::RollingBack && holder == Some(version) => {
                ("Restored".into(), Some(Event::Restore))
            }
            Op::Restore => (Self::idle(before, "HomeIsLegacy", "AlreadyMigrated"), None),
        };
        if let Some(event) = event {
            self.happen(event, migration, version);
        }
        answer
    }

    fn idle(state: State, legacy: &str, migrated: &str) -> String {
        match state {
            State::Legacy => legacy,
            State::Migrated => migrated,
            State::Migrating | State::RollingBack => "NotOurs",
        }
        .to_owned()
    }

    fn begin(&self, migration: usize, version: i64, from: State, to: State) -> (String, Option<Event>) {
        let state = self.state(migration);
        let floor = self.floors.get(&migration).copied().unwrap_or(0);
        let event = if to == State::Migrating { Event::Begin } else { Event::BeginRollback };
        if let Some((open, _, holder)) = self.open.filter(|(open, ..)| *open == migration) {
            return if version > holder {
                (format!("Busy {{ migration: {:?} }}", MIGRATIONS[open]), None)
            } else if version == holder && state == to {
                ("AlreadyBegun".into(), None)
            } else {
                ("Superseded".into(), None)
            };
        }
        if state != from {
            return (if from == State::Legacy { "HomeIsNew" } else { "HomeIsLegacy" }.into(), None);
        }
        match self.open {
            _ if version < floor => ("Superseded".into(), None),
            Some((open, ..)) => (format!("Busy {{ migration: {:?} }}", MIGRATIONS[open]), None),
            None => ("Begun".into(), Some(event)),
        }
    }

    /// The state machine decides what the row becomes.
    fn happen(&mut self, event: Event, migration: usize, version: i64) {
        let next = self.state(migration).next(event).expect("the model allows what the machine allows");
        self.revision += 1;
        let ended = matches!(event, Event::Flip | Event::Release | Event::Restore);
        self.floors.insert(migration, if ended { version + 1 } else { version });
        match event {
            Event::Flip => _ = self.homes.insert(migration, version),
            Event::Release => _ = self.homes.remove(&migration),
            Event::Begin | Event::Raise | Event::BeginRollback | Event::Restore | Event::Enroll => {}
        }
        self.open = match next {
            State::Migrating => Some((migration, OpenState::Migrating, version)),
            State::RollingBack => Some((migration, OpenState::RollingBack, version)),
            State::Legacy | State::Migrated => None,
        };
    }
}

fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let op = prop_oneof![
        3 => Just(Op::Begin), 3 => Just(Op::Flip), 2 => Just(Op::Raise), 2 => Just(Op::Release),
        3 => Just(Op::BeginRollback), 2 => Just(Op::Restore),
    ];
    let users = prop::collection::vec((0..USERS, 1_i64..6), 1..8);
    let migration = prop_oneof![4 => Just(0_usize), 1 => Just(1_usize)];
    let batch = (op, migration, users).prop_map(|(op, migration, users)| Batch { op, migration, users });
    prop::collection::vec(batch, 1..40)
}

fn texts<T: std::fmt::Debug>(outcomes: Vec<T>) -> Vec<String> {
    outcomes.into_iter().map(|outcome| format!("{outcome:?}")).collect()
}

async fn carry_out(stage: &Stage, batch: &Batch, users: &[(String, i64)]) -> Vec<String> {
    let (truth, migration) = (stage.truth(), MIGRATIONS[batch.migration]);
    match batch.op {
        Op::Begin => texts::<Begin>(truth.begin(migration, users).await.expect("the truth answers").outcomes),
        Op::Flip => texts::<Flip>(truth.flip(migration, users).await.expect("the truth answers").outcomes),
        Op::Raise => texts::<Raise>(truth.raise(migration, users).await.expect("the truth answers").outcomes),
        Op::Release => {
            texts::<Release>(truth.release(migration, users).await.expect("the truth answers").outcomes)
        }
        Op::BeginRollback => texts::<BeginRollback>(
            truth.begin_rollback(migration, users).await.expect("the truth answers").outcomes,
        ),
        Op::Restore => {
            texts::<Restore>(truth.restore(migration, users).await.expect("the truth answers").outcomes)
        }
    }
}

/// Runs one history. Users are named by `case`, so that histories do not meet.
async fn agrees(stage: &Stage, case: u32, history: &[Batch]) {
    let name = |user: usize| format!("{case}-{user}");
    let mut models = vec![Model::default(); USERS];
    for (step, batch) in history.iter().enumerate() {
        let users: Vec<(String, i64)> =
            batch.users.iter().map(|(user, version)| (name(*user), *version)).collect();
        let expected: Vec<String> = batch
            .users
            .iter()
            .map(|(user, version)| models[*user].apply(batch.op, batch.migration, *version))
            .collect();
        assert_eq!(carry_out(stage, batch, &users).await, expected, "step {step}");
    }
    let names: Vec<String> = (0..USERS).map(name).collect();
    for (record, model) in stage.truth().get(&names).await.expect("the truth answers").iter().zip(&models) {
        assert_eq!(record.revision(), model.revision, "{record:?} {model:?}");
        for (index, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(record.state(migration), model.state(index));
            assert_eq!(record.flipped_by(migration), model.homes.get(&index).copied());
        }
        assert_eq!(record.open().map(|open| open.version), model.open.map(|(_, _, version)| version));
    }
}

#[test]
fn the_database_does_what_the_model_says_for_any_history() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stage = runtime.block_on(Stage::new());
    let mut runner = TestRunner::new(Config { cases: 150, failure_persistence: None, ..Config::default() });
    let case = std::cell::Cell::new(0);
    let result = runner.run(&batches(), |history| {
        case.set(case.get() + 1);
        runtime.block_on(agrees(&stage, case.get(), &history));
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}
