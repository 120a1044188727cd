//! `handover`: what operators do with cohorts, users, queues and Identity.
//!
//! Each command is a file in `commands`; it parses nothing and connects only to the servers that it needs.

mod args;
mod commands;
mod confirm;
mod context;
mod exit;
mod interrupt;
mod output;
mod users;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = args::Args::parse();
    if let Some(choice) = args.color.forced() {
        console::set_colors_enabled(choice);
        console::set_colors_enabled_stderr(choice);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::problem(&format!("failed to start: {error}"));
            return exit::Exit::Failed.into();
        }
    };
    let exit = runtime.block_on(interrupt::or_interrupted(commands::run(args)));
    runtime.shutdown_background();
    exit.into()
}
