//! One error type for all that can go wrong with a server. Its text names the server's role, the SQLSTATE
//! and the object concerned, and leaves out DETAIL, CONTEXT and `invalid input` messages' values, since
//! these quote a user's data.

use std::fmt;

use tokio_postgres::error::{DbError, SqlState};

/// An error of a connection to Postgres.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    role: &'static str,
}

#[derive(Debug)]
enum Kind {
    /// The URL or the TLS material cannot be used: no retry helps.
    Config(String),
    /// The server could not be reached, or the connection broke. The text is the connection task's own error.
    Connection(String),
    /// The server answered with an error.
    Server(Box<ServerError>),
    /// The client library refused (a wrong parameter type, an unexpected message).
    Client(String),
}

#[derive(Debug)]
struct ServerError {
    code: SqlState,
    message: String,
    object: String,
    position: Option<u32>,
    copy_line: Option<u64>,
}

impl Error {
    /// An error of configuration; `text` must hold no secret.
    pub fn config(role: &'static str, text: impl Into<String>) -> Self {
        Self { kind: Kind::Config(text.into()), role }
    }

    /// The connection could not be made or broke; `text` must hold no secret.
    pub fn connection(role: &'static str, text: impl Into<String>) -> Self {
        Self { kind: Kind::Connection(text.into()), role }
    }

    /// The same error, said of a server of that role.
    #[must_use]
    pub fn of(mut self, role: &'static str) -> Self {
        self.role = role;
        self
    }

    /// The SQLSTATE, where the server sent one.
    pub fn sqlstate(&self) -> Option<&SqlState> {
        match &self.kind {
            Kind::Server(error) => Some(&error.code),
            _ => None,
        }
    }

    /// The character (from 1) of the statement that the server complains of.
    pub fn position(&self) -> Option<u32> {
        match &self.kind {
            Kind::Server(error) => error.position,
            _ => None,
        }
    }

    /// Which row of a COPY into a table, from 1, the error came from, where the server tells.
    pub fn copy_line(&self) -> Option<u64> {
        match &self.kind {
            Kind::Server(error) => error.copy_line,
            _ => None,
        }
    }

    /// Whether the same work may succeed when it is tried again as it stands.
    ///
    /// Source of the classes: the PostgreSQL manual, appendix A. A recovery conflict on a replica is 40001,
    /// or a broken connection when the session was idle in its transaction.
    pub fn is_transient(&self) -> bool {
        match &self.kind {
            Kind::Connection(_) => true,
            Kind::Config(_) | Kind::Client(_) => false,
            Kind::Server(error) => {
                let code = error.code.code();
                // 08 connection, 40 rollback (serialization, deadlock, recovery conflict), 53 resources,
                // 55P03 lock not available, 57 operator intervention and time-outs, 25P0x time-outs, 58 system.
                ["08", "40", "53", "57", "58"].contains(&&code[..2])
                    || ["55P03", "25P03", "25P04", "25006"].contains(&code)
            }
        }
    }

    /// Whether the server could not be reached at all.
    pub fn is_unreachable(&self) -> bool {
        matches!(&self.kind, Kind::Connection(_))
    }

    /// Whether a URL or TLS material of the settings cannot be used: no server was asked.
    pub fn is_config(&self) -> bool {
        matches!(&self.kind, Kind::Config(_))
    }

    /// Whether the data or the schema, not the weather, is at fault: trying again cannot help, but another
    /// user's data may pass.
    pub fn is_data(&self) -> bool {
        matches!(&self.kind, Kind::Server(error) if ["21", "22", "23", "P0"].contains(&&error.code.code()[..2]))
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        let kind = if let Some(db) = error.as_db_error() {
            Kind::Server(Box::new(ServerError::new(db)))
        } else if error.is_closed() || caused_by_io(&error) {
            Kind::Connection(chain(&error))
        } else {
            Kind::Client(chain(&error))
        };
        Self { kind, role: "postgres" }
    }
}

impl ServerError {
    fn new(db: &DbError) -> Self {
        use tokio_postgres::error::ErrorPosition;
        let position = match db.position() {
            Some(ErrorPosition::Original(at)) => Some(*at),
            _ => None,
        };
        let copy_line = db.where_().and_then(copy_line);
        Self { code: db.code().clone(), message: safe_message(db), object: object(db), position, copy_line }
    }
}

/// The row of a COPY from which an error came, from a context such as `COPY reminder, line 7: …`. Nothing else of
/// the context is kept: it can quote the row.
fn copy_line(context: &str) -> Option<u64> {
    let copy = context.lines().find(|line| line.starts_with("COPY "))?;
    let (_, line) = copy.split_once(", line ")?;
    line.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The server's message, unless its class quotes values: class 22 (`invalid input syntax for type … "…"`) and
/// class P0 (PL/pgSQL's own RAISE) are replaced by the condition's name.
fn safe_message(db: &DbError) -> String {
    match &db.code().code()[..2] {
        "22" => "data exception".to_owned(),
        // What a function says by RAISE can quote any value.
        "P0" => "exception raised by a function or trigger".to_owned(),
        _ => db.message().to_owned(),
    }
}

fn object(db: &DbError) -> String {
    let parts = [
        ("schema", db.schema()),
        ("table", db.table()),
        ("column", db.column()),
        ("constraint", db.constraint()),
        ("type", db.datatype()),
    ];
    let named: Vec<String> =
        parts.iter().filter_map(|(what, name)| name.map(|name| format!("{what} {name}"))).collect();
    if named.is_empty() { String::new() } else { format!(" ({})", named.join(", ")) }
}

fn caused_by_io(error: &dyn std::error::Error) -> bool {
    error.source().is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Config(text) | Kind::Client(text) => write!(f, "{}: {text}", self.role),
            Kind::Connection(text) => write!(f, "{}: connection failed: {text}", self.role),
            Kind::Server(e) => write!(f, "{}: {} [{}]{}", self.role, e.message, e.code.code(), e.object),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copys_row_is_told_and_its_content_is_not_looked_at() {
        assert_eq!(copy_line("COPY reminder, line 7"), Some(7));
        assert_eq!(copy_line("PL/pgSQL function f()\nCOPY t, line 12, column c: \"x, line 3\""), Some(12));
        assert_eq!(copy_line("SQL statement"), None);
    }
}
