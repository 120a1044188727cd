//! What can go wrong with the fence. No message holds a user's key or a row's value.

/// An error of the database fence.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server failed or refused.
    #[error("the database fence: {0}")]
    Postgres(#[from] handover_postgres::Error),
    /// A table of the plan cannot carry the fence.
    #[error("the database fence cannot guard {table}: {why}; {remedy}")]
    Table {
        /// The table, as the plan spells it.
        table: String,
        /// What stands in the way.
        why: String,
        /// What the operator can do.
        remedy: &'static str,
    },
    /// A table's lock was not to be had without making its writers wait for longer than they should.
    #[error("{table} is never free for 50 ms: a long transaction writes to it; end it, or try again later")]
    TableBusy {
        /// The table, as the plan spells it.
        table: String,
    },
    /// The fence cannot be removed while attempts rely on it.
    #[error("{paused} users of {migration} are paused behind the fence: end their attempts first")]
    InUse {
        /// The migration.
        migration: String,
        /// How many users are paused or on their way back.
        paused: i64,
    },
    /// A user is named twice in one call, or a version is below 1.
    #[error("{0}")]
    Request(&'static str),
    /// The fence's schema holds what this version of the program did not write.
    #[error("handover_fence holds a state that this program does not know: {0}")]
    Unknown(String),
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error.into())
    }
}

impl Error {
    /// Whether the same call may succeed when it is made again as it stands.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Postgres(error) => error.is_transient(),
            Self::TableBusy { .. } => true,
            Self::Table { .. } | Self::InUse { .. } | Self::Request(_) | Self::Unknown(_) => false,
        }
    }
}
