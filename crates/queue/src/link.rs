//! The two ways in which plain calls reach Redis: one shared connection for the workers' hot path, and
//! a small pool for background work. Blocking calls use neither: see `doorbell`.
//!
//! The client library's `ConnectionManager` is not used: it keeps a connection on which an answer timed
//! out, and so stays with a server that a failover has cut off.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deadpool_redis::{Manager, Pool, PoolError, Runtime};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue};
use tokio::sync::Mutex;

use crate::call::Call;
use crate::error::Error;
use crate::target::{CONNECT_TIMEOUT, connect, connection_config};

/// One multiplexed connection, which is replaced once a call has shown it to be broken. A call that
/// failed is never sent again: it may have been done.
pub(crate) struct Link {
    client: Client,
    config: AsyncConnectionConfig,
    patience: Duration,
    slot: Mutex<Slot>,
    /// Attempts to connect so far, readable without the lock.
    attempts: AtomicU64,
}

#[derive(Default)]
struct Slot {
    connection: Option<MultiplexedConnection>,
    /// Grows with each connection, so that only the broken one is thrown away.
    number: u64,
    failure: Option<Error>,
}

impl Link {
    pub(crate) fn new(client: Client, patience: Duration) -> Self {
        Self {
            client,
            config: connection_config(Some(patience)),
            patience,
            slot: Mutex::default(),
            attempts: AtomicU64::new(0),
        }
    }

    /// Sends `call` and reads its answer.
    pub(crate) async fn call<V: FromRedisValue>(&self, call: Call<'_>) -> Result<V, Error> {
        let (number, mut connection) = self.connection().await?;
        let result = call.send(&mut connection, self.patience).await;
        if let Err(error) = &result
            && error.spoils_connection()
        {
            self.discard(number).await;
        }
        result
    }

    async fn connection(&self) -> Result<(u64, MultiplexedConnection), Error> {
        let seen = self.attempts.load(Ordering::Acquire);
        let mut slot = self.slot.lock().await;
        if let Some(connection) = &slot.connection {
            return Ok((slot.number, connection.clone()));
        }
        // Whoever waited for the lock while another's attempt failed shares that failure: else many
        // callers would each wait for an attempt of their own, one after the other.
        if self.attempts.load(Ordering::Acquire) != seen
            && let Some(failure) = &slot.failure
        {
            return Err(failure.clone());
        }
        let attempt = connect(&self.client, &self.config).await;
        self.attempts.fetch_add(1, Ordering::AcqRel);
        match attempt {
            Ok(connection) => {
                slot.number += 1;
                slot.connection = Some(connection.clone());
                Ok((slot.number, connection))
            }
            Err(error) => {
                slot.failure = Some(error.clone());
                Err(error)
            }
        }
    }

    async fn discard(&self, number: u64) {
        let mut slot = self.slot.lock().await;
        if slot.number == number {
            slot.connection = None;
        }
    }
}

/// How many connections background work may use at once.
const POOL_SIZE: usize = 4;
/// A chunk of a snapshot is larger than a claim, and nobody waits for it.
const BACKGROUND_PATIENCE: Duration = Duration::from_secs(10);

/// A pool for recovery, promotion, inspection and the like. Here a pool is right: the calls are rare, some
/// answers are large and would hold up the claims behind them on a shared connection, and a connection
/// that idled is checked before it is used. On the hot path that check is a round trip for nothing.
pub(crate) struct Background {
    pool: Pool,
}

impl Background {
    pub(crate) fn new(client: &Client) -> Result<Self, Error> {
        let unusable = |error: &dyn std::fmt::Display| Error::Settings(error.to_string());
        let info = client.get_connection_info().clone();
        // The pool's own configuration cannot set the response time-out; its manager can.
        let manager = Manager::new_with_config(info, connection_config(Some(BACKGROUND_PATIENCE)))
            .map_err(|error| unusable(&error))?;
        let pool = Pool::builder(manager)
            .max_size(POOL_SIZE)
            .wait_timeout(Some(BACKGROUND_PATIENCE))
            .create_timeout(Some(CONNECT_TIMEOUT))
            .recycle_timeout(Some(CONNECT_TIMEOUT))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| unusable(&error))?;
        Ok(Self { pool })
    }

    /// Sends `call` and reads its answer.
    pub(crate) async fn call<V: FromRedisValue>(&self, call: Call<'_>) -> Result<V, Error> {
        let mut connection = self.pool.get().await.map_err(|error| from_pool(&error))?;
        let result = call.send(&mut connection, BACKGROUND_PATIENCE).await;
        if let Err(error) = &result
            && error.spoils_connection()
        {
            drop(deadpool_redis::Connection::take(connection));
        }
        result
    }
}

fn from_pool(error: &PoolError) -> Error {
    match error {
        PoolError::Backend(error) => Error::from_redis(error, CONNECT_TIMEOUT),
        PoolError::Timeout(_) => Error::Silent(BACKGROUND_PATIENCE),
        other => Error::Unreachable(other.to_string()),
    }
}
