//! The sidecar as a process, with a real Redis and a real Identity's service. One binary: one link step, one set of
//! servers.

mod client;
mod docs;
mod loss;
mod native;
mod nginx;
mod programs;
mod proxy;
mod stage;
