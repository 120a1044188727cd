//! Crash points and mutants: the places where tests may stop, fail or kill a process, or take a safeguard away.
//!
//! Without the feature `armed` all of it compiles to nothing: [`mutated`] is a constant `false` and [`point`] a
//! ready `Ok`. Programs that are shipped never arm it; tests and test builds do. It knows nothing of what it is
//! used in: points are names, and mutants words.

mod mutant;
mod points;
#[cfg(feature = "armed")]
mod schedule;
#[cfg(feature = "armed")]
mod scope;

use std::fmt;

pub use mutant::Mutant;
pub use points::{POINTS, named};
#[cfg(feature = "armed")]
pub use schedule::{Action, BadSchedule, Rule, schedule};
#[cfg(feature = "armed")]
pub use scope::{Hold, Scope};

/// What a crash point answers when it was told to fail there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Injected(
    /// The point's name.
    pub &'static str,
);

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed at {} as a test ordered", self.0)
    }
}

impl std::error::Error for Injected {}

/// Whether this safeguard is to be left out. Never, unless armed.
#[cfg(not(feature = "armed"))]
#[inline]
pub const fn mutated(_mutant: Mutant) -> bool {
    false
}

/// Whether this safeguard is to be left out: as `HANDOVER_MUTANT` says, or a [`Scope`] of this process.
#[cfg(feature = "armed")]
pub fn mutated(mutant: Mutant) -> bool {
    scope::mutated(mutant)
}

/// A crash point. Does nothing, unless armed.
#[cfg(not(feature = "armed"))]
#[inline]
#[expect(clippy::unused_async, reason = "it is awaited where it is armed")]
pub async fn point(_name: &'static str) -> Result<(), Injected> {
    Ok(())
}

/// A crash point: does what `HANDOVER_FAULT` or a [`Scope`] of this process orders for this name and this time of
/// passing it. A `kill` does not return.
#[cfg(feature = "armed")]
pub async fn point(name: &'static str) -> Result<(), Injected> {
    if !schedule::is_ordered() && !scope::holds_any() {
        return Ok(());
    }
    // On the heap, and only where there are orders: what passes points would grow by all that an action may hold.
    Box::pin(async {
        scope::hold(name).await;
        for action in schedule::due(name) {
            action.run(name).await?;
        }
        Ok(())
    })
    .await
}
