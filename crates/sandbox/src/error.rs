//! Why a sandbox could not be had.

use std::path::PathBuf;
use std::time::Duration;

/// What went wrong while starting, using or stopping throw-away servers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Server binaries are neither installed nor could be installed; `remedy` says what to do.
    #[error("no usable {program} found: {remedy}")]
    Missing {
        /// What is missing, such as `PostgreSQL 14 or newer`.
        program: &'static str,
        /// The exact command that installs it, or what stands in the way.
        remedy: String,
    },
    /// A file or folder could not be made, read or removed.
    #[error("failed to {doing} {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A helper program such as `initdb` failed.
    #[error("{program} failed: {output}")]
    Command {
        /// The program.
        program: String,
        /// The end of what it said.
        output: String,
    },
    /// A server ended before it was ready.
    #[error("the {server} server ended before it was ready: {log}")]
    Ended {
        /// Which server.
        server: &'static str,
        /// The end of its log.
        log: String,
    },
    /// A server did not become ready in time.
    #[error("the {server} server was not ready after {after:?}: {log}")]
    NotReady {
        /// Which server.
        server: &'static str,
        /// How long it was given.
        after: Duration,
        /// The end of its log, or the last error.
        log: String,
    },
    /// Environment variables that do not fit together, or a URL that cannot be used.
    #[error("{variable}: {reason}")]
    Environment {
        /// The variable.
        variable: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A server of this kind has no databases that could be created or changed.
    #[error("no database can be created on the {server} server")]
    NoDatabases {
        /// Which server.
        server: &'static str,
    },
    /// No owner of kept servers: the folder is not a kept sandbox of this user.
    #[error("{} is not the folder of a sandbox", path.display())]
    NotASandbox {
        /// The folder that was named.
        path: PathBuf,
    },
    /// Postgres refused a statement.
    #[error("postgres: {}", chain(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// A background thread of the start panicked.
    #[error("a start-up task was lost")]
    Task(#[from] tokio::task::JoinError),
}

impl Error {
    /// For `map_err` on file operations.
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }
}

/// The driver's own `Display` is only "db error": the cause is what helps.
fn chain(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return format!("{} ({})", db.message(), db.code().code());
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
