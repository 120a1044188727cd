//! Tracking's SQL on a real Postgres. Each test has a database of its own.

mod admission;
mod cohorts;
mod control;
mod drawing;
mod model;
mod races;
mod support;
mod transitions;
