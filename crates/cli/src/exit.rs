//! The exit codes, which scripts may rely on (`docs/cli.md`).

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All was done.
    Done,
    /// Something failed that is none of the following.
    Failed,
    /// The command line, the settings or a file cannot be used. Nothing was done.
    Usage,
    /// What was to be proven is not so: a plan's findings, a mirror that differs, users who failed.
    Findings,
    /// There is no such cohort, user or job.
    NotFound,
    /// The operator did not confirm, or the state forbids it. Nothing was done.
    Refused,
    /// A server cannot be reached.
    Unreachable,
    /// Stopped by Ctrl-C or SIGTERM.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Findings => 3,
            Exit::NotFound => 4,
            Exit::Refused => 5,
            Exit::Unreachable => 6,
            Exit::Interrupted => 130,
        })
    }
}

/// What an error means for the exit code.
pub(crate) fn of_error(error: &anyhow::Error) -> Exit {
    use handover_tracking::Error as Tracking;
    for cause in error.chain() {
        if let Some(refusal) = cause.downcast_ref::<Stop>() {
            return refusal.exit;
        }
        if cause.is::<handover_settings::SettingsError>() || cause.is::<handover_plan::PlanErrors>() {
            return Exit::Usage;
        }
        match cause.downcast_ref::<Tracking>() {
            Some(Tracking::NoSuchCohort(_) | Tracking::NoSuchMigration(_)) => return Exit::NotFound,
            Some(Tracking::CohortExists(..) | Tracking::KeyTypeDiffers { .. }) => return Exit::Refused,
            Some(Tracking::BadCohortName(_)) => return Exit::Usage,
            Some(Tracking::Postgres(error)) if error.is_unreachable() => return Exit::Unreachable,
            _ => {}
        }
        if cause
            .downcast_ref::<handover_postgres::Error>()
            .is_some_and(handover_postgres::Error::is_unreachable)
        {
            return Exit::Unreachable;
        }
        if cause.downcast_ref::<handover_queue::Error>().is_some_and(handover_queue::Error::is_transient) {
            return Exit::Unreachable;
        }
    }
    Exit::Failed
}

/// An end that a command decided on, with what to tell the operator.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Stop {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

/// Ends the command with that code and message.
pub(crate) fn stop(exit: Exit, message: impl Into<String>) -> anyhow::Error {
    Stop { exit, message: message.into() }.into()
}
