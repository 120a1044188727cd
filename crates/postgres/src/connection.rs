//! A server's address, and one pinned session on it.

use std::collections::HashMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::config::{Config, SslMode};
use tokio_postgres::{Client, Statement};

use crate::Error;
use crate::pool::Pool;
use crate::tls;

/// Bounds that every session carries, so that a stopped or lost client cannot hold what others wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the connection to be made.
    pub connect: Duration,
    /// For one statement; zero is none.
    pub statement: Duration,
    /// For one lock; zero is none.
    pub lock: Duration,
    /// For a transaction whose client says nothing; zero is none.
    pub idle_in_transaction: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            statement: Duration::from_secs(20),
            lock: Duration::from_secs(5),
            idle_in_transaction: Duration::from_secs(20),
        }
    }
}

/// How to reach one server. Its `Debug` shows neither password nor user.
#[derive(Clone)]
pub struct Database {
    role: &'static str,
    config: Config,
    timeouts: Timeouts,
    ca_file: Option<PathBuf>,
}

impl Database {
    /// A server of that `role` (a word for messages: `legacy primary`, `replica`, …).
    pub fn new(role: &'static str, url: &SecretString) -> Result<Self, Error> {
        // The library's parse error can quote the URL, password included, so it is not handed on.
        let config = url.expose_secret().parse::<Config>().map_err(|_| {
            Error::config(role, "the connection URL cannot be read: write postgres://user@host:port/database")
        })?;
        Ok(Self { role, config, timeouts: Timeouts::default(), ca_file: None })
    }

    /// The same server, with other bounds.
    #[must_use]
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// The same server, its certificate verified against the roots in this file.
    #[must_use]
    pub fn with_ca_file(mut self, path: Option<PathBuf>) -> Self {
        self.ca_file = path;
        self
    }

    /// The word by which messages name this server.
    pub fn role(&self) -> &'static str {
        self.role
    }

    /// Opens a session and pins its settings.
    pub async fn connect(&self) -> Result<Connection, Error> {
        let mut config = self.config.clone();
        config.connect_timeout(self.timeouts.connect).options(self.session_options());
        config.keepalives_idle(Duration::from_secs(15)).tcp_user_timeout(Duration::from_secs(20));
        if config.get_application_name().is_none() {
            config.application_name("handover");
        }
        let tls = tls::connector(self.ca_file.as_deref()).map_err(|text| Error::config(self.role, text))?;
        if config.get_ssl_mode() == SslMode::Prefer && self.ca_file.is_some() {
            config.ssl_mode(SslMode::Require);
        }
        let (client, driver) = config.connect(tls).await.map_err(|error| self.failed_to_connect(error))?;
        let end = Arc::new(Mutex::new(None));
        let kept = Arc::clone(&end);
        tokio::spawn(async move {
            // The reason of a closed connection (a recovery conflict, say) is told to this task alone.
            if let Err(error) = driver.await {
                *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(Error::from(error).to_string());
            }
        });
        Ok(Connection { client, role: self.role, end, statements: HashMap::new() })
    }

    /// A pool of at most `max` sessions, made when they are asked for.
    pub fn pool(self, max: usize) -> Pool {
        Pool::new(self, max)
    }

    fn failed_to_connect(&self, error: tokio_postgres::Error) -> Error {
        let error = Error::from(error);
        if error.sqlstate().is_some() || error.is_unreachable() {
            error.of(self.role)
        } else {
            Error::connection(self.role, error.to_string())
        }
    }

    /// What each session is pinned to: no setting of the server, the role or the database changes what a
    /// value's bytes are, which table a name means, or which rows a policy hides (it is an error instead).
    ///
    /// Nor whether an acknowledged commit survives a crash: `synchronous_commit = off`, set for a role or a
    /// database, would let Identity forget a flip that gates have acted on, or tracking a copy that it has
    /// called done. `on` waits for the local flush and for the synchronous standbys that the server names. It is
    /// for all servers alike: those that only read do not commit, and handover's own commits are few and large,
    /// so one flush each costs little. (`remote_apply` is lowered to it, which only concerns when standbys show
    /// a commit: nothing here reads Identity or tracking from a standby.)
    fn session_options(&self) -> String {
        let own = self.config.get_options().unwrap_or_default();
        let ms = |d: Duration| d.as_millis();
        format!(
            "{own} -c client_encoding=UTF8 -c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=postgres \
             -c extra_float_digits=1 -c bytea_output=hex -c search_path=pg_catalog -c row_security=off \
             -c standard_conforming_strings=on -c synchronous_commit=on -c statement_timeout={} -c lock_timeout={} \
             -c idle_in_transaction_session_timeout={}",
            ms(self.timeouts.statement),
            ms(self.timeouts.lock),
            ms(self.timeouts.idle_in_transaction),
        )
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("role", &self.role).finish_non_exhaustive()
    }
}

/// One session. Dropping it closes the socket, and the server rolls back what was open.
pub struct Connection {
    client: Client,
    role: &'static str,
    end: Arc<Mutex<Option<String>>>,
    statements: HashMap<&'static str, Statement>,
}

impl Connection {
    /// The statement, prepared at its first use on this session.
    pub async fn prepared(&mut self, sql: &'static str) -> Result<Statement, Error> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await.map_err(|error| self.explain(error))?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    /// The word by which messages name this session's server.
    pub fn role(&self) -> &'static str {
        self.role
    }

    /// The error with this server's role, and with the connection's own last words where it has closed.
    pub fn explain(&self, error: tokio_postgres::Error) -> Error {
        let last_words = self.end.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match (error.is_closed(), last_words) {
            (true, Some(text)) => Error::connection(self.role, text),
            _ => Error::from(error).of(self.role),
        }
    }
}

impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("role", &self.role).finish_non_exhaustive()
    }
}
