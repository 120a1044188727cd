//! A TCP proxy between a process and a server that fails on command: connections are cut, refused, delayed, held
//! back or silently swallowed, at once, after so many bytes, or at the N-th query.
//!
//! It is for tests and for the chaos run only. It reads just enough of Postgres' and of Redis' protocols to count
//! queries; encrypted connections pass as bytes. It knows no SQL and nothing of handover.

mod address;
mod link;
mod proxy;
mod strike;
mod wire;

pub use proxy::{Error, Handle, Mode, Protocol, Proxy};
pub use strike::{Cut, Strike};
