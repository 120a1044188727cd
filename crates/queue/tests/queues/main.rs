//! Tests of the queues on real, private redis-servers. Each test's name is the claim it proves.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod at_least_once;
mod contract;
mod dead;
mod doorbell;
mod faults;
mod garbled;
mod inspect;
mod poison;
mod support;
mod tls;
mod workers;
