//! Tracking's SQL on a real Postgres. Each test has a database of its own.
//!
//! `cfg(test)`, which always holds here, tells clippy that helpers are tests too and may unwrap.

#[cfg(test)]
mod admission;
#[cfg(test)]
mod cohorts;
#[cfg(test)]
mod control;
#[cfg(test)]
mod drawing;
#[cfg(test)]
mod model;
#[cfg(test)]
mod races;
#[cfg(test)]
mod support;
#[cfg(test)]
mod transitions;
