//! Users as they are named: on the command line, in a text file, on standard input. One a line; blank lines and
//! lines that begin with `#` are passed over; the key type decides the spelling.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use handover_plan::KeyType;
use serde::Serialize;

use crate::exit::{Exit, stop};
use crate::output;

/// Bad lines that are listed; the rest are counted.
const LISTED: usize = 20;

/// Characters of a bad key that are shown.
const SHOWN: usize = 60;

/// The longest line that is read, in bytes: a key has at most 255.
const MAX_LINE: u64 = 4_096;

/// How many users are read at a time where all are wanted.
const CHUNK: usize = 10_000;

/// Users by parameter or file.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct UserArgs {
    /// Users, by key
    #[arg(value_name = "USER")]
    pub(crate) users: Vec<String>,
    /// A text file with one user a line, `-` for standard input; blank lines and lines that begin with `#` are
    /// passed over
    #[arg(long, short, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// One user with the line it stands on; parameters count as lines before the file's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Named {
    pub(crate) line: i64,
    pub(crate) user: String,
}

/// A source of users, read a line at a time.
pub(crate) struct Lines {
    parameters: std::vec::IntoIter<String>,
    reader: Option<Box<dyn BufRead + Send>>,
    name: String,
    key: KeyType,
    line: i64,
    bad: Vec<String>,
    bad_count: usize,
    bytes: u64,
}

/// Some users in a row.
pub(crate) struct Chunk {
    pub(crate) users: Vec<Named>,
    /// Bytes of the file read so far.
    pub(crate) bytes: u64,
}

impl UserArgs {
    /// Whether nobody was named.
    pub(crate) fn is_empty(&self) -> bool {
        self.users.is_empty() && self.file.is_none()
    }

    /// The size of the file, where it has one.
    pub(crate) fn size(&self) -> Option<u64> {
        let path = self.file.as_deref().filter(|path| *path != Path::new("-"))?;
        std::fs::metadata(path).ok().map(|metadata| metadata.len())
    }

    /// Opens the source.
    pub(crate) fn lines(&self, key: KeyType) -> Result<Lines> {
        let (reader, name): (Option<Box<dyn BufRead + Send>>, String) = match self.file.as_deref() {
            None => (None, String::new()),
            Some(path) if path == Path::new("-") => {
                if std::io::stdin().is_terminal() {
                    output::say("reading users from the terminal, one a line; Ctrl-D ends them");
                }
                (Some(Box::new(BufReader::new(std::io::stdin()))), "standard input".to_owned())
            }
            Some(path) => {
                let name = path.display().to_string();
                let file = File::open(path)
                    .map_err(|error| stop(Exit::Usage, format!("failed to open {name}: {error}")))?;
                (Some(Box::new(BufReader::with_capacity(1 << 16, file))), name)
            }
        };
        let parameters = self.users.clone().into_iter();
        Ok(Lines { parameters, reader, name, key, line: 0, bad: Vec::new(), bad_count: 0, bytes: 0 })
    }

    /// All users at once, each once, in their order.
    pub(crate) async fn all(&self, key: KeyType) -> Result<Vec<String>> {
        let (mut users, mut seen) = (Vec::new(), HashSet::new());
        let mut rest = Some(self.lines(key)?);
        while let Some(lines) = rest.take() {
            if let Some((chunk, lines)) = lines.chunk(CHUNK).await? {
                let named = chunk.users.into_iter().map(|named| named.user);
                users.extend(named.filter(|user| seen.insert(user.clone())));
                rest = Some(lines);
            }
        }
        Ok(users)
    }
}

/// A key as messages show it: on one line, without what a terminal would act on, and not without end.
pub(crate) fn shown(user: &str) -> String {
    let mut text: String = user.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if user.chars().nth(SHOWN).is_some() {
        text.push('…');
    }
    text
}

/// That a command was given no users, with the ways to name some.
pub(crate) fn nobody(ways: &str) -> anyhow::Error {
    stop(Exit::Usage, format!("nobody was named: give {ways}"))
}

