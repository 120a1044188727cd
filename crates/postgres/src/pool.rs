//! A bounded pool of pinned sessions. It is deadpool's, with a manager of our own, since the stock one
//! only logs why a connection ended.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};

use crate::{Connection, Database, Error};

/// How long a caller waits for a free session before that is an error.
const WAIT: Duration = Duration::from_secs(30);

/// A bounded pool of sessions on one server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pool {
    inner: managed::Pool<Manager>,
}

/// A session lent by a [`Pool`]; it goes back when dropped, or is discarded if it has closed.
pub type PooledConnection = Lent;

#[derive(Debug)]
struct Manager(Database);

impl managed::Manager for Manager {
    type Type = Connection;
    type Error = Error;

    async fn create(&self) -> Result<Connection, Error> {
        self.0.connect().await
    }

    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<Error> {
        if connection.is_closed() { Err(RecycleError::message("closed")) } else { Ok(()) }
    }
}

impl Pool {
    pub(crate) fn new(database: Database, max: usize) -> Self {
        let inner = managed::Pool::builder(Manager(database))
            .max_size(max.max(1))
            .wait_timeout(Some(WAIT))
            .runtime(Runtime::Tokio1)
            .build()
            .expect("a runtime is given, which is all that build() checks");
        Self { inner }
    }

    /// The word by which messages name this pool's server.
    pub fn role(&self) -> &'static str {
        self.inner.manager().0.role()
    }

    /// The server's address, for a session outside the pool.
    pub fn database(&self) -> &Database {
        &self.inner.manager().0
    }

    /// A session; waits while all are lent, at most 30 seconds.
    pub async fn get(&self) -> Result<PooledConnection, Error> {
        let busy = |text: String| Error::connection(self.role(), text);
        self.inner.get().await.map(Lent).map_err(|error| match error {
            managed::PoolError::Backend(error) => error,
            other => busy(format!("no session was free: {other}")),
        })
    }
}

/// A session lent by a pool.
#[derive(Debug)]
pub struct Lent(managed::Object<Manager>);

impl Lent {
    /// Takes the session out of the pool for good; dropping it closes the socket. For a session whose state
    /// is unknown: after a refused COPY, or with a statement still running.
    pub fn discard(self) {
        drop(managed::Object::take(self.0));
    }
}

impl Deref for Lent {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.0
    }
}
