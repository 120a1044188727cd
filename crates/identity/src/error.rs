//! What can go wrong in Identity. No message holds a user's key, a password or a URL.

/// An error of Identity's truth, of its mirror, or of what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The truth's server failed or refused.
    #[error("identity's truth: {0}")]
    Postgres(#[from] handover_postgres::Error),
    /// The mirror's server failed or refused.
    #[error("identity's mirror: {0}")]
    Redis(#[from] redis::RedisError),
    /// The mirror's address or key prefix cannot be used.
    #[error("identity's mirror: {0}")]
    MirrorConfig(&'static str),
    /// The mirror did not answer within its time.
    #[error("identity's mirror: no answer within {0:?}")]
    MirrorTimeout(std::time::Duration),
    /// Another server answered in mid-work: a fail-over or a restart. What was done must be done again.
    #[error("identity's mirror: the server changed while it was being read")]
    MirrorChanged,
    /// The server that answers is not the one that the truth says the mirror is on: a fail-over has left both.
    #[error("identity's mirror: another server answers than the one that was rebuilt last")]
    MirrorElsewhere,
    /// A user's key is empty, longer than 255 bytes, or holds a NUL.
    #[error("a user's key {0}")]
    UserKey(&'static str),
    /// A migration's name cannot be used.
    #[error("the migration's name {0}")]
    Migration(&'static str),
    /// A version is below 1 (0 says "signed up on the new system") or too large.
    #[error("a version must be from 1 to {max}", max = i64::MAX - 1)]
    Version,
    /// A sign-up was refused: the user is being moved.
    #[error("the user is paused: {migration} is under way")]
    Paused {
        /// The migration under way.
        migration: String,
    },
    /// A sign-up was refused: the user is known, and this migration's data is on legacy.
    #[error("the user is known, and has {migration} on legacy")]
    KnownOnLegacy {
        /// The first of the named migrations that is on legacy.
        migration: String,
    },
    /// A gate's registration cannot be taken.
    #[error("a gate's {0}")]
    Gate(&'static str),
    /// A stored row cannot be read: another program wrote it, or a newer one.
    #[error("a row of identity.users cannot be read: {0}")]
    Row(&'static str),
    /// A test ordered this failure.
    #[error(transparent)]
    Injected(#[from] handover_fault::Injected),
    /// What the database did is not what the rules say: a defect, and nothing further should be done.
    #[error("identity's rules and its database disagree about {0}")]
    Disagreement(&'static str),
}

impl Error {
    /// Whether the same request may succeed when it is made again as it stands.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Postgres(error) => error.is_transient(),
            Self::Redis(_)
            | Self::MirrorTimeout(_)
            | Self::MirrorChanged
            | Self::MirrorElsewhere
            | Self::Injected(_) => true,
            Self::MirrorConfig(_)
            | Self::UserKey(_)
            | Self::Migration(_)
            | Self::Version
            | Self::Gate(_)
            | Self::Paused { .. }
            | Self::KnownOnLegacy { .. }
            | Self::Row(_)
            | Self::Disagreement(_) => false,
        }
    }
}
