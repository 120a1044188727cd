//! One transaction on one server that is always rolled back, and statements in it that may fail.
//!
//! Settings are pinned here too, so that a check says the same on any session.

use std::future::Future;

use handover_postgres::Error;
use tokio_postgres::Client;
use tokio_postgres::error::{DbError, ErrorPosition, SqlState};

use crate::KeyType;

/// A server's refusal of a statement of the plan.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: SqlState,
    pub(super) message: String,
    pub(super) hint: Option<String>,
    /// The character of the statement, from 1.
    pub(super) position: Option<u32>,
}

/// A session in a transaction.
pub(super) struct Session<'c> {
    client: &'c Client,
    /// Whether the server is a standby, where nothing can be created.
    pub(super) is_standby: bool,
    /// Whether the role may create temporary views and tables.
    pub(super) may_create_temporary: bool,
    /// `server_version_num`.
    pub(super) version: i32,
}

impl<'c> Session<'c> {
    /// Begins the transaction. The caller must [`Session::end`] it, whatever happens in between.
    pub(super) async fn begin(client: &'c Client, key: KeyType) -> Result<Self, Error> {
        let facts = client
            .query_one(
                "SELECT pg_is_in_recovery(), has_database_privilege(current_database(), 'TEMPORARY'), \
                 current_setting('server_version_num')::int4",
                &[],
            )
            .await?;
        let is_standby = facts.get(0);
        let mode = if is_standby { "READ ONLY" } else { "READ WRITE" };
        // A lock that someone else waits for must not wait for us, and we not long for one.
        let settings = "SET LOCAL search_path = pg_catalog; SET LOCAL row_security = off; \
                        SET LOCAL standard_conforming_strings = on; SET LOCAL lock_timeout = '3s'";
        client.batch_execute(&format!("BEGIN ISOLATION LEVEL READ COMMITTED {mode}; {settings}")).await?;
        let session = Self { client, is_standby, may_create_temporary: facts.get(1), version: facts.get(2) };
        let users = key.array_literal([sample_key(key)]);
        client.execute("SELECT set_config('handover.users', $1, true)", &[&users]).await?;
        Ok(session)
    }

    /// Rolls everything back.
    pub(super) async fn end(client: &Client) -> Result<(), Error> {
        Ok(client.batch_execute("ROLLBACK").await?)
    }

    pub(super) fn client(&self) -> &'c Client {
        self.client
    }

    /// Whether temporary objects can be made here.
    pub(super) fn can_create(&self) -> bool {
        !self.is_standby && self.may_create_temporary
    }

    /// Runs what may be refused. A refusal leaves the transaction usable; a lost connection, a time-out and
    /// the like are errors.
    pub(super) async fn attempt<T>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<Result<T, Refusal>, Error> {
        self.client.batch_execute("SAVEPOINT handover_check").await?;
        match work.await {
            Ok(value) => {
                self.client.batch_execute("RELEASE SAVEPOINT handover_check").await?;
                Ok(Ok(value))
            }
            Err(error) => match error.as_db_error().map(Refusal::from) {
                Some(refusal) if !handover_postgres::Error::from(error).is_transient() => {
                    self.client
                        .batch_execute(
                            "ROLLBACK TO SAVEPOINT handover_check; RELEASE SAVEPOINT handover_check",
                        )
                        .await?;
                    Ok(Err(refusal))
                }
                Some(refusal) => Err(Error::connection("check", refusal.message)),
                None => Err(Error::connection("check", "the connection broke during the check")),
            },
        }
    }
}

/// A key that no plan's user need have: only plans are asked for with it.
fn sample_key(key: KeyType) -> &'static str {
    match key {
        KeyType::Int8 | KeyType::Text => "1",
        KeyType::Uuid => "00000000-0000-0000-0000-000000000001",
    }
}

impl From<&DbError> for Refusal {
    fn from(error: &DbError) -> Self {
        let position = match error.position() {
            Some(ErrorPosition::Original(at)) => Some(*at),
            _ => None,
        };
        Self {
            code: error.code().clone(),
            message: error.message().to_owned(),
            hint: error.hint().map(str::to_owned),
            position,
        }
    }
}

impl Refusal {
    /// What to do about it.
    pub(super) fn remedy(&self) -> String {
        let own = match &self.code {
            code if *code == SqlState::UNDEFINED_TABLE => {
                "write the table with its schema: the search path holds pg_catalog alone"
            }
            code if *code == SqlState::UNDEFINED_FUNCTION => {
                "cast the arguments, or write the function with its schema: the search path holds pg_catalog alone"
            }
            code if *code == SqlState::UNDEFINED_OBJECT => {
                "write the type or operator with its schema: the search path holds pg_catalog alone"
            }
            code if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
                "grant the privilege to the role that handover connects with; where row policies are in the way, BYPASSRLS"
            }
            _ => "correct the SQL; try it in psql after SET search_path = pg_catalog",
        };
        match &self.hint {
            Some(hint) => format!("{hint} {own}"),
            None => own.to_owned(),
        }
    }

    pub(super) fn is_privilege(&self) -> bool {
        self.code == SqlState::INSUFFICIENT_PRIVILEGE
    }
}
