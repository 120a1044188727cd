//! Every exit code of the worker programs. The command line's parser ends with 2 on wrong usage.

use std::process::ExitCode;

/// How a program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Stopped by a signal and drained, or `--check` found all well.
    Success,
    /// A server could not be reached, or refused (`--check` only: a running worker keeps trying).
    Unavailable,
    /// The program itself failed: it could not listen, or a signal handler could not be set.
    Internal,
    /// The settings are wrong.
    Settings,
    /// A second SIGINT cut the draining short.
    Interrupted,
    /// A second SIGTERM cut the draining short.
    Terminated,
}

impl Exit {
    /// The number that the operating system sees: `sysexits.h`, and 128 plus the signal's number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Unavailable => 69,
            Self::Internal => 70,
            Self::Settings => 78,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
