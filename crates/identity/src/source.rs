//! The trait by which gates ask Identity, and the vocabulary of its answers. A team that has an Identity of its
//! own implements [`IdentitySource`]; [`IdentityClient`](crate::IdentityClient) is the implementation over
//! handover's own service. No type of Redis or Postgres is named here, and nothing here does I/O.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::record::Record;
use crate::state::State;
use crate::text::Text;

/// The longest lease or request that a gate may name.
pub const LONGEST_TERM: Duration = Duration::from_hours(1);

/// What an answer may be taken from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// A copy that is known to be fresh will do. For callers that ask at each request, and keep nothing.
    #[default]
    Mirror,
    /// The truth itself, its primary. What a gate asks for that cannot trust its cache.
    Truth,
}

impl Trust {
    /// The word in requests.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mirror => "mirror",
            Self::Truth => "truth",
        }
    }
}

/// One user's states, as they were at some moment between question and answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserStates {
    /// The user's key, in its one canonical spelling, which may differ from how it was asked for.
    pub user: String,
    /// The number of the user's changes. It only grows: of two answers the one with the higher revision is newer.
    pub revision: i64,
    /// Whether any migration is under way. Then the user waits, in all migrations.
    pub paused: bool,
    /// The migrations in which the user is not plainly on legacy; any other is on legacy.
    pub states: BTreeMap<String, State>,
}

impl UserStates {
    /// The state in that migration.
    pub fn state(&self, migration: &str) -> State {
        self.states.get(migration).copied().unwrap_or(State::Legacy)
    }

    pub(crate) fn of_text(user: &str, text: Text) -> Self {
        let paused = text.is_paused();
        Self { user: user.to_owned(), revision: text.revision, paused, states: text.states }
    }

    pub(crate) fn of_record(record: &Record) -> Self {
        let states = record.states().into_iter().map(|(name, state)| (name.to_owned(), state));
        Self {
            user: record.user().to_owned(),
            revision: record.revision(),
            paused: record.is_paused(),
            states: states.collect(),
        }
    }
}

/// A gate, as it makes itself known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// 1 to 128 bytes of ASCII letters, digits and `. _ : -`. A new one at each start of a process: what is said
    /// of one id must never be believed of another process' requests.
    pub id: String,
    /// What it is, in 1 to 63 bytes of the same kind: `layer`, `sidecar`, `jobs`. For people.
    pub kind: String,
    /// For how long after a `register` or `seen` was *sent* the gate may admit requests; at most an hour.
    pub lease: Duration,
    /// For how long after it was admitted a request may still be answered; at most an hour.
    pub max_request: Duration,
}

/// Why Identity gave no answer. None of them ever means "legacy": the user is unknown, and waits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Nobody answered in time, after all tries. It may work later.
    #[error("identity cannot be reached: {0}")]
    Unreachable(String),
    /// The request was refused, and will be again.
    #[error("identity refuses ({status}): {text}")]
    Refused {
        /// The status of HTTP, or what comes nearest to it.
        status: u16,
        /// Why.
        text: String,
    },
    /// The answer is not one that Identity gives.
    #[error("identity's answer cannot be read: {0}")]
    Garbled(String),
}

impl SourceError {
    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }
}

/// An answer on its way.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, SourceError>> + Send + 'a>>;

/// What a gate asks of an Identity, handover's own or another.
///
/// The guarantees of a pause rest on these rules, which an implementation must keep:
///
/// 1. `look_up` with [`Trust::Truth`] sees every change that was committed before it was called: it reads a
///    primary, and no cache. An answer that cannot be had is an error, never a state.
/// 2. A user whom Identity does not know is answered with revision 0 and no states. That is an answer; an
///    error, a time-out or an empty body is none.
/// 3. Once `register` or `seen` has been acknowledged, every pause that begins afterwards waits for this gate:
///    for its acknowledgement, or until `lease + max_request` have passed. Membership is durable before it is
///    acknowledged, and is kept nowhere that can be emptied.
/// 4. A membership ends with `sign_off`, or `lease + max_request` after the last acknowledged `register` or
///    `seen`, and not before.
///
/// A gate does its part: it admits a request only while less than `lease` has passed since it *sent* the last
/// `register` or `seen` that was acknowledged, whatever it knows of the user, and answers no request later than
/// `max_request` after it was admitted. So no request outlives the membership that the drain looks at.
pub trait IdentitySource: Send + Sync {
    /// The user's states.
    fn look_up<'a>(&'a self, user: &'a str, trust: Trust) -> Answer<'a, UserStates>;

    /// Makes a gate a member; repeating it does no harm. Done before the gate admits its first request.
    fn register<'a>(&'a self, gate: &'a Registration) -> Answer<'a, ()>;

    /// Says that the gate is alive. Done several times within a lease. `false`: it was no member any more, and is
    /// one again; what it has cached may be from before changes that nobody waited for it to learn.
    fn seen<'a>(&'a self, gate: &'a Registration) -> Answer<'a, bool>;

    /// Ends the membership. Done after the gate's last request has ended; afterwards nobody waits for it.
    fn sign_off<'a>(&'a self, id: &'a str) -> Answer<'a, ()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_written_and_read_as_documented() {
        let states =
            [("invoice-reminders".to_owned(), State::Migrated), ("x".to_owned(), State::RollingBack)];
        let answer = UserStates {
            user: "42".into(),
            revision: 17,
            paused: true,
            states: states.into_iter().collect(),
        };
        let json = r#"{"user":"42","revision":17,"paused":true,"states":{"invoice-reminders":"migrated","x":"rolling_back"}}"#;
        assert_eq!(serde_json::to_string(&answer).unwrap(), json);
        assert_eq!(serde_json::from_str::<UserStates>(json).unwrap(), answer);
        assert!(serde_json::from_str::<UserStates>(&json.replace("migrated", "gone")).is_err());
        assert_eq!(answer.state("other"), State::Legacy);
    }

    #[test]
    fn the_mirrors_text_and_the_truths_row_give_the_same_answer() {
        let record = Record { revision: 3, ..Record::absent("7") };
        let text = record.snapshot().text.parse().unwrap();
        assert_eq!(UserStates::of_text("7", text), UserStates::of_record(&record));
    }
}
