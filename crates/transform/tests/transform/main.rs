//! Fills through the public interface: what they write, what they refuse, and whether a real Postgres agrees.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not take for tests")]

mod fills;
mod malformed;
mod refusals;
mod rows;
mod server;
