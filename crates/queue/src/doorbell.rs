//! Waiting for a job without asking again and again, and without taking it.
//!
//! The wait is a `BLMOVE` from the queue's right end to its right end: it returns the moment a job is
//! there, and moves nothing. So a client that gave up, whose wait Redis still serves, loses no job either.

use std::time::Duration;

use redis::Client;
use redis::aio::MultiplexedConnection;

use crate::call::Call;
use crate::error::Error;
use crate::keys::Keyspace;
use crate::queues::Queues;
use crate::target::{connect, connection_config};

/// How long one command blocks at most. A dead connection is noticed after this and [`SLACK`].
const BLOCK: Duration = Duration::from_secs(5);
/// By how much an answer may be late before the connection is taken for dead.
const SLACK: Duration = Duration::from_secs(2);
/// Redis takes a time-out that rounds to zero as "for ever".
const SHORTEST: Duration = Duration::from_millis(10);

/// Tells an idle worker when its stage has a job. Has a connection of its own: a blocking command on a
/// shared one would hold up everything behind it, and a pool would hand on one that still blocks.
pub struct Doorbell {
    client: Client,
    keys: Keyspace,
    connection: Option<MultiplexedConnection>,
}

impl Queues {
    /// A doorbell for one waiting task. It connects when it is first used.
    pub fn doorbell(&self) -> Doorbell {
        Doorbell { client: self.inner.client.clone(), keys: self.inner.keys.clone(), connection: None }
    }
}

impl Doorbell {
    /// Waits until `stage` has a job to claim, and says so by `true`; or until `at_most` has passed.
    ///
    /// A future that is dropped closes the connection. So does an error, also the one for a server that
    /// fell silent; the next call connects anew. Callers pause between errors.
    pub async fn wait(&mut self, stage: &str, at_most: Duration) -> Result<bool, Error> {
        let mut left = at_most;
        loop {
            let block = left.clamp(SHORTEST, BLOCK);
            if self.block(stage, block).await? {
                return Ok(true);
            }
            left = left.saturating_sub(block);
            if left.is_zero() {
                return Ok(false);
            }
        }
    }

    async fn block(&mut self, stage: &str, block: Duration) -> Result<bool, Error> {
        // Out of `self` for as long as the command runs: a future that is dropped takes the connection
        // along, and no later call queues up behind a command that still blocks.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            // No response time-out: the client's would end before the server's, and nobody would know.
            None => connect(&self.client, &connection_config(None)).await?,
        };
        let key = self.keys.queue(stage);
        let call = Call::command("BLMOVE", key.clone())
            .arg(key.name())
            .arg("RIGHT")
            .arg("RIGHT")
            .arg(block.as_secs_f64());
        let patience = block + SLACK;
        let answer = tokio::time::timeout(patience, call.send(&mut connection, patience)).await;
        let entry: Option<Vec<u8>> = answer.map_err(|_| Error::Silent(patience))??;
        self.connection = Some(connection);
        Ok(entry.is_some())
    }
}

impl std::fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doorbell").field("connected", &self.connection.is_some()).finish_non_exhaustive()
    }
}
