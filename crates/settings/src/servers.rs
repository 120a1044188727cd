//! Which servers a program needs. Not every command needs every server, so a URL may be absent from valid
//! settings; who needs one asks here and gets an error that names the variable to set.

use secrecy::SecretString;

use crate::{Problem, Settings, SettingsError};

/// A server that a program connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// The source system's primary.
    LegacyPrimary,
    /// The source system's read replica.
    LegacyReplica,
    /// The new system.
    Destination,
    /// Identity's truth.
    Identity,
    /// Queues and Identity's mirror.
    Redis,
}

impl Server {
    /// All servers: what a worker needs.
    pub const ALL: [Self; 5] =
        [Self::LegacyPrimary, Self::LegacyReplica, Self::Destination, Self::Identity, Self::Redis];

    /// The setting that holds this server's URL.
    pub const fn field(self) -> &'static str {
        match self {
            Self::LegacyPrimary => "legacy.primary_url",
            Self::LegacyReplica => "legacy.replica_url",
            Self::Destination => "destination.url",
            Self::Identity => "identity.url",
            Self::Redis => "redis.url",
        }
    }
}

impl Settings {
    /// The URL of one server; an error that says what to set where it is missing.
    pub fn url(&self, server: Server) -> Result<&SecretString, SettingsError> {
        self.find(server).ok_or_else(|| SettingsError::Invalid(vec![missing(server)]))
    }

    /// Checks that all of these servers have a URL, and names all that have none.
    pub fn require(&self, servers: &[Server]) -> Result<(), SettingsError> {
        let absent = servers.iter().filter(|server| self.find(**server).is_none());
        let problems: Vec<Problem> = absent.map(|server| missing(*server)).collect();
        if problems.is_empty() { Ok(()) } else { Err(SettingsError::Invalid(problems)) }
    }

    /// Checks what Identity's service needs beside its servers: the type of users' keys, and either a token or
    /// the operator's word that none is wanted, on loopback too: whoever may call it may enter sign-ups.
    pub fn require_identity_service(&self) -> Result<(), SettingsError> {
        let mut problems = Vec::new();
        if self.identity.user_key.is_none() {
            let remedy = format!(
                "set identity.user_key, or {}, to int8, uuid or text, as in the plans",
                variable("identity.user_key")
            );
            problems.push(Problem::new("identity.user_key", "is not set", remedy));
        }
        if self.identity.token.is_none() && !self.identity.open {
            let variable = variable("identity.token");
            let remedy =
                format!("set {variable}, or {variable}_FILE, or identity.open = true to ask for none");
            problems.push(Problem::new("identity.token", "is not set", remedy));
        }
        if problems.is_empty() { Ok(()) } else { Err(SettingsError::Invalid(problems)) }
    }

    pub(crate) fn find(&self, server: Server) -> Option<&SecretString> {
        match server {
            Server::LegacyPrimary => self.legacy.primary_url.as_ref(),
            Server::LegacyReplica => self.legacy.replica_url.as_ref(),
            Server::Destination => self.destination.url.as_ref(),
            Server::Identity => self.identity.url.as_ref(),
            Server::Redis => self.redis.url.as_ref(),
        }
    }
}

fn missing(server: Server) -> Problem {
    let variable = variable(server.field());
    let remedy = format!("set {variable}, or {variable}_FILE to a file that holds it");
    Problem::new(server.field(), "is not set", remedy)
}

/// The environment variable of a field: `redis.url` is `HANDOVER_REDIS__URL`.
pub(crate) fn variable(field: &str) -> String {
    format!("HANDOVER_{}", field.replace('.', "__").to_uppercase())
}
