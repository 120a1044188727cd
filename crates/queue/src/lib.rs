//! Redis queues for stages of work: a list per stage, jobs held under leases, retries, and the dead.
//!
//! At least once: a job runs until somebody acknowledged it, and may run twice. Redis may be emptied at
//! any time: what should be queued is known elsewhere, and is queued again. This crate knows neither
//! Postgres nor what a job is about; `docs/redis.md` is its contract with operators and autoscalers.
//!
//! ```no_run
//! use std::time::Duration;
//! use handover_queue::{Entry, Queues, RedisTarget, WorkerId};
//!
//! # #[derive(serde::Serialize, serde::Deserialize)] struct Job { user: String }
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let queues = Queues::connect(&RedisTarget::new("redis://localhost/".into())).await?;
//! let job = Job { user: "42".into() };
//! queues.push("copy", &[Entry::new(job, queues.now_ms().await?)]).await?;
//!
//! let (worker, lease) = (WorkerId::new("copy"), Duration::from_secs(30));
//! let mut doorbell = queues.doorbell();
//! while doorbell.wait("copy", Duration::from_secs(60)).await? {
//!     let claimed = queues.claim::<Job>("copy", &worker, 256, lease).await?;
//!     let next: Vec<_> = claimed.jobs.iter().map(|held| {
//!         Entry::new(Job { user: held.entry.job.user.clone() }, held.entry.at)
//!     }).collect();
//!     queues.ack("copy", claimed.jobs, Some(("verify", &next))).await.map_err(|rejected| rejected.error)?;
//! }
//! # Ok(()) }
//! ```

mod backoff;
mod call;
mod company;
mod dead;
mod delivery;
mod doorbell;
mod entry;
mod error;
mod inspect;
mod keys;
mod lease;
mod link;
mod queues;
mod scripts;
mod server;
mod target;
mod workers;

pub use backoff::backoff;
pub use dead::Dead;
pub use delivery::{Claimed, Delivery, Settled, Token};
pub use doorbell::Doorbell;
pub use entry::{Entry, Garbled};
pub use error::{Error, Rejected};
pub use inspect::{Depth, Snapshot};
pub use keys::{Key, Keyspace, Kind};
pub use lease::Recovered;
pub use queues::Queues;
pub use server::ServerFacts;
pub use target::{DEFAULT_DEAD_CAP, DEFAULT_PREFIX, DEFAULT_RESPONSE_TIMEOUT, RedisTarget};
pub use workers::{Worker, WorkerId};
