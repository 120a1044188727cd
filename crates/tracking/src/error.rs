//! What can go wrong with tracking.

/// An error of tracking. None holds a user's data; a user's key stands only in what an operator asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The destination failed.
    #[error(transparent)]
    Postgres(#[from] handover_postgres::Error),
    /// `handover init` was not run against this destination.
    #[error("the destination holds no tracking tables: run `handover init`")]
    NotInstalled,
    /// No cohort of that name.
    #[error("there is no cohort `{0}`: `handover cohort list` shows those there are")]
    NoSuchCohort(String),
    /// A cohort of that name is there already.
    #[error("a cohort `{0}` exists already, of migration `{1}`")]
    CohortExists(String, String),
    /// No migration of that name was registered.
    #[error("there is no migration `{0}` yet: `handover init` registers the plans")]
    NoSuchMigration(String),
    /// A name that a cohort cannot have.
    #[error(
        "`{0}` cannot name a cohort: letters, digits, `.`, `_` and `-`, at most 63, a letter or digit first"
    )]
    BadCohortName(String),
    /// The installation's key type is another.
    #[error("this installation's users are keyed by {installed}, but the plan says {plan}")]
    KeyTypeDiffers {
        /// What the installation was made with.
        installed: String,
        /// What the plan says.
        plan: String,
    },
    /// A row that must be there is not, or holds what no version of this program writes.
    #[error("tracking is damaged: {0}")]
    Damaged(String),
    /// A test ordered this failure.
    #[error(transparent)]
    Injected(#[from] handover_fault::Injected),
}

impl Error {
    /// Whether the same work may succeed when it is tried again.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Postgres(error) if error.is_transient())
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        let error = handover_postgres::Error::from(error).of("destination");
        match error.sqlstate().map(tokio_postgres::error::SqlState::code) {
            // undefined_table, invalid_schema_name, undefined_object (a type)
            Some("42P01" | "3F000" | "42704") => Self::NotInstalled,
            _ => Self::Postgres(error),
        }
    }
}
