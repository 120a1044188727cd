//! What the end-to-end tests have in common: one set of real servers a test process, fresh databases and a Redis
//! key prefix of its own for each test, the engine's stages run in-process or as the real worker binaries.
//!
//! A user's way through the stages with nothing between is [`World::drive`]; with Redis and processes,
//! [`crate::fleet`].

mod environment;
pub mod fleet;
mod program;
mod servers;
mod until;
mod world;

pub use environment::Ran;
pub use fleet::{Fleet, PROGRAMS};
pub use program::program;
pub use until::{PATIENCE, until};
pub use world::{Setup, World, plan_dir};
