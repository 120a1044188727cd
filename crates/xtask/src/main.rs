//! The project's own tasks: `cargo x check`, `cargo x tidy`, `cargo x test`, `cargo x ledger`, `cargo x chaos`, `cargo x bench`
//! and `cargo demo`.
//!
//! It starts cargo, the package manager and the built binaries, and reads what they print. It does not know the
//! project's own crates, and its dependencies stay few, because `cargo demo` builds it before anything else.

mod cargo;
mod check;
mod compose;
mod demo;
mod direction;
mod licences;
mod metadata;
mod steps;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's tasks.
#[derive(Parser)]
#[command(name = "cargo x", bin_name = "cargo x", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Everything that must hold before a push, tests apart: format, clippy, docs, dependencies, tidy, compose.
    Check(check::Options),
    /// Our own style checks alone; they need no build and take a second.
    Tidy,
    /// Installs what the tests need, builds all binaries and runs every test.
    Test(test::Options),
    /// Builds all binaries and runs `handover demo` with the arguments that follow.
    Demo(demo::Options),
    /// Builds all binaries and runs `handover-ledger`: clients write while their users are moved, and all must balance.
    Ledger(demo::Options),
    /// The same as `cargo x ledger chaos`: the ledger while processes, servers and the network fail at random.
    Chaos(demo::Options),
    /// Builds all binaries and runs `handover-bench`: handover beside what it is compared with, in one run.
    Bench(demo::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Check(options) => check::run(&options),
        Task::Tidy => tidy::run(),
        Task::Test(options) => test::run(&options),
        Task::Demo(options) => demo::run(&options),
        Task::Ledger(options) => demo::ledger(&options),
        Task::Chaos(options) => demo::chaos(&options),
        Task::Bench(options) => demo::bench(&options),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
