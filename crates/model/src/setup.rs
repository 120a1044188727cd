//! The setups in which the models are explored: what there is, and how much of it.

use crate::explore::{Explored, explore};
use crate::safeguard::Safeguard;
use crate::{attempts, fence, gates};

/// How long an exploration takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Seconds: in each test run.
    Small,
    /// Minutes, and gigabytes of memory.
    Full,
}

/// A model with its bounds.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// What it is called.
    pub name: &'static str,
    /// Whether each test run explores it.
    pub size: Size,
    bounds: Bounds,
}

#[derive(Clone, Copy, Debug)]
enum Bounds {
    Gates(gates::Setup),
    Attempts(attempts::Setup),
    Fence(fence::Setup),
}

impl Setup {
    /// Explores all of it, or until the property `until` is broken; without one safeguard, or with all.
    pub fn explore(&self, removed: Option<Safeguard>, until: Option<&'static str>) -> Explored {
        match self.bounds {
            Bounds::Gates(setup) => explore(gates::Gates { setup, removed }, until),
            Bounds::Attempts(setup) => explore(attempts::Attempts { setup, removed }, until),
            Bounds::Fence(setup) => explore(fence::Fence { setup, removed }, until),
        }
    }
}

/// The setup of that name.
pub fn setup(name: &str) -> Option<&'static Setup> {
    SETUPS.iter().find(|setup| setup.name == name)
}

const fn gates(name: &'static str, size: Size, setup: gates::Setup) -> Setup {
    Setup { name, size, bounds: Bounds::Gates(setup) }
}

const fn attempts(name: &'static str, size: Size, setup: attempts::Setup) -> Setup {
    Setup { name, size, bounds: Bounds::Attempts(setup) }
}

const fn fence(name: &'static str, size: Size, setup: fence::Setup) -> Setup {
    Setup { name, size, bounds: Bounds::Fence(setup) }
}

const GATE: gates::Setup =
    gates::Setup { warm: 1, fresh: 0, plain: false, requests: 1, writes: 1, faults: 1 };

const TWO: attempts::Setup =
    attempts::Setup { processes: 2, moves: 1, rollbacks: 0, writes: 1, others: 0, versions: 7, carry: false };

/// All setups.
pub const SETUPS: &[Setup] = &[
    gates("gate", Size::Small, GATE),
    gates("middleware", Size::Small, gates::Setup { warm: 0, plain: true, writes: 2, faults: 2, ..GATE }),
    attempts("moves", Size::Small, attempts::Setup { moves: 2, writes: 2, ..TWO }),
    attempts("other-migration", Size::Small, attempts::Setup { others: 1, versions: 5, ..TWO }),
    attempts("rollback", Size::Small, attempts::Setup { rollbacks: 2, writes: 2, ..TWO }),
    attempts("carry-back", Size::Small, attempts::Setup { rollbacks: 2, writes: 2, carry: true, ..TWO }),
    attempts("carry-back-twice", Size::Small, attempts::Setup { moves: 2, rollbacks: 2, carry: true, ..TWO }),
    fence("fence", Size::Small, fence::Setup { writers: 3, attempts: 2 }),
    gates("two-writes", Size::Full, gates::Setup { writes: 2, ..GATE }),
    gates("two-faults", Size::Full, gates::Setup { writes: 2, faults: 2, ..GATE }),
    gates("gate-and-middleware", Size::Full, gates::Setup { plain: true, ..GATE }),
    attempts("three-processes", Size::Full, attempts::Setup { processes: 3, moves: 2, ..TWO }),
    attempts("three-roll-back", Size::Full, attempts::Setup { processes: 3, rollbacks: 2, ..TWO }),
    attempts(
        "three-carry-back",
        Size::Full,
        attempts::Setup { processes: 3, rollbacks: 2, carry: true, ..TWO },
    ),
    fence("three-attempts", Size::Full, fence::Setup { writers: 3, attempts: 3 }),
];
