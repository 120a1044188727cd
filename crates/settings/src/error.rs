//! What can be wrong with the settings. No message ever holds the value of a secret.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong, and how to put it right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The setting, as `section.key`.
    pub field: String,
    /// What does not hold.
    pub constraint: String,
    /// What the operator should do.
    pub remedy: String,
}

impl Problem {
    pub(crate) fn new(
        field: impl Into<String>,
        constraint: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { field: field.into(), constraint: constraint.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.field, self.constraint, self.remedy)
    }
}

/// Why settings could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file that was asked for cannot be read.
    #[error("settings file {path} cannot be read", path = .path.display())]
    Unreadable {
        /// The file that was asked for.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A source is not well formed; the text names line and column, and quotes nothing of the file.
    #[error("settings are not well formed: {0}")]
    Malformed(String),
    /// Values are missing, unknown or out of their limits: all that were found.
    #[error("{}", list(.0))]
    Invalid(Vec<Problem>),
}

impl SettingsError {
    /// The single problems, where there are any.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Invalid(problems) => problems,
            Self::Unreadable { .. } | Self::Malformed(_) => &[],
        }
    }
}

fn list(problems: &[Problem]) -> String {
    let plural = if problems.len() == 1 { "problem" } else { "problems" };
    let mut text = format!("{} {plural} in the settings", problems.len());
    for problem in problems {
        text.push_str("\n  ");
        text.push_str(&problem.to_string());
    }
    text
}
