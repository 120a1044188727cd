//! One file a command or family of commands.

mod audit;
mod audit_sql;
mod cohort;
mod control;
mod dead;
pub(crate) mod demo;
mod doctor;
mod fence;
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
use handover_settings::Server;

use crate::args::{Args, CohortCommand, Command, DeadCommand, FenceCommand, IdentityCommand, PlanCommand};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{self, Output};

/// Runs the command that was given.
pub(crate) async fn run(args: Args) -> Result<Exit> {
    let output = Output::new(args.json);
    match args.command {
        Command::Completions { shell } => return completions(shell),
        Command::Demo(demo) => return Box::pin(demo::run(demo, output)).await,
        _ => {}
    }
    let context = Context::new(args.config.as_deref(), output, args.yes, servers(&args.command))?;
    Box::pin(dispatch(&context, args.command)).await.map_err(|error| context.explain(error))
}

async fn dispatch(context: &Context, command: Command) -> Result<Exit> {
    match command {
        Command::Init(args) => init::run(context, &args).await,
        Command::Doctor => doctor::run(context).await,
        Command::Plan(command) => plan::run(context, command).await,
        Command::Cohort(command) => cohort::run(context, command).await,
        Command::Launch(args) => launch::run(context, &args).await,
        Command::Status(args) => status::run(context, &args).await,
        Command::Hold(args) => control::hold(context, &args).await,
        Command::Release(args) => control::release(context, &args).await,
        Command::Cancel(args) => control::cancel(context, &args).await,
        Command::Retry(args) => control::retry(context, &args).await,
        Command::Rollback(args) => rollback::run(context, &args).await,
        Command::User(command) => user::run(context, command).await,
        Command::Queues => queues::run(context).await,
        Command::Dead(command) => dead::run(context, command).await,
        Command::Fence(command) => fence::run(context, command).await,
        Command::Identity(command) => identity::run(context, command).await,
        Command::Audit(args) => audit::run(context, &args).await,
        Command::AuditSql(args) => audit_sql::run(context, &args).await,
        Command::Completions { .. } | Command::Demo(_) => Ok(Exit::Done),
    }
}

/// The servers that a command connects to; each must have a URL before anything is done.
fn servers(command: &Command) -> &'static [Server] {
    use Server::{Destination, Identity, LegacyPrimary, LegacyReplica, Redis};
    match command {
        Command::Doctor => &Server::ALL,
        Command::Init(args) if args.no_check && !args.print_roles => &[Destination, Identity],
        Command::Init(_) => &[LegacyPrimary, Destination, Identity],
        Command::Rollback(args) if args.carry_back => &[LegacyPrimary, Destination],
        Command::Audit(_) | Command::Fence(FenceCommand::Install { .. }) => {
            &[LegacyPrimary, LegacyReplica, Destination]
        }
        Command::Fence(_) | Command::Plan(PlanCommand::Check { offline: false, .. }) => {
            &[LegacyPrimary, Destination]
        }
        Command::Plan(_) | Command::Completions { .. } | Command::Demo(_) => &[],
        Command::Cohort(CohortCommand::Add { .. }) | Command::User(_) => &[Destination, Identity],
        Command::Queues | Command::Dead(DeadCommand::List { .. } | DeadCommand::Drop { .. }) => &[Redis],
        Command::Dead(DeadCommand::Retry { .. }) => &[Destination, Redis],
        Command::Identity(IdentityCommand::Get { .. } | IdentityCommand::Enroll { .. }) => {
            &[Destination, Identity, Redis]
        }
        Command::Identity(_) => &[Identity, Redis],
        _ => &[Destination],
    }
}

fn completions(shell: clap_complete::Shell) -> Result<Exit> {
    // Into memory first: the generator panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "handover", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Exit::Done)
}
