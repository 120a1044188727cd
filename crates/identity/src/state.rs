//! A user's state in one migration, as Identity's truth holds it, and what may follow what. Pure.
//!
//! `docs/state_machine.md` draws this; both are changed in one commit.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A user's state in one migration. All four are durable in `identity.users`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// At home on legacy, and served. Set by `release`; also the state of a user without a row.
    Legacy,
    /// At home on legacy, and paused. Set by `begin`, in the pause stage, before anything is read.
    Migrating,
    /// At home on the new system, and served. Set by `flip`, in the complete stage, once the digests are
    /// equal; by `restore`, when a rollback is given up; by `enroll`, for a sign-up.
    Migrated,
    /// At home on the new system, and paused. Set by `begin_rollback`, in the rollback stage.
    RollingBack,
}

/// What can happen to a user in one migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// An attempt pauses the user.
    Begin,
    /// The attempt succeeded: home becomes the new system, and the pause ends.
    Flip,
    /// A newer version takes the open attempt over, so that it can be ended; the user stays paused.
    Raise,
    /// The attempt is taken back, or the rollback is done: home is legacy, and the pause ends.
    Release,
    /// A rollback pauses the user.
    BeginRollback,
    /// The rollback is given up: home stays the new system, and the pause ends.
    Restore,
    /// A sign-up is born on the new system.
    Enroll,
}

/// An event that the state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} is not possible in the state {state}")]
pub struct IllegalEvent {
    /// The state it met.
    pub state: State,
    /// What was to happen.
    pub event: Event,
}

/// The two paused states: which way the user is being moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpenState {
    /// From legacy to the new system.
    Migrating,
    /// From the new system back to legacy.
    RollingBack,
}

impl State {
    /// All states, for tables and tests.
    pub const ALL: [Self; 4] = [Self::Legacy, Self::Migrating, Self::Migrated, Self::RollingBack];

    /// The state that follows, or a refusal. A repeat of what has been done is refused too: those who call
    /// tell a repeat from a conflict by the version.
    pub fn next(self, event: Event) -> Result<Self, IllegalEvent> {
        let illegal = Err(IllegalEvent { state: self, event });
        match self {
            Self::Legacy => match event {
                Event::Begin => Ok(Self::Migrating),
                Event::Enroll => Ok(Self::Migrated),
                Event::Flip | Event::Raise | Event::Release | Event::BeginRollback | Event::Restore => {
                    illegal
                }
            },
            Self::Migrating => match event {
                Event::Flip => Ok(Self::Migrated),
                Event::Raise => Ok(Self::Migrating),
                Event::Release => Ok(Self::Legacy),
                Event::Begin | Event::BeginRollback | Event::Restore | Event::Enroll => illegal,
            },
            Self::Migrated => match event {
                Event::BeginRollback => Ok(Self::RollingBack),
                Event::Begin
                | Event::Flip
                | Event::Raise
                | Event::Release
                | Event::Restore
                | Event::Enroll => illegal,
            },
            Self::RollingBack => match event {
                Event::Raise => Ok(Self::RollingBack),
                Event::Release => Ok(Self::Legacy),
                Event::Restore => Ok(Self::Migrated),
                Event::Begin | Event::Flip | Event::BeginRollback | Event::Enroll => illegal,
            },
        }
    }

    /// Whether the user must wait in this state.
    pub fn is_paused(self) -> bool {
        match self {
            Self::Migrating | Self::RollingBack => true,
            Self::Legacy | Self::Migrated => false,
        }
    }

    /// Whether the user's data has its home on the new system in this state.
    pub fn home_is_new(self) -> bool {
        match self {
            Self::Migrated | Self::RollingBack => true,
            Self::Legacy | Self::Migrating => false,
        }
    }

    /// The word for it in the mirror, in the truth and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Migrating => "migrating",
            Self::Migrated => "migrated",
            Self::RollingBack => "rolling_back",
        }
    }

    /// The state of that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

impl Event {
    /// All events, for tables and tests.
    pub const ALL: [Self; 7] = [
        Self::Begin,
        Self::Flip,
        Self::Raise,
        Self::Release,
        Self::BeginRollback,
        Self::Restore,
        Self::Enroll,
    ];
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<OpenState> for State {
    fn from(open: OpenState) -> Self {
        match open {
            OpenState::Migrating => Self::Migrating,
            OpenState::RollingBack => Self::RollingBack,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows are states, columns are events, in the order of `ALL`; a dash is a refusal.
    const TABLE: [(&str, [&str; 7]); 4] = [
        //                 begin        flip        raise           release   rollback        restore     enroll
        ("legacy", ["migrating", "-", "-", "-", "-", "-", "migrated"]),
        ("migrating", ["-", "migrated", "migrating", "legacy", "-", "-", "-"]),
        ("migrated", ["-", "-", "-", "-", "rolling_back", "-", "-"]),
        ("rolling_back", ["-", "-", "rolling_back", "legacy", "-", "migrated", "-"]),
    ];

    #[test]
    fn every_event_in_every_state_does_what_the_table_says() {
        for (word, row) in TABLE {
            let state = State::from_word(word).expect("the table's own words");
            for (event, expected) in Event::ALL.into_iter().zip(row) {
                let found = state.next(event).map_or("-", State::as_str);
                assert_eq!(found, expected, "{event:?} in {state}");
            }
        }
    }

    #[test]
    fn home_changes_only_by_flip_release_of_a_rollback_and_enroll() {
        for state in State::ALL {
            for event in Event::ALL {
                let Ok(next) = state.next(event) else { continue };
                let moved = state.home_is_new() != next.home_is_new();
                let may = match event {
                    Event::Flip | Event::Enroll => true,
                    Event::Release => state == State::RollingBack,
                    Event::Begin | Event::Raise | Event::BeginRollback | Event::Restore => false,
                };
                assert_eq!(moved, may, "{event:?} in {state}");
            }
        }
    }

    #[test]
    fn every_paused_state_has_a_way_out_to_the_home_the_user_has() {
        for state in State::ALL.into_iter().filter(|state| state.is_paused()) {
            let out = Event::ALL.into_iter().filter_map(|event| state.next(event).ok());
            assert!(
                out.into_iter().any(|next| !next.is_paused() && next.home_is_new() == state.home_is_new()),
                "{state}"
            );
        }
    }
}
