//! One file a command or family of commands.

mod audit_sql;
mod cohort;
mod control;
mod dead;
pub(crate) mod demo;
mod identity;
mod init;
mod launch;
mod plan;
mod queues;
mod rollback;
mod status;
mod user;

use anyhow::Result;
use clap::CommandFactory;

use crate::args::{Args, Command};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::Output;

/// Runs the command that was given.
pub(crate) async fn run(args: Args) -> Result<Exit> {
    let output = Output::new(args.json);
    match args.command {
        Command::Completions { shell } => return Ok(completions(shell)),
        Command::Demo(demo) => return demo::run(demo, output).await,
        _ => {}
    }
    let context = Context::new(args.config.as_deref(), output, args.yes)?;
    match args.command {
        Command::Init(args) => init::run(&context, &args).await,
        Command::Plan(command) => plan::run(&context, command).await,
        Command::Cohort(command) => cohort::run(&context, command).await,
        Command::Launch(args) => launch::run(&context, &args).await,
        Command::Status(args) => status::run(&context, &args).await,
        Command::Hold(args) => control::hold(&context, &args).await,
        Command::Release(args) => control::release(&context, &args).await,
        Command::Cancel(args) => control::cancel(&context, &args).await,
        Command::Retry(args) => control::retry(&context, &args).await,
        Command::Rollback(args) => rollback::run(&context, &args).await,
        Command::User(command) => user::run(&context, command).await,
        Command::Queues => queues::run(&context).await,
        Command::Dead(command) => dead::run(&context, command).await,
        Command::Identity(command) => identity::run(&context, command).await,
        Command::AuditSql(args) => audit_sql::run(&context, &args).await,
        Command::Completions { .. } | Command::Demo(_) => Ok(Exit::Done),
    }
}

fn completions(shell: clap_complete::Shell) -> Exit {
    clap_complete::generate(shell, &mut Args::command(), "handover", &mut std::io::stdout());
    Exit::Done
}
