//! What is wrong with a plan: where, what, and what to do about it.
//!
//! One type serves both the reading of a plan and its check against live databases, so that a command line
//! prints them alike. Findings are collected, never thrown one at a time. They quote the plan and the
//! catalogue, never a row.

use std::fmt;

/// Whether a plan with this finding may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The plan must not be used.
    Error,
    /// The plan may be used by someone who has read this.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// A place in one of the plan's files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file, relative to the plan's folder.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The character within the line, from 1.
    pub column: u32,
}

impl Place {
    /// The beginning of a file.
    pub(crate) fn top(file: &str) -> Self {
        Self { file: file.to_owned(), line: 1, column: 1 }
    }

    /// The place of byte `offset` of `text`, which is the content of `file`.
    pub(crate) fn of_byte(file: &str, text: &str, offset: usize) -> Self {
        let mut end = offset.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &text[..end];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            file: file.to_owned(),
            line: before.matches('\n').count() as u32 + 1,
            column: before[line_start..].chars().count() as u32 + 1,
        }
    }

    /// The place of character `position` (from 1, as Postgres counts) of `text`.
    pub(crate) fn of_char(file: &str, text: &str, position: u32) -> Self {
        let skip = position.saturating_sub(1) as usize;
        let offset = text.char_indices().nth(skip).map_or(text.len(), |(at, _)| at);
        Self::of_byte(file, text, offset)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $text:literal,)+) => {
        /// The kind of a finding; `docs/plans.md` lists each with its remedy.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Code {
            /// Every kind there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The kind as messages, documents and JSON spell it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

codes! {
    /// The file is not TOML.
    TomlSyntax = "toml-syntax",
    /// A key that the format does not have.
    UnknownKey = "unknown-key",
    /// A key that must be there is not.
    MissingKey = "missing-key",
    /// A value of another kind than the key takes.
    WrongKind = "wrong-kind",
    /// Another number of the format than this program reads.
    UnknownFormat = "unknown-format",
    /// A name with characters or a length that it must not have.
    BadName = "bad-name",
    /// A name that is there twice.
    Duplicate = "duplicate",
    /// A type outside the closed list, or a column that cannot be read.
    BadColumn = "bad-column",
    /// A reason that says nothing.
    EmptyReason = "empty-reason",
    /// A legacy table whose keys contradict each other, or that reaches no user.
    BadReach = "bad-reach",
    /// A column that is not among the entity's.
    UnknownColumn = "unknown-column",
    /// A parent that is not declared before its child.
    BadParent = "bad-parent",
    /// A fill that is none, or two.
    BadFill = "bad-fill",
    /// A derived column that nothing recomputes.
    BadDerived = "bad-derived",
    /// Neither or both of `into` and `load`.
    TargetChoice = "target-choice",
    /// A file that is missing, empty, too long, outside the folder, or not text.
    BadFile = "bad-file",
    /// SQL that cannot be what its key says.
    BadSql = "bad-sql",
    /// More of something than a plan may have.
    Limit = "limit",
    /// The server does not accept the SQL.
    SqlRefused = "sql-refused",
    /// The query does not return the declared columns.
    ColumnMismatch = "column-mismatch",
    /// The query returns a type with a length, precision or scale.
    TypeModifier = "type-modifier",
    /// What coverage reads cannot be asked of this server or with these privileges.
    CannotCheck = "cannot-check",
    /// A table or column that the plan names and the database does not have.
    UnknownTable = "unknown-table",
    /// A legacy column that is named by the plan and does not exist.
    UnknownLegacyColumn = "unknown-legacy-column",
    /// A legacy table that is read and not listed.
    UnlistedTable = "unlisted-table",
    /// A legacy table that is listed as the user's and that nothing reads.
    UnreadTable = "unread-table",
    /// A legacy table that is read and listed as ignored.
    IgnoredButRead = "ignored-but-read",
    /// A legacy table that belongs to the user and is neither mapped nor ignored.
    UnmappedTable = "unmapped-table",
    /// A legacy column that is neither used nor ignored.
    UnusedColumn = "unused-column",
    /// An ignored column that a query uses.
    NeedlessIgnore = "needless-ignore",
    /// A legacy table whose changes do not reach the replica.
    Unlogged = "unlogged",
    /// Something that a query calls, and whose reads cannot be seen.
    Opaque = "opaque",
    /// Columns that are joined or compared and whose types differ.
    KeyTypeDiffers = "key-type-differs",
    /// A table is searched without an index.
    NoIndex = "no-index",
    /// The destination is not a table that can be loaded.
    BadTarget = "bad-target",
    /// A privilege is missing.
    NoPrivilege = "no-privilege",
    /// A destination column is neither filled nor given a default.
    Unfilled = "unfilled",
    /// A destination column is left to a default that it does not have, or that nobody gave a reason for.
    NoDefault = "no-default",
    /// A fill does not suit its destination column.
    FillMismatch = "fill-mismatch",
    /// A destination column is filled and never read back.
    NotReadBack = "not-read-back",
    /// Something that the format has, and this version's engine does not do.
    Unsupported = "unsupported",
    /// A trigger of the destination fires for each loaded row.
    TargetTrigger = "target-trigger",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether it forbids the plan's use.
    pub severity: Severity,
    /// Its kind.
    pub code: Code,
    /// The file, relative to the plan's folder.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The character within the line, from 1.
    pub column: u32,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity, code, file, line, column, what, remedy } = self;
        write!(f, "{file}:{line}:{column}: {severity}: {what} [{code}]\n  remedy: {remedy}")
    }
}

