//! What can go wrong between this crate and Redis.
//!
//! No error quotes a job. An operation that took deliveries gives them back with its error.

use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::delivery::Delivery;

/// Why an operation failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configured address or certificate cannot be used.
    #[error("redis cannot be reached with these settings: {0}")]
    Settings(String),
    /// No connection, or it broke before the answer came: what was asked may have been done.
    #[error("redis is unreachable: {0}")]
    Unreachable(String),
    /// No answer in time: what was asked may have been done.
    #[error("redis gave no answer within {0:?}")]
    Silent(Duration),
    /// Redis is at `maxmemory` and refused to hold more.
    #[error("redis is full (maxmemory) and refused the command; nothing was taken or lost")]
    Full,
    /// A key holds something else than handover keeps there, most likely set by hand.
    #[error("redis key {key} holds a {found} where handover keeps a {kept}; move it away with RENAME or DEL")]
    WrongType {
        /// The key.
        key: String,
        /// The type that `TYPE` reports.
        found: String,
        /// The type that belongs there.
        kept: &'static str,
    },
    /// The server is a replica, or became one in a failover.
    #[error("redis at this address is a read-only replica")]
    ReadOnly,
    /// The server is starting or failing over.
    #[error("redis is not ready: {0}")]
    NotReady(String),
    /// The server is older than the commands that handover uses.
    #[error("redis {found} is too old, 6.2 or newer is needed")]
    TooOld {
        /// The version that the server reports.
        found: String,
    },
    /// Redis refused the command for another reason.
    #[error("redis refused the command: {0}")]
    Refused(String),
    /// A job does not serialise to a JSON object.
    #[error("the job cannot be written as a json object: {0}")]
    Encode(String),
}

impl Error {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Silent(_) | Self::Full | Self::ReadOnly | Self::NotReady(_) => true,
            Self::Settings(_)
            | Self::WrongType { .. }
            | Self::TooOld { .. }
            | Self::Refused(_)
            | Self::Encode(_) => false,
        }
    }

    /// Whether the connection that gave this error should be replaced.
    pub(crate) fn spoils_connection(&self) -> bool {
        // After a failover the same address may lead to the new master, but only over a new connection.
        matches!(self, Self::Unreachable(_) | Self::Silent(_) | Self::ReadOnly)
    }

    /// Translates the client's error; `patience` is the time-out that the call ran under.
    pub(crate) fn from_redis(error: &RedisError, patience: Duration) -> Self {
        // Redis before 7 reports an error inside a script as ERR, with the real one in its text.
        let text = error.to_string();
        let is = |code: &str| error.code() == Some(code) || text.contains(&format!("-{code} "));
        match error.kind() {
            _ if is("OOM") => Self::Full,
            _ if is("READONLY") => Self::ReadOnly,
            ErrorKind::Server(
                ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown | ServerErrorKind::ClusterDown,
            ) => Self::NotReady(text),
            ErrorKind::InvalidClientConfig => Self::Settings(text),
            ErrorKind::Io if error.is_timeout() => Self::Silent(patience),
            ErrorKind::Io | ErrorKind::Parse => Self::Unreachable(text),
            // The server told a client that waits to ask again, since its role changed.
            _ if is("UNBLOCKED") => Self::ReadOnly,
            _ => Self::Refused(text),
        }
    }

    /// Whether Redis complained about a key's type.
    pub(crate) fn is_wrong_type(error: &RedisError) -> bool {
        error.code() == Some("WRONGTYPE") || error.to_string().contains("WRONGTYPE")
    }
}

/// What a test ordered to fail may have been done or not, as when an answer is lost.
impl From<handover_fault::Injected> for Error {
    fn from(injected: handover_fault::Injected) -> Self {
        Self::Unreachable(injected.to_string())
    }
}

/// An operation's failure, with the deliveries that it did not settle: they are still held.
#[derive(thiserror::Error)]
#[error("{error}")]
pub struct Rejected<T> {
    /// Why.
    pub error: Error,
    /// What was not settled. A delivery may be here and yet be settled, where the answer got lost;
    /// settling it again does no harm.
    pub deliveries: Vec<Delivery<T>>,
}

impl<T> std::fmt::Debug for Rejected<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rejected")
            .field("error", &self.error)
            .field("deliveries", &self.deliveries.len())
            .finish()
    }
}
