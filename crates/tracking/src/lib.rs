//! Tracking: cohorts, attempts and their compare-and-set transitions, counters. It lives in the destination,
//! in the schema `handover`, so that what an attempt wrote and how far it came are committed together.
//!
//! It decides nothing: which transition follows which is the engine's. It knows neither Redis nor Identity.

mod attempt;
mod breaker;
mod close;
mod cohort;
mod completed;
mod control;
mod counter;
mod draw;
mod error;
mod launch;
mod leader;
mod member;
mod model;
mod registry;
mod status;
mod stray;
mod user;

pub use attempt::Copied;
pub use breaker::{Limits, Tripped};
pub use close::{Closing, Ended};
pub use cohort::{AddReport, Adding, Clash, ClashKind, CohortInfo, Removed};
pub use completed::Completed;
pub use draw::Drawn;
pub use error::Error;
pub use launch::{Cancelled, Launched, RetryOf};
pub use leader::Leader;
pub use model::{Admission, Claim, Kind, OpenAttempt, OpenState};
pub use registry::StoredPlan;
pub use status::{Status, StatusCounts};
pub use stray::{Due, Standing};
pub use user::{AttemptRecord, OpenRecord, Secret, UserRecord, Whereabouts};

use handover_postgres::{Connection, Pool, Step};

/// The numbered files of the schema `handover`.
const SCHEMA: &[Step] = &[
    ("0001_tracking", include_str!("schema/0001_tracking.sql")),
    ("0002_carry_back", include_str!("schema/0002_carry_back.sql")),
    ("0003_breaker", include_str!("schema/0003_breaker.sql")),
];

/// The tracking tables, reached through a pool on the destination.
#[derive(Clone, Debug)]
pub struct Tracking {
    pool: Pool,
}

impl Tracking {
    /// Tracking in that destination.
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }

    /// The pool on the destination.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }
}

/// Creates the schema `handover`, or brings it up to date; returns the steps applied.
pub async fn install(connection: &mut Connection) -> Result<Vec<String>, Error> {
    Ok(handover_postgres::migrate(connection, "handover", SCHEMA).await?)
}

/// The steps that the schema `handover` still lacks; none where [`install`] has nothing to do.
pub async fn pending(connection: &Connection) -> Result<Vec<&'static str>, Error> {
    Ok(handover_postgres::pending(connection, "handover", SCHEMA).await?)
}
