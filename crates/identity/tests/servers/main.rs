//! Identity on a real Postgres and a real Redis. One binary: one link step, one set of servers.

mod mirror;
mod model;
mod outbox;
mod races;
mod support;
mod truth;
