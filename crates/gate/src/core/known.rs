//! What Identity said of a user.

use std::collections::{BTreeMap, HashSet};
use std::sync::{LazyLock, Mutex, PoisonError};

use handover_identity::{State, Text, UserStates};

/// Migrations with their states.
pub(super) type States = BTreeMap<String, State>;

/// A user's states, as of one revision. Copied into each permit, so that no permit touches a count that all
/// threads share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// The number of the user's changes.
    pub(crate) revision: i64,
    /// Whether the user waits, in all migrations.
    pub(crate) paused: bool,
    /// Migrations in which the user is not plainly on legacy.
    pub(super) states: &'static States,
}

impl Known {
    /// The state in that migration.
    pub(crate) fn state(&self, migration: &str) -> State {
        self.states.get(migration).copied().unwrap_or(State::Legacy)
    }

    /// As the mirror writes it.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("r{}", self.revision);
        for (migration, state) in self.states {
            text.extend([" ", migration, "=", state.as_str()]);
        }
        text
    }
}

impl From<Text> for Known {
    fn from(text: Text) -> Self {
        Self { revision: text.revision, paused: text.is_paused(), states: interned(text.states) }
    }
}

impl From<UserStates> for Known {
    fn from(answer: UserStates) -> Self {
        // An Identity of another make may say one without the other.
        let paused = answer.paused || answer.states.values().any(|state| state.is_paused());
        Self { revision: answer.revision, paused, states: interned(answer.states) }
    }
}

/// The one copy of these states. There are as many as ways in which users can stand in the few migrations that
/// Identity knows, however many users there are; so they are kept for good.
fn interned(states: States) -> &'static States {
    static KEPT: LazyLock<Mutex<HashSet<&'static States>>> = LazyLock::new(Mutex::default);
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = kept.get(&states) {
        return found;
    }
    let new: &'static States = Box::leak(Box::new(states));
    kept.insert(new);
    new
}
