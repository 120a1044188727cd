//! `handover-ledger chaos`: runs seeds under faults, and prints one line of JSON for each run.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};
use handover_ledger::run::{self, Config, Fence, chaos};

/// What a chaos run is made of.
#[derive(Args)]
pub(crate) struct ChaosArgs {
    /// What data, traffic, orders and faults are made from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Users who are moved
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(10..=100_000))]
    users: u64,
    /// Minutes of traffic and faults
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// Requests a second
    #[arg(long, default_value_t = 60.0)]
    rate: f64,
    /// What makes a pause a guarantee; the database fence for even seeds, where nothing is said
    #[arg(long, value_enum)]
    fence: Option<One>,
    /// Run the seed so often, or until a run does not balance
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// One line of JSON for each run
    #[arg(long)]
    json: bool,
    /// Keep history, rows and logs here, also of a run that balances
    #[arg(long, value_name = "DIR")]
    keep_history: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum One {
    Cooperative,
    Database,
}

impl From<One> for Fence {
    fn from(one: One) -> Self {
        match one {
            One::Cooperative => Self::Cooperative,
            One::Database => Self::Database,
        }
    }
}

/// Runs a seed once or more; the first run that is not as it must be is the last, and its evidence is kept.
pub(crate) async fn chaos(args: &ChaosArgs) -> Result<ExitCode> {
    let fence = args.fence.map_or_else(|| chaos::fence_of(args.seed), Fence::from);
    for _ in 0..args.repeat {
        let folder = args.keep_history.clone().unwrap_or_else(|| run::own_folder(args.seed));
        let config = Config {
            seed: args.seed,
            users: args.users,
            minutes: args.minutes,
            rate: args.rate,
            folder: folder.clone(),
        };
        match Box::pin(chaos::run(&config, fence)).await {
            Ok(outcome) => {
                crate::print(&outcome, args.json)?;
                if !outcome.balances {
                    say(&format!("it does not balance; {}", chaos::again(&config, fence)));
                    return Ok(ExitCode::FAILURE);
                }
            }
            Err(error) => {
                say(&format!("the run came to no verdict; {}", chaos::again(&config, fence)));
                return Err(error);
            }
        }
        if args.keep_history.is_none() {
            run::remove(&folder)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stderr, reason = "where to look is no result")]
fn say(text: &str) {
    eprintln!("{text}");
}
