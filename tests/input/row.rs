//! A row of the table, and how it is shown.

/// An input with what it must get.
pub(crate) struct Row<I> {
    /// What is put in, in words.
    pub(crate) what: &'static str,
    pub(crate) input: I,
    /// The exit code, or the status.
    pub(crate) code: u16,
    /// Words of the message.
    pub(crate) says: &'static str,
}

/// A row.
pub(crate) fn row<I>(what: &'static str, input: I, code: u16, says: &'static str) -> Row<I> {
    Row { what, input, code, says }
}

/// The rows of one place, to be read.
pub(crate) struct Section {
    pub(crate) title: &'static str,
    /// Where the inputs are put in, and what must be as it was afterwards.
    pub(crate) about: &'static str,
    /// What the codes are.
    pub(crate) code: &'static str,
    pub(crate) lines: Vec<[String; 3]>,
}

impl Section {
    /// A section of these rows.
    pub(crate) fn of<I>(
        title: &'static str,
        about: &'static str,
        code: &'static str,
        rows: &[Row<I>],
    ) -> Self {
        let line = |row: &Row<I>| [row.what.to_owned(), row.code.to_string(), row.says.to_owned()];
        Self { title, about, code, lines: rows.iter().map(line).collect() }
    }
}
