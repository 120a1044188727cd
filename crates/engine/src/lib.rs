//! The stages as steps over source, destination, tracking and Identity, and what the reconciler decides.
//!
//! A step is given jobs and claims each attempt in Postgres before it acts; it may be given any job twice, late,
//! or after a newer one. The engine knows no Redis: where jobs come from and where they go next is the
//! worker runtime's.

mod audit;
mod bound;
mod bundle;
mod carry;
mod compare;
mod context;
mod error;
mod fence;
mod job;
mod position;
mod reason;
mod reconcile;
mod removal;
mod rows;
mod scan;
mod stages;
mod takeback;

pub use audit::{Alarm, Auditor, Escape, Escaped, Values};
pub use bound::{Bound, Plans};
pub use carry::{grants as carry_back_grants, install as install_carry_back};
pub use context::{Engine, Options};
pub use error::Error;
pub use fence::{Fence, Mended};
pub use job::{Job, Outcome, StageName, Step};
pub use position::{Position, Server};
pub use reconcile::Settled;
pub use stages::{Complete, Copy, Pause, Rollback, Verify};
