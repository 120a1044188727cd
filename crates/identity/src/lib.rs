//! Identity: who of the users is where. The truth is a table in Postgres, one row a user; a Redis hash
//! mirrors it for those who ask often.
//!
//! [`Truth`] alone changes a state, each change a compare-and-set on the attempt's version. [`Mirror`] alone
//! writes the hash, each write a comparison of revisions. [`Identity`] does one after the other, and an outbox
//! in the truth's database keeps what the mirror has not acknowledged. What may follow what is decided in
//! `state` and `rules`, which do no I/O. The crate knows no stages, cohorts or queues.

mod adopted;
mod client;
mod drain;
mod error;
pub mod http;
mod keys;
mod look_up;
mod mirror;
mod mutant;
mod outcome;
mod record;
mod rules;
mod service;
mod source;
mod state;
mod text;
mod truth;

pub use client::{ClientError, ClientOptions, IdentityClient};
pub use drain::Drained;
pub use error::Error;
pub use keys::{Keys, field_of_user, user_of_field};
pub use look_up::LookUps;
pub use mirror::{
    Difference, DifferenceKind, Mirror, MirrorOptions, Mode, Position, Rebuilt, Renewal, Verification,
};
pub use outcome::{Begin, BeginRollback, Enroll, Flip, Raise, Release, Restore};
pub use record::{Open, Record, Snapshot};
pub use service::{Done, Flushed, Identity, Mirrored, Readiness};
pub use source::{Answer, IdentitySource, LONGEST_TERM, Registration, SourceError, Trust, UserStates};
pub use state::{Event, IllegalEvent, OpenState, State};
pub use text::{Text, TextError};
pub use truth::{Change, Counts, Member, Outbox, OutboxRow, Truth};
