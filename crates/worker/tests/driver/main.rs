//! The driver with a step that does as it is told, on real, private redis-servers and without a database.
//! Each test's name is the claim it proves.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod faults;
mod settling;
mod signals;
mod support;
