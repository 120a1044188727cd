//! Identity on a real Postgres and a real Redis. One binary: one link step, one set of servers.

mod adopted;
mod drain;
mod mirror;
mod model;
mod outbox;
mod races;
mod service;
mod support;
mod tls;
mod truth;
