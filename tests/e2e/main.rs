//! End-to-end tests on real servers. Each test's name is its claim.

mod audit;
mod commands;
mod fence;
mod guard;
mod processes;
mod rollback;
mod stages;
mod takeback;
mod trouble;
mod unrelated;
