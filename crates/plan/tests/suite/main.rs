//! Plans from outside: reading them, checking them on real servers, and what the documents say of them.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as its tests do")]

mod common;
mod documents;
mod live;
mod reading;
