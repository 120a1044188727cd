//! A gate stands before an application that lives in two systems at once, and answers for each request: is this
//! user served by legacy, by the new system, or being moved right now?
//!
//! Every writer passes a gate (or its [job guard](Gate::job)); that is what makes a pause a guarantee. A gate
//! caches users' states under a lease, counts what is in flight, and tells those who move a user when it has let
//! go of them. `docs/gate.md` is the guide; this crate knows neither queues nor attempts.
//!
//! [`GateLayer`] is for HTTP services, [`Gate::job`] and [`Gate::sweep`] for background jobs, [`decide`] is the
//! decision itself.

#[doc(hidden)]
pub mod bench;
mod clock;
mod core;
mod decision;
mod error;
mod feed;
mod gate;
mod jobs;
mod layer;
mod member;
mod pass;
mod respond;
mod settings;
#[cfg(feature = "sidecar")]
pub mod sidecar;
mod token;
mod waiting;

pub use clock::Moment;
pub use decision::{Evidence, Kind, Side, Standing, Verdict, believe, decide};
pub use error::Error;
pub use feed::Changes;
pub use gate::{Gate, Refusal};
pub use jobs::{JobGuard, Sweep, TooLate, Turn};
pub use layer::{GateBody, GateLayer, GateService, Subject};
pub use pass::{Decision, Pass};
pub use settings::Settings;
pub use token::PERMIT_HEADER;
