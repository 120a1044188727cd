//! End-to-end tests on real servers. Each test's name is its claim.

mod fence;
mod rollback;
mod stages;
mod trouble;
