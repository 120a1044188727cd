//! What is asked, and what is answered, as JSON. Shared by service and client, so that the two cannot differ.

use serde::{Deserialize, Serialize};

use crate::source::{Trust, UserStates};

/// The most users of one question.
pub(crate) const MOST_USERS: usize = 1000;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AskUsers {
    pub(crate) users: Vec<String>,
    #[serde(default)]
    pub(crate) trust: Trust,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Users {
    pub(crate) users: Vec<UserStates>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AskEnrol {
    pub(crate) user: String,
    pub(crate) migrations: Vec<String>,
}

/// What became of a sign-up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The user's states now.
    #[serde(flatten)]
    pub states: UserStates,
    /// Whether this request entered the user; `false`: an earlier one had.
    pub enrolled: bool,
    /// Whether the mirror knows. If not, it will in a moment; a look-up that trusts it may say what was before.
    pub mirrored: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AskGate {
    pub(crate) kind: String,
    pub(crate) lease_ms: u64,
    pub(crate) max_request_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Gate {
    pub(crate) id: String,
    /// Whether it was no member before this request.
    pub(crate) registered: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SignedOff {
    pub(crate) id: String,
    pub(crate) was_member: bool,
}
