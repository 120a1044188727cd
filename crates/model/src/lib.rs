//! Models of the pause protocol, explored in full by a model checker: whatever the order in which gates, workers,
//! Identity, Redis, the replica and the reconciler take their steps, and whoever dies or stands still in between,
//! the invariants hold; and without any one of the safeguards one of them does not.
//!
//! Nothing here runs anything of the system's: the code's steps are written down again, one statement or
//! transaction each. `docs/model.md` says what is modelled and what is not.

mod attempts;
mod explore;
mod fence;
mod gates;
mod mutant;
mod safeguard;
mod setup;

pub use explore::Explored;
pub use mutant::{MUTANTS, Mutant};
pub use safeguard::{BOUNDED, CLEAN, KEPT, ONCE, ONE_HOME, PROVEN, Safeguard};
pub use setup::{SETUPS, Setup, Size, setup};
