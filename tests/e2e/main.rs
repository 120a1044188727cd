//! End-to-end tests on real servers. Each test's name is its claim.

mod fence;
mod processes;
mod rollback;
mod stages;
mod trouble;
