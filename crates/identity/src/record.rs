//! One user's row as the truth holds it, and what of it is mirrored. Pure.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::state::{OpenState, State};
use crate::text;

/// What Identity knows of a user. A user without a row is a record of revision 0: on legacy everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub(crate) user: String,
    pub(crate) revision: i64,
    pub(crate) migrated: BTreeMap<String, i64>,
    pub(crate) floors: BTreeMap<String, i64>,
    pub(crate) open: Option<Open>,
}

/// The migration that is under way for a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Its name.
    pub migration: String,
    /// Which way the user is being moved.
    pub state: OpenState,
    /// The version of the attempt that holds the user; only it can end the pause.
    pub version: i64,
    /// When the pause began, by the database's clock.
    pub since: SystemTime,
}

/// What the mirror is to hold for a user: the text, and the revision by which it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The user's key, as it stands (not yet the hash's field).
    pub user: String,
    /// The row's revision; 0 for a user without a row.
    pub revision: i64,
    /// Such as `r17 invoice-reminders=migrated`.
    pub text: String,
}

impl Record {
    /// A user of whom nothing is known.
    pub fn absent(user: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            revision: 0,
            migrated: BTreeMap::new(),
            floors: BTreeMap::new(),
            open: None,
        }
    }

    /// The user's key.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The number of changes to this user's row; 0 where there is none.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Whether Identity holds a row.
    pub fn is_known(&self) -> bool {
        self.revision > 0
    }

    /// The migration that is under way. The user is paused exactly while there is one.
    pub fn open(&self) -> Option<&Open> {
        self.open.as_ref()
    }

    /// Whether the user must wait.
    pub fn is_paused(&self) -> bool {
        self.open.is_some()
    }

    /// The user's state in that migration.
    pub fn state(&self, migration: &str) -> State {
        match &self.open {
            Some(open) if open.migration == migration => open.state.into(),
            _ if self.migrated.contains_key(migration) => State::Migrated,
            _ => State::Legacy,
        }
    }

    /// The version that took the user to the new system in that migration; `Some(0)` for a sign-up that was
    /// born there; `None` while home is legacy.
    pub fn flipped_by(&self, migration: &str) -> Option<i64> {
        self.migrated.get(migration).copied()
    }

    /// Every migration in which the user is not plainly on legacy, by name.
    pub fn states(&self) -> BTreeMap<&str, State> {
        let open = self.open.iter().map(|open| open.migration.as_str());
        let names = self.migrated.keys().map(String::as_str).chain(open);
        names.map(|name| (name, self.state(name))).collect()
    }

    /// The lowest version that may still begin in that migration.
    pub(crate) fn floor(&self, migration: &str) -> i64 {
        self.floors.get(migration).copied().unwrap_or(0)
    }

    /// What the mirror is to hold.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { user: self.user.clone(), revision: self.revision, text: text::render(self) }
    }
}
