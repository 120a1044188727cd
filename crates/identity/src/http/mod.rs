//! Identity's service: JSON over HTTP. `docs/identity.md` is the contract.
//!
//! Answers questions, enters sign-ups, and keeps the membership of gates; it moves nobody. It terminates no TLS: it
//! listens on loopback, or on a network that the operator trusts, or behind a proxy that does.

pub(crate) mod answer;
mod body;
mod connections;
mod guard;
mod health;
mod problem;
mod routes;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use crate::look_up::LookUps;
use crate::service::Identity;

pub use answer::Enrolled;
pub use connections::serve;

/// Puts a user's key into its one canonical spelling, or says why it is none.
pub type Canonical = Arc<dyn Fn(&str) -> Result<String, String> + Send + Sync>;

/// Renders metrics in Prometheus' text format.
pub type Render = Arc<dyn Fn() -> String + Send + Sync>;

/// What the service serves, and to whom.
#[derive(Clone)]
pub struct Site {
    /// The Identity.
    pub identity: Identity,
    /// How it answers look-ups.
    pub look_ups: LookUps,
    /// The spelling of users' keys: the one place at which they enter.
    pub canonical: Canonical,
    /// The bearer token that everything below `/v1` asks for. `None`: everybody who can reach it may use it.
    pub token: Option<SecretString>,
    /// The bearer token that `/metrics` asks for.
    pub metrics_token: Option<SecretString>,
    /// What `/metrics` answers.
    pub render: Render,
    /// A gate's lease and longest request together must stay below this: one gate that dies in silence makes every
    /// pause wait that long, and what is left of a pause's time must do for the rest.
    pub longest_term: Duration,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("longest_term", &self.longest_term).finish_non_exhaustive()
    }
}
