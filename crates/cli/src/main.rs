//! `handover`: what operators do with cohorts, users, queues and Identity.
//!
//! Each command is a file in `commands`; it parses nothing and connects only to the servers that it needs.

mod args;
mod commands;
mod confirm;
mod context;
mod exit;
mod interrupt;
mod named;
mod output;
mod roles;
mod users;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let args = args::Args::parse();
    if let Some(choice) = args.color.forced() {
        console::set_colors_enabled(choice);
        console::set_colors_enabled_stderr(choice);
    }
    log();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::problem(&format!("failed to start: {error}"));
            return exit::Exit::Failed.into();
        }
    };
    let exit = runtime.block_on(interrupt::or_interrupted(commands::run(args)));
    // A thread that still waits for standard input must not hold up the end.
    runtime.shutdown_background();
    exit.into()
}

/// Logs to standard error, but only where `RUST_LOG` asks for it: a command says by itself what matters.
fn log() {
    let asked = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    let Some(filter) = asked.and_then(|filter| EnvFilter::try_new(filter).ok()) else { return };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(console::colors_enabled_stderr())
        .init();
}
