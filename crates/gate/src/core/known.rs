//! What Identity said of a user.

use std::collections::BTreeMap;

use handover_identity::{State, Text, UserStates};

/// A user's states, as of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// The number of the user's changes.
    pub(crate) revision: i64,
    /// Whether the user waits, in all migrations.
    pub(crate) paused: bool,
    /// Migrations in which the user is not plainly on legacy.
    states: BTreeMap<String, State>,
}

impl Known {
    /// The state in that migration.
    pub(crate) fn state(&self, migration: &str) -> State {
        self.states.get(migration).copied().unwrap_or(State::Legacy)
    }

    /// As the mirror writes it.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("r{}", self.revision);
        for (migration, state) in &self.states {
            text.extend([" ", migration, "=", state.as_str()]);
        }
        text
    }
}

impl From<Text> for Known {
    fn from(text: Text) -> Self {
        Self { revision: text.revision, paused: text.is_paused(), states: text.states }
    }
}

impl From<UserStates> for Known {
    fn from(answer: UserStates) -> Self {
        // An Identity of another make may say one without the other.
        let paused = answer.paused || answer.states.values().any(|state| state.is_paused());
        Self { revision: answer.revision, paused, states: answer.states }
    }
}
