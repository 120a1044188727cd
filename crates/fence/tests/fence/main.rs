//! The database fence on a real Postgres. One binary: one link step, one set of servers.

mod cost;
mod flight;
mod isolation;
mod keys;
mod life;
mod race;
mod replication;
mod support;
mod writes;
