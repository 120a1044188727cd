//! One leads, the others stand by: a session-level advisory lock in the destination. The server ends a leader's session
//! that is silent for longer than its lease: a process that was stopped, or whose host has gone, leads no longer.

use std::time::Duration;

use handover_postgres::Connection;

use crate::{Error, Tracking};

/// The lock's key ("reconcil" in ASCII).
const KEY: i64 = 0x7265_636f_6e63_696c;

/// The proof of leading: the session that holds the lock. It is lost with the session, and given up when dropped.
#[derive(Debug)]
pub struct Leader {
    session: Connection,
}

impl Tracking {
    /// Leads, if nobody else does, for as long as [`Leader::still_leads`] is asked more often than once in `lease`.
    pub async fn try_lead(&self, lease: Duration) -> Result<Option<Leader>, Error> {
        let session = self.pool.database().connect().await?;
        let lease = format!("SET idle_session_timeout = {}", lease.as_millis());
        session.batch_execute(&lease).await?;
        let got: bool = session.query_one("SELECT pg_try_advisory_lock($1)", &[&KEY]).await?.get(0);
        Ok(got.then_some(Leader { session }))
    }
}

impl Leader {
    /// Whether the lock is still held: a round trip on its own session.
    pub async fn still_leads(&self) -> bool {
        self.session.query_one("SELECT 1", &[]).await.is_ok()
    }
}
