//! Canonical rows and digests: the form in which both systems' rows are compared.
//!
//! A canonical row is what `COPY … TO STDOUT (FORMAT binary)` carries for the plan's declared columns: for each
//! one a big-endian length and the value as Postgres' binary send function writes it. So a row is hashed straight
//! from the wire, without decoding, and the same digest can be computed inside Postgres in plain SQL
//! ([`audit_sql`]). The format is specified byte by byte in `docs/digest.md`.
//!
//! This crate does no I/O, knows no plans, and never looks inside a value, but for an array's header.

mod digest;
mod hash;
mod key;
mod layout;
mod types;

pub mod audit_sql;
pub mod copy;

pub use copy::WireError;
pub use digest::{Digest, FORMAT_VERSION, user_digest};
pub use hash::{EntityHash, RowHash, RowHasher};
pub use key::{KeyBlock, KeyBlockError};
pub use layout::{Column, Layout, LayoutError};
pub use types::{Scalar, Type, TypeError};
