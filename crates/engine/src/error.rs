//! What can go wrong in a stage, and what follows from it.

use handover_canonical::WireError;
use handover_tracking::Claim;
use handover_transform::RowError;

#[cfg(test)]
mod tests;

/// An error of a stage. None holds a value of a user's row.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A server failed.
    #[error(transparent)]
    Postgres(#[from] handover_postgres::Error),
    /// Tracking failed.
    #[error(transparent)]
    Tracking(#[from] handover_tracking::Error),
    /// Identity's truth failed.
    #[error(transparent)]
    Identity(#[from] handover_identity::Error),
    /// The stream of a COPY is not what was declared.
    #[error("{what}: {error}")]
    Wire {
        /// Which entity, on which side.
        what: String,
        /// How.
        error: WireError,
    },
    /// A row cannot be turned into the destination's.
    #[error("entity {entity}: {error}")]
    Row {
        /// Which entity.
        entity: String,
        /// Which column, and why.
        error: RowError,
    },
    /// The plan does not fit these databases.
    #[error("plan {migration}: {text}")]
    Plan {
        /// The migration.
        migration: String,
        /// What does not fit.
        text: String,
    },
    /// The replica is not of the primary that the position was taken on.
    #[error("the replica cannot be read: {0}")]
    Replica(String),
    /// The replica has not replayed past the position in time.
    #[error("the replica has not replayed past {position} within {waited_ms} ms")]
    ReplicaBehind {
        /// The fence position.
        position: String,
        /// How long it was waited for.
        waited_ms: u128,
    },
    /// The destination holds rows of a user who was to be loaded.
    #[error("entity {entity}: the destination holds rows of this user already")]
    Occupied {
        /// Which entity.
        entity: String,
    },
    /// The plan's `delete` has not removed all rows of a user.
    #[error("entity {entity}: rows are left after its `delete`")]
    Remains {
        /// Which entity.
        entity: String,
    },
    /// The destination refused a row.
    #[error("{error}; entity {entity}, row {row}")]
    Refused {
        /// Which entity.
        entity: String,
        /// The row's key.
        row: String,
        /// Why, with table and constraint.
        error: handover_postgres::Error,
    },
    /// What was read back inside the copy's transaction is not what was read from the source.
    #[error("what was written, read back before the commit, is not what was read from the source")]
    Unequal,
    /// The destination took fewer rows than it was sent.
    #[error("the destination did not take all rows: {0}")]
    Swallowed(String),
    /// An attempt was moved on by somebody else while a batch held it.
    #[error("an attempt of the batch was moved on by somebody else")]
    Outrun,
    /// One user of a bundle has so many rows that the others must not wait for them.
    #[error("a user of the bundle has too many rows to share it")]
    Crowded {
        /// Whose rows they are; not for the message.
        claim: Claim,
    },
    /// The database fence failed.
    #[error(transparent)]
    Fence(#[from] handover_fence::Error),
    /// The database fence is switched on, and is missing or incomplete.
    #[error(
        "the database fence of {migration} does not stand whole on the {side}: run `handover fence install {migration}`"
    )]
    Unfenced {
        /// The migration.
        migration: String,
        /// Which side.
        side: &'static str,
    },
    /// The replica does not show the attempts' fences.
    #[error("the replica has not shown the fence, drained, within {waited_ms} ms")]
    FenceUnseen {
        /// How long it was waited for.
        waited_ms: u128,
    },
    /// The plan cannot carry an entity back.
    #[error("entity {entity} has no reverse load: its changes cannot be carried back")]
    OneWay {
        /// Which entity.
        entity: String,
    },
    /// What a reverse load wrote to legacy is not what the destination holds.
    #[error(
        "what the reverse load wrote to legacy, read back before the commit, is not what the destination holds"
    )]
    NotCarried,
    /// A test ordered this failure.
    #[error(transparent)]
    Injected(#[from] handover_fault::Injected),
    /// The rows that were to be removed are not those that the attempt wrote.
    #[error("the destination's rows are not those that this attempt wrote; they were left")]
    NotOurs,
}

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// The weather: the same bundle again, later.
    Retry,
    /// One user's data: split the bundle until that user stands alone, then take the attempt back.
    Data,
    /// The plan or the installation: take the attempts back at once, trying again cannot help.
    TakeBack,
}

impl Error {
    /// The one table from an error to what follows.
    pub(crate) fn disposition(&self) -> Disposition {
        match self {
            Self::Postgres(error)
            | Self::Tracking(handover_tracking::Error::Postgres(error))
            | Self::Fence(handover_fence::Error::Postgres(error))
            | Self::Refused { error, .. } => of_postgres(error),
            // Identity's refusals are outcomes, not errors: what is left is a server that fails.
            Self::Identity(_)
            | Self::Replica(_)
            | Self::ReplicaBehind { .. }
            | Self::Unfenced { .. }
            | Self::FenceUnseen { .. }
            | Self::Outrun
            | Self::Injected(_)
            | Self::Tracking(handover_tracking::Error::Injected(_)) => Disposition::Retry,
            Self::Tracking(_) | Self::Plan { .. } | Self::Fence(_) => Disposition::TakeBack,
            Self::Wire { .. }
            | Self::Row { .. }
            | Self::Occupied { .. }
            | Self::Remains { .. }
            | Self::NotOurs
            | Self::Unequal
            | Self::OneWay { .. }
            | Self::NotCarried
            | Self::Crowded { .. }
            | Self::Swallowed(_) => Disposition::Data,
        }
    }

    /// Whether a snapshot was too old for what others had committed: the same transaction, begun anew, may pass
    /// at once.
    pub(crate) fn is_serialization_failure(&self) -> bool {
        use tokio_postgres::error::SqlState;
        matches!(self, Self::Postgres(error) | Self::Tracking(handover_tracking::Error::Postgres(error))
            if error.sqlstate() == Some(&SqlState::T_R_SERIALIZATION_FAILURE))
    }

    /// A short word for metrics and reports.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Postgres(error) | Self::Refused { error, .. } if error.is_data() => "constraint",
            Self::Postgres(_) | Self::Refused { .. } => "database",
            Self::Tracking(_) => "tracking",
            Self::Identity(_) => "identity",
            Self::Wire { .. } => "wire",
            Self::Row { .. } => "transform",
            Self::Plan { .. } => "plan",
            Self::Replica(_) => "replica",
            Self::ReplicaBehind { .. } | Self::FenceUnseen { .. } => "replica_behind",
            Self::Fence(_) | Self::Unfenced { .. } => "fence",
            Self::Occupied { .. } => "occupied",
            Self::Remains { .. } => "remains",
            Self::NotOurs => "not_ours",
            Self::Unequal | Self::NotCarried => "mismatch",
            Self::OneWay { .. } => "one_way",
            Self::Outrun => "outrun",
            Self::Injected(_) => "injected",
            Self::Crowded { .. } => "crowded",
            Self::Swallowed(_) => "swallowed",
        }
    }
}

fn of_postgres(error: &handover_postgres::Error) -> Disposition {
    if error.is_transient() {
        return Disposition::Retry;
    }
    match error.sqlstate().map(|state| &state.code()[..2]) {
        // Syntax, a missing table or column, a missing privilege: nobody's data passes.
        None | Some("42" | "3F" | "28" | "3D") => Disposition::TakeBack,
        // Beyond what a constraint refuses there is what a trigger raises under a code of its own, or an index
        // that a value is too large for (54000): somebody else's data may pass.
        Some(_) => Disposition::Data,
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error.into())
    }
}
