//! The history: one record for each request, appended to a file as it ends.
//!
//! It holds what a client knows, and nothing else. Times are microseconds since 1970 by this machine's clock.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// One of an application's two systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The old one.
    Legacy,
    /// The new one.
    New,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Make a reminder.
    Create,
    /// Append a note to a reminder.
    Note,
    /// Remove a reminder.
    Delete,
    /// Set the footer of the settings.
    Footer,
    /// Make a user.
    SignUp,
    /// List the reminders.
    ReadReminders,
    /// Read the settings.
    ReadSettings,
}

impl Kind {
    /// The migration whose data the request touches. A sign-up touches none: it is born on the new system.
    pub fn migration(self) -> Option<&'static str> {
        match self {
            Self::Create | Self::Note | Self::Delete | Self::ReadReminders => Some("invoice-reminders"),
            Self::Footer | Self::ReadSettings => Some("invoice-settings"),
            Self::SignUp => None,
        }
    }

    /// Whether it changes anything.
    pub fn writes(self) -> bool {
        !matches!(self, Self::ReadReminders | Self::ReadSettings)
    }
}

/// How a client takes an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Done, and said so: it must be there.
    Acknowledged,
    /// The application said no (4xx): it must not be there.
    Declined,
    /// A 503 that says that nothing was done: it must not be there.
    Refused,
    /// No connection was made: it must not be there.
    NotSent,
    /// The answer never came, or says that the outcome is unknown: it may be there, once.
    Indeterminate,
}

/// One request and what the client was told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The client who asked.
    pub client: u32,
    /// The request's own number; of a write also the number that it writes.
    pub number: u64,
    /// The user who is asked for. Of a sign-up the new one, 0 where that is not known.
    pub user: i64,
    /// What is asked for.
    pub kind: Kind,
    /// Whether as a browser with pages and forms does it, in place of the JSON interface.
    pub web: bool,
    /// The reminder that a note or removal is for; of a creation the one that was made, where the answer said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reminder: Option<i64>,
    /// Of a note or removal, the write that made its reminder, if a client made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<u64>,
    /// Milliseconds after which the reminder that is made is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_in_ms: Option<u64>,
    /// When the client began to ask.
    pub sent: i64,
    /// When it had the whole answer, or gave up.
    pub answered: i64,
    /// The answer's status, if one came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How the client took it.
    pub outcome: Outcome,
    /// The side that says it served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_by: Option<Side>,
    /// Acknowledged writes that the answer should have shown and did not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missed: Vec<u64>,
}

impl Record {
    /// From when on this write can no longer take effect; never, where its outcome is not known.
    pub fn over(&self) -> i64 {
        if self.outcome == Outcome::Indeterminate { i64::MAX } else { self.answered }
    }
}

/// Where records go as requests end.
#[derive(Debug)]
pub struct History {
    file: Option<Mutex<File>>,
}

/// The history's file could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file itself.
    #[error("the history {path} cannot be used")]
    File {
        /// The file's path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line of it.
    #[error("line {line} of the history {path} is no record")]
    Line {
        /// The file's path.
        path: PathBuf,
        /// The line's number, from 1 on.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
}

impl History {
    /// Keeps nothing.
    pub fn none() -> Self {
        Self { file: None }
    }

    /// Appends to a file, which is made.
    pub fn file(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::File { path: path.to_owned(), source };
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
        Ok(Self { file: Some(Mutex::new(file)) })
    }

    /// Appends one record, as one line in one write.
    pub fn append(&self, record: &Record) -> std::io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
    }

    /// Every record of a file.
    pub fn read(path: &Path) -> Result<Vec<Record>, Error> {
        let failed = |source| Error::File { path: path.to_owned(), source };
        let lines = BufReader::new(File::open(path).map_err(failed)?).lines();
        let record = |(nth, line): (usize, std::io::Result<String>)| {
            let line = line.map_err(failed)?;
            serde_json::from_str(&line).map_err(|source| Error::Line {
                path: path.to_owned(),
                line: nth + 1,
                source,
            })
        };
        lines.enumerate().map(record).collect()
    }
}

/// Now, in microseconds since 1970: Postgres' clock on the same machine.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_that_was_written_is_read_back() {
        let path = std::env::temp_dir().join(format!("history-{}-{}.jsonl", std::process::id(), now()));
        let history = History::file(&path).expect("open");
        let record = Record {
            client: 3,
            number: 3_000_001,
            user: 42,
            kind: Kind::Note,
            web: false,
            reminder: Some(7),
            made_by: Some(6),
            due_in_ms: None,
            sent: 10,
            answered: 20,
            status: Some(200),
            outcome: Outcome::Acknowledged,
            served_by: Some(Side::New),
            missed: Vec::new(),
        };
        let lost =
            Record { outcome: Outcome::Indeterminate, status: None, missed: vec![9], ..record.clone() };
        history.append(&record).expect("append");
        history.append(&lost).expect("append");
        assert_eq!(History::read(&path).expect("read"), [record, lost]);
        std::fs::write(&path, "{}\n").expect("write");
        assert!(matches!(History::read(&path), Err(Error::Line { line: 1, .. })));
        std::fs::remove_file(&path).expect("remove");
    }
}
