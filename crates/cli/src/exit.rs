//! The exit codes, which scripts may rely on (`docs/cli.md`).

use std::process::ExitCode;

use handover_identity::Error as Identity;
use handover_queue::Error as Queue;
use handover_tracking::Error as Tracking;

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
    /// There is no such cohort, user, job or schema; what else was named is done.
    NotFound,
    /// The operator did not confirm, or the state forbids it. Nothing was done.
    Refused,
    /// A server cannot be reached, or does not let handover in.
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
    let known = error.chain().find_map(|cause| {
        if let Some(stop) = cause.downcast_ref::<Stop>() {
            return Some(stop.exit);
        }
        if cause.is::<handover_settings::SettingsError>() {
            return Some(Exit::Usage);
        }
        if cause.is::<handover_plan::PlanErrors>() {
            return Some(Exit::Findings);
        }
        let tracking = cause.downcast_ref().and_then(of_tracking);
        let identity = || cause.downcast_ref().and_then(of_identity);
        let queue = || cause.downcast_ref().and_then(of_queue);
        let postgres = || cause.downcast_ref().and_then(of_postgres);
        tracking.or_else(identity).or_else(queue).or_else(postgres)
    });
    known.unwrap_or(Exit::Failed)
}

fn of_tracking(error: &Tracking) -> Option<Exit> {
    Some(match error {
        Tracking::NotInstalled | Tracking::NoSuchCohort(_) | Tracking::NoSuchMigration(_) => Exit::NotFound,
        Tracking::CohortExists(..) | Tracking::KeyTypeDiffers { .. } => Exit::Refused,
        Tracking::BadCohortName(_) => Exit::Usage,
        // The variant is transparent, so that what it holds is not in the chain.
        Tracking::Postgres(error) => return of_postgres(error),
        Tracking::Damaged(_) | Tracking::Injected(_) => return None,
    })
}

fn of_identity(error: &Identity) -> Option<Exit> {
    match error {
        Identity::Redis(_) | Identity::MirrorTimeout(_) => Some(Exit::Unreachable),
        Identity::MirrorConfig(_) => Some(Exit::Usage),
        Identity::Paused { .. } | Identity::KnownOnLegacy { .. } => Some(Exit::Refused),
        _ => None,
    }
}

fn of_queue(error: &Queue) -> Option<Exit> {
    match error {
        Queue::Settings(_) => Some(Exit::Usage),
        error if error.is_transient() => Some(Exit::Unreachable),
        _ => None,
    }
}

/// Class 28 is a refused login; 3D000 a database that is not there, 53300 no free session, 57P01 to 57P03 a server
/// that stops or starts; 42P01 and 3F000 a table or schema that `init` makes.
fn of_postgres(error: &handover_postgres::Error) -> Option<Exit> {
    let Some(code) = error.sqlstate().map(tokio_postgres::error::SqlState::code) else {
        let usage = error.is_config().then_some(Exit::Usage);
        return usage.or(error.is_unreachable().then_some(Exit::Unreachable));
    };
    match code {
        "3D000" | "53300" | "57P01" | "57P02" | "57P03" => Some(Exit::Unreachable),
        "42P01" | "3F000" => Some(Exit::NotFound),
        _ => code.starts_with("28").then_some(Exit::Unreachable),
    }
}

/// The error of Postgres that stands behind an error.
pub(crate) fn postgres(error: &anyhow::Error) -> Option<&handover_postgres::Error> {
    error.chain().find_map(|cause| match cause.downcast_ref() {
        Some(Tracking::Postgres(error)) => Some(error),
        _ => cause.downcast_ref(),
    })
}

/// An end that a command decided on, with what to tell the operator; an empty message tells nothing.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_does_not_answer_is_told_from_other_failures() {
        let gone = handover_postgres::Error::connection("destination", "refused");
        assert_eq!(of_error(&Tracking::Postgres(gone).into()), Exit::Unreachable);
        let gone = handover_postgres::Error::connection("identity", "refused");
        assert_eq!(of_error(&Identity::from(gone).into()), Exit::Unreachable);
        assert_eq!(of_error(&Queue::Unreachable("refused".to_owned()).into()), Exit::Unreachable);
        assert_eq!(of_error(&Tracking::Damaged("x".to_owned()).into()), Exit::Failed);
    }

    #[test]
    fn what_is_not_there_is_told_from_what_is_refused() {
        assert_eq!(of_error(&Tracking::NoSuchCohort("x".to_owned()).into()), Exit::NotFound);
        let exists = Tracking::CohortExists("x".to_owned(), "y".to_owned());
        assert_eq!(of_error(&exists.into()), Exit::Refused);
    }
}
