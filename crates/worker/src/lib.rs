//! The runtime of handover's worker processes: it alone joins the queue (Redis) and the engine (Postgres).
//!
//! A [`Driver`] claims jobs of one stage, runs the engine's step on them and settles each by its outcome; the
//! reconciler runs named [`Duty`]s while it leads. Around both stand signals, health, metrics and logging.
//! What a step does, and what follows from it, is the engine's; nothing here touches a user's data.

mod arguments;
mod batch;
pub mod connections;
mod cooldown;
mod driver;
mod duties;
mod exit;
mod held;
mod http;
mod leader;
mod lifecycle;
mod limits;
mod line;
mod logging;
mod metric;
mod panic;
mod presence;
mod program;
mod readiness;
mod reconcile;
mod service;
mod settle;
mod upkeep;
mod vitals;

pub use driver::{Driver, Worker};
pub use duties::Duty;
pub use exit::Exit;
pub use lifecycle::Lifecycle;
pub use limits::Limits;
pub use line::Line;
pub use program::{reconcile_main, reconcile_main_with, stage_main, stage_main_with};
pub use service::identity_main;
pub use vitals::Vitals;

// For `main` of a worker, which depends on this crate alone.
pub use handover_engine::StageName;
pub use handover_transform::Registry;
