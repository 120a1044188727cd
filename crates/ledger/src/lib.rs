//! The ledger: clients write to the hybrid example application while its users are moved, note what was acknowledged,
//! and at the end all of it must be in the system that owns the user, once.
//!
//! [`traffic`] makes the requests and keeps the history; [`ownership`] and [`rows`] observe what became of it; [`check`]
//! judges. None of these asks handover's own code whether anything is right. [`run`] sets it all up, and knows handover.

pub mod book;
pub mod check;
mod client;
pub mod number;
pub mod ownership;
pub mod record;
pub mod register;
pub mod rows;
pub mod run;
pub mod traffic;

pub use record::{History, Kind, Outcome, Record, Side};
