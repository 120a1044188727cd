//! End-to-end tests on real servers. Each test's name is its claim.

mod audit;
mod carry_back;
mod commands;
mod contract;
mod doctor;
mod fence;
mod fence_command;
mod fence_database;
mod fence_fleet;
mod guard;
mod late_writers;
mod ledger;
mod processes;
mod recovery;
mod recovery_breaker;
mod recovery_scale;
mod roles;
mod rollback;
mod secured;
mod stages;
mod stopping;
mod takeback;
mod trouble;
mod unrelated;