/// How many findings are kept: nobody reads more, and a hostile file must not cost the square of its size.
const MOST_FINDINGS: usize = 500;

/// Collects findings.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    list: Vec<Finding>,
}

impl Findings {
    /// Adds an error.
    pub(crate) fn error(
        &mut self,
        code: Code,
        place: &Place,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Severity::Error, code, place, what.into(), remedy.into());
    }

    /// Adds a warning.
    pub(crate) fn warn(
        &mut self,
        code: Code,
        place: &Place,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Severity::Warning, code, place, what.into(), remedy.into());
    }

    fn add(&mut self, severity: Severity, code: Code, place: &Place, what: String, remedy: String) {
        if self.list.len() >= MOST_FINDINGS {
            return;
        }
        let Place { file, line, column } = place.clone();
        let finding = Finding { severity, code, file, line, column, what, remedy };
        if !self.list.contains(&finding) {
            self.list.push(finding);
        }
    }

    /// Whether nothing has been found.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Leaves out what only a hole that a syntax error made can have caused: whatever else stands on its line, and
    /// what is missing. That is told once the file can be read.
    pub(crate) fn drop_echoes(&mut self) {
        let is_syntax = |finding: &Finding| finding.code == Code::TomlSyntax;
        let lines: Vec<u32> = self.list.iter().filter(|f| is_syntax(f)).map(|f| f.line).collect();
        if lines.is_empty() {
            return;
        }
        let missing = [
            Code::MissingKey,
            Code::TargetChoice,
            Code::BadParent,
            Code::BadReach,
            Code::BadDerived,
            Code::BadFill,
        ];
        self.list.retain(|f| is_syntax(f) || !(missing.contains(&f.code) || lines.contains(&f.line)));
    }

    /// All findings: file by file (`plan.toml` first), each from its top.
    pub(crate) fn into_sorted(mut self) -> Vec<Finding> {
        let place = |f: &Finding| (f.file != crate::PLAN_FILE, f.file.clone(), f.line, f.column, f.severity);
        self.list.sort_by_key(place);
        self.list
    }
}

/// All that is wrong with a plan that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanErrors {
    findings: Vec<Finding>,
}

impl PlanErrors {
    pub(crate) fn new(findings: Findings) -> Self {
        Self { findings: findings.into_sorted() }
    }

    /// The findings, in the order of the files.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }
}

impl fmt::Display for PlanErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, finding) in self.findings.iter().enumerate() {
            if nth > 0 {
                f.write_str("\n")?;
            }
            finding.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for PlanErrors {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let text = "ab\nçé x\n";
        assert_eq!(Place::of_byte("f", text, 0), Place { file: "f".into(), line: 1, column: 1 });
        let x = text.find('x').unwrap();
        assert_eq!(Place::of_byte("f", text, x), Place { file: "f".into(), line: 2, column: 4 });
        assert_eq!(Place::of_char("f", text, 7), Place { file: "f".into(), line: 2, column: 4 });
    }

    #[test]
    fn a_place_inside_a_character_or_past_the_end_is_still_a_place() {
        assert_eq!(Place::of_byte("f", "é", 1).column, 1);
        assert_eq!(Place::of_byte("f", "a\nb", 99).line, 2);
        assert_eq!(Place::of_char("f", "a\nb", 99).line, 2);
    }

    #[test]
    fn codes_are_spelt_once_each() {
        let mut spellings: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        spellings.sort_unstable();
        spellings.dedup();
        assert_eq!(spellings.len(), Code::ALL.len());
    }
}
