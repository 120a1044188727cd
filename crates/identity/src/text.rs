//! The text of a mirror's field: `r17 invoice-reminders=migrated`. Pure.
//!
//! `r` and the row's revision, then each migration in which the user is not plainly on legacy, by name.

use std::collections::BTreeMap;

use crate::record::Record;
use crate::state::State;

/// The longest name of a migration, in bytes.
const LONGEST_NAME: usize = 63;

/// A field's text, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The revision of the row it was written from.
    pub revision: i64,
    /// The migrations named; any other is on legacy.
    pub states: BTreeMap<String, State>,
}

/// The text is not one that Identity writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a field of the mirror is not of the form `r<revision> <migration>=<state> …`")]
pub struct TextError;

impl Text {
    /// Whether any migration is under way.
    pub fn is_paused(&self) -> bool {
        self.states.values().any(|state| state.is_paused())
    }

    /// The state in that migration.
    pub fn state(&self, migration: &str) -> State {
        self.states.get(migration).copied().unwrap_or(State::Legacy)
    }
}

impl std::str::FromStr for Text {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let mut words = text.split(' ');
        let digits = words.next().and_then(|word| word.strip_prefix('r')).ok_or(TextError)?;
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let revision = if plain { digits.parse().map_err(|_| TextError)? } else { return Err(TextError) };
        let mut states = BTreeMap::new();
        for word in words {
            let (name, state) = word.split_once('=').ok_or(TextError)?;
            let state = State::from_word(state).ok_or(TextError)?;
            check_migration(name).map_err(|_| TextError)?;
            states.insert(name.to_owned(), state);
        }
        Ok(Self { revision, states })
    }
}

/// The text for a row.
pub(crate) fn render(record: &Record) -> String {
    let mut text = format!("r{}", record.revision);
    for (name, state) in record.states() {
        text.push(' ');
        text.push_str(name);
        text.push('=');
        text.push_str(state.as_str());
    }
    text
}

/// Whether a migration's name can stand in the text: ASCII letters, digits, `-`, `_` and `.`.
pub(crate) fn check_migration(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > LONGEST_NAME {
        return Err("must be of 1 to 63 bytes");
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.bytes().all(allowed) { Ok(()) } else { Err("may hold ASCII letters, digits, -, _ and . only") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let text: Text = "r17 invoice-reminders=migrated z=rolling_back".parse().unwrap();
        assert_eq!(text.revision, 17);
        assert_eq!(text.state("invoice-reminders"), State::Migrated);
        assert_eq!(text.state("z"), State::RollingBack);
        assert_eq!(text.state("other"), State::Legacy);
        assert!(text.is_paused());
        assert_eq!("r0".parse::<Text>().unwrap().states.len(), 0);
    }

    #[test]
    fn what_identity_does_not_write_is_refused() {
        for garbled in
            ["", "r", "17", "r-1", "r+1", "r1 ", "r1  a=migrated", "r1 a", "r1 a=gone", "r1 =legacy", "R1"]
        {
            assert_eq!(garbled.parse::<Text>(), Err(TextError), "{garbled:?}");
        }
    }
}
