//! One leads, the others stand by: a session-level advisory lock in the destination.

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
    /// Leads, if nobody else does.
    pub async fn try_lead(&self) -> Result<Option<Leader>, Error> {
        let session = self.pool.database().connect().await?;
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
