//! How every part of handover reaches Postgres: one way to connect, pin a session's settings, pool,
//! apply numbered schema files, and turn errors into text that never holds a user's values.
//!
//! It knows nothing of migrations, users or stages.

mod connection;
mod error;
mod ident;
mod pool;
mod schema;
mod tls;

pub use connection::{Connection, Database, Timeouts};
pub use error::Error;
pub use ident::{QualifiedName, quote_ident, quote_literal};
pub use pool::{Pool, PooledConnection};
pub use schema::{Step, migrate, pending};
