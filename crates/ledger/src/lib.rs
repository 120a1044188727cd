//! The ledger: clients write to the hybrid example application while its users are moved, note what was acknowledged,
//! and at the end all of it must be in the system that owns the user, once.
//!
//! [`traffic`] makes the requests and keeps the history. It knows the application's HTTP interface only: nothing of
//! handover's own code is asked whether a request was served rightly.

pub mod book;
mod client;
pub mod number;
pub mod record;
pub mod register;
pub mod traffic;

pub use record::{History, Kind, Outcome, Record, Side};
