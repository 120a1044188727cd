//! `handover-ledger`: runs the ledger and prints its balance, one line of JSON for each fence and their sum.

mod chaos;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};
use handover_ledger::run::{self, Config, Fence, Outcome};
use tokio::signal::unix::{SignalKind, signal};

/// Exit code after Ctrl-C or SIGTERM.
const INTERRUPTED: u8 = 130;

/// Clients write to the hybrid example application while its users are moved to the new system and back; at the end
/// every acknowledged write must be in the system that owns its user, once.
#[derive(Parser)]
#[command(name = "handover-ledger", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Subcommand)]
enum Command {
    /// The same under random faults of processes, servers and the network
    Chaos(chaos::ChaosArgs),
    /// Judge the kept evidence of a run again
    Judge {
        /// The folder of one fence's run, such as DIR/cooperative
        folder: PathBuf,
    },
}

#[derive(Args)]
struct RunArgs {
    /// What data, traffic and orders are made from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Users who are moved
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(10..=100_000))]
    users: u64,
    /// Minutes of traffic, for each fence
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// Requests a second
    #[arg(long, default_value_t = 120.0)]
    rate: f64,
    /// What makes a pause a guarantee
    #[arg(long, value_enum, default_value_t = Fences::Both)]
    fence: Fences,
    /// One line of JSON for each fence, and their sum last
    #[arg(long)]
    json: bool,
    /// Keep history, rows and logs here, also of a run that balances
    #[arg(long, value_name = "DIR")]
    keep_history: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fences {
    Cooperative,
    Database,
    Both,
}

impl Fences {
    fn each(self) -> &'static [Fence] {
        match self {
            Self::Cooperative => &[Fence::Cooperative],
            Self::Database => &[Fence::Database],
            Self::Both => &[Fence::Cooperative, Fence::Database],
        }
    }
}

#[tokio::main]
#[expect(clippy::print_stderr, reason = "a program's errors go to standard error")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let working = async {
        match &arguments.command {
            Some(Command::Chaos(args)) => Box::pin(chaos::chaos(args)).await,
            Some(Command::Judge { folder }) => judge(folder),
            None => Box::pin(ledger(&arguments.run)).await,
        }
    };
    // Whatever runs ends with its owner: processes are killed, servers are ended and removed.
    let ended = tokio::select! {
        ended = working => ended,
        () = asked_to_end() => return ExitCode::from(INTERRUPTED),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// Returns once Ctrl-C or SIGTERM comes.
async fn asked_to_end() {
    let Ok(mut terminated) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = terminated.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

#[expect(clippy::print_stderr, reason = "where to look is no result")]
async fn ledger(args: &RunArgs) -> Result<ExitCode> {
    let folder = args.keep_history.clone().unwrap_or_else(|| run::own_folder(args.seed));
    let config = Config {
        seed: args.seed,
        users: args.users,
        minutes: args.minutes,
        rate: args.rate,
        folder: folder.clone(),
    };
    let mut sum: Option<Outcome> = None;
    for fence in args.fence.each() {
        let outcome = Box::pin(run::run(&config, *fence)).await?;
        print(&outcome, args.json)?;
        sum = Some(match sum {
            None => Outcome { fence: "sum".to_owned(), ..outcome },
            Some(before) => before.plus(outcome),
        });
    }
    let balances = sum.as_ref().is_some_and(|sum| sum.balances);
    if let Some(sum) = &sum {
        print(sum, args.json)?;
    }
    if !balances {
        eprintln!("the ledger does not balance; its evidence is kept in {}", folder.display());
    } else if args.keep_history.is_none() {
        run::remove(&folder)?;
    }
    Ok(if balances { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[expect(clippy::print_stdout, reason = "the result is what this program prints")]
fn print(outcome: &impl serde::Serialize, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(outcome)?);
        return Ok(());
    }
    for (name, value) in serde_json::to_value(outcome)?.as_object().into_iter().flatten() {
        println!("{name:24} {value}");
    }
    println!();
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the result is what this program prints")]
fn judge(folder: &std::path::Path) -> Result<ExitCode> {
    let verdict = run::judge_folder(folder)?;
    println!("{}", serde_json::to_string(&verdict)?);
    Ok(if verdict.balances() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
