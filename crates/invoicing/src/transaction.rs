//! A transaction that ends with the gate's permit: what was not committed by the permit's deadline never is.
//!
//! Once a user's pause has waited for this request, or for its deadline, the user's rows are read and moved. A
//! commit that came later would be a write that nobody moves. So the time-outs stay below the deadline, and the
//! database itself looks at its clock right before it commits.

use std::time::Duration;

use handover_postgres::{Error, Pool, PooledConnection};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::failure::Failure;
use crate::home::Leave;

/// The class is free for applications. Raised by the database where a commit comes late.
const TOO_LATE: &str = "IV001";

/// A transaction. Dropping it closes its session, and the server rolls back.
pub struct Transaction {
    session: Option<PooledConnection>,
    /// How long it may take, by the server's clock, from its beginning.
    lasts: Duration,
}

impl Transaction {
    /// Begins one that may last as long as the leave does.
    pub async fn begin(pool: &Pool, leave: &impl Leave) -> Result<Self, Failure> {
        let session = pool.get().await?;
        let left = milliseconds(leave.remaining()).max(1);
        let sql = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = {left}; SET LOCAL lock_timeout = {left}; \
             SET LOCAL idle_in_transaction_session_timeout = {left}"
        );
        let mut transaction = Self { session: Some(session), lasts: Duration::ZERO };
        transaction.run(&sql).await?;
        // Taken after the answer: the server's transaction began before, so its end by the server's clock is not
        // later than the permit's, and no two clocks are compared.
        transaction.lasts = leave.remaining();
        Ok(transaction)
    }

    /// Rows of a query.
    pub async fn query(
        &mut self,
        sql: &'static str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Failure> {
        let session = self.session()?;
        let statement = session.prepared(sql).await?;
        let rows = session.query(&statement, values).await;
        Ok(rows.map_err(|error| session.explain(error))?)
    }

    /// The row of a query that returns one at most.
    pub async fn query_opt(
        &mut self,
        sql: &'static str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Failure> {
        Ok(self.query(sql, values).await?.into_iter().next())
    }

    /// Commits, unless the leave is over.
    pub async fn commit(mut self) -> Result<(), Failure> {
        // One message, so that nothing but the server stands between the look at the clock and the commit.
        let sql = format!(
            "DO $$ BEGIN IF clock_timestamp() > now() + interval '{} ms' THEN
                 RAISE EXCEPTION USING ERRCODE = '{TOO_LATE}', MESSAGE = 'the permit is over';
             END IF; END $$; COMMIT",
            milliseconds(self.lasts)
        );
        match self.run(&sql).await {
            Ok(()) => {
                // Nothing is open: the session goes back to the pool.
                drop(self.session.take());
                Ok(())
            }
            Err(error) if error.sqlstate().is_some_and(|state| state.code() == TOO_LATE) => {
                Err(Failure::TooLate)
            }
            // The server refused it: a deferred constraint, say.
            Err(error) if error.sqlstate().is_some() && !error.is_transient() => Err(error.into()),
            Err(error) => Err(Failure::Unknown(error)),
        }
    }

    async fn run(&mut self, sql: &str) -> Result<(), Error> {
        let session = self.session()?;
        session.batch_execute(sql).await.map_err(|error| session.explain(error))
    }

    fn session(&mut self) -> Result<&mut PooledConnection, Error> {
        self.session.as_mut().ok_or_else(|| Error::connection("application", "the transaction has ended"))
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        // Given up half-way, perhaps with a statement under way: such a session must not serve another request.
        if let Some(session) = self.session.take() {
            session.discard();
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