impl Lines {
    /// The next users, at most `most` of them; none at the end, where keys that cannot be used are an error that
    /// names every one.
    ///
    /// Reads on a thread of its own: standard input may have nothing to say for long, and Ctrl-C must be heard.
    pub(crate) async fn chunk(mut self, most: usize) -> Result<Option<(Chunk, Self)>> {
        let read = move || {
            let mut users = Vec::with_capacity(most.min(CHUNK));
            while users.len() < most {
                let Some(named) = self.next()? else { break };
                users.push(named);
            }
            if users.is_empty() {
                return self.finish().map(|()| None);
            }
            Ok(Some((Chunk { users, bytes: self.bytes }, self)))
        };
        tokio::task::spawn_blocking(read).await.context("failed to read users")?
    }

    /// The next user. A line that is no key is noted, and the rest still read: `finish` names them all.
    fn next(&mut self) -> Result<Option<Named>> {
        while let Some(user) = self.parameters.next() {
            match self.key.canonical(&user) {
                Ok(user) => return Ok(Some(Named { line: 0, user })),
                Err(error) => self.note(format!("`{}`: {error}", shown(&user))),
            }
        }
        while let Some(text) = self.read_line()? {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            match self.key.canonical(text) {
                Ok(user) => return Ok(Some(Named { line: self.line, user })),
                Err(error) => self.note(format!("{}, line {}: {error}", self.name, self.line)),
            }
        }
        Ok(None)
    }

    fn read_line(&mut self) -> Result<Option<String>> {
        let Some(reader) = self.reader.as_mut() else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = reader
            .take(MAX_LINE)
            .read_until(b'\n', &mut bytes)
            .map_err(|error| stop(Exit::Usage, format!("failed to read {}: {error}", self.name)))?;
        if read == 0 {
            return Ok(None);
        }
        self.line += 1;
        self.bytes += read as u64;
        if read as u64 == MAX_LINE && bytes.last() != Some(&b'\n') {
            let text = format!("{}, line {}: longer than {MAX_LINE} bytes", self.name, self.line);
            return Err(stop(Exit::Usage, format!("{text}; nothing was done")));
        }
        let text = String::from_utf8(bytes).map_err(|_| {
            stop(Exit::Usage, format!("{}, line {}: not UTF-8; nothing was done", self.name, self.line))
        })?;
        // A file saved on Windows may begin with a byte order mark.
        let text = if self.line == 1 { text.trim_start_matches('\u{feff}').to_owned() } else { text };
        Ok(Some(text))
    }

    fn note(&mut self, text: String) {
        self.bad_count += 1;
        if self.bad.len() < LISTED {
            self.bad.push(text);
        }
    }

    fn finish(self) -> Result<()> {
        if self.bad_count == 0 {
            return Ok(());
        }
        let more = self.bad_count - self.bad.len();
        let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
        let lines = self.bad.join("\n  ");
        Err(stop(
            Exit::Usage,
            format!(
                "{} cannot be used; nothing was done:\n  {lines}{more}",
                count(self.bad_count, "user key")
            ),
        ))
    }
}

/// `1 user`, `2 users`.
pub(crate) fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(content: &str, key: KeyType) -> Result<Vec<Named>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("users.txt");
        std::fs::write(&path, content)?;
        let mut lines = UserArgs { users: vec![], file: Some(path) }.lines(key)?;
        let mut named = Vec::new();
        while let Some((chunk, rest)) = lines.chunk(1).await? {
            named.extend(chunk.users);
            lines = rest;
        }
        Ok(named)
    }

    #[tokio::test]
    async fn a_user_who_is_named_twice_is_taken_once() {
        let users = ["2", "1", "02"].map(str::to_owned).to_vec();
        assert_eq!(UserArgs { users, file: None }.all(KeyType::Int8).await.unwrap(), ["2", "1"]);
    }

    #[tokio::test]
    async fn comments_and_blank_lines_are_passed_over_and_lines_are_counted() {
        let named = read("\u{feff}# cohort\n\n 042 \r\n7", KeyType::Int8).await.unwrap();
        let want = [Named { line: 3, user: "42".to_owned() }, Named { line: 4, user: "7".to_owned() }];
        assert_eq!(named, want);
    }

    #[tokio::test]
    async fn every_bad_line_is_named_at_once() {
        let error = read("1\nx\n2\ny\n", KeyType::Int8).await.unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("line 4"), "{error}");
    }

    #[tokio::test]
    async fn a_line_without_end_is_refused_before_it_fills_the_memory() {
        let error = read(&"9".repeat(10_000), KeyType::Text).await.unwrap_err().to_string();
        assert!(error.contains("longer than"), "{error}");
    }
}
