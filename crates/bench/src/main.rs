//! `cargo x bench NAME`: handover beside what it is compared with, in one run, on the same servers and data.
//!
//! Rounds of both take turns; medians, the spread and the ratio are printed, as JSON one object a line. Only ratios
//! of one run mean anything: nothing here compares with figures of another run or another machine.

mod bulk;
mod digest;
mod fleet;
mod gate;
mod giant;
mod peers;
mod queue;
mod report;
mod scale;
mod stage;
mod usage;
mod verified;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, ValueEnum};

use report::Report;

/// Measures handover beside what it is compared with.
#[derive(Parser, Clone, Debug)]
#[command(name = "cargo x bench", bin_name = "cargo x bench")]
struct Arguments {
    /// What is measured
    bench: Bench,
    /// Small sizes: ends within 50 seconds on two cores
    #[arg(long)]
    quick: bool,
    /// One JSON object a line on standard output
    #[arg(long)]
    json: bool,
    /// Rounds of each kind, which take turns
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// `verified`: users a round
    #[arg(long)]
    users: Option<u64>,
    /// `verified`: about so many rows a user
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rows_per_user: u32,
    /// No peers in Python, which are installed into `target/bench-peers`
    #[arg(long)]
    no_peers: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Bench {
    /// Whole handovers of small users, against a blind bulk copy and against jobs in Python
    Verified,
    /// Hashing canonical rows as they stream by, against bare SHA-256
    Digest,
    /// A cached decision, against a plain map and against Redis
    Gate,
    /// Jobs that do nothing through a stage's queue, against raw Redis and other queues
    Queue,
    /// One user with very many rows
    Giant,
    /// Large cohorts: add, launch, status, refill
    Scale,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let report = Report::new(arguments.json);
    match Box::pin(run(&arguments, &report)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments, report: &Report) -> Result<()> {
    match arguments.bench {
        Bench::Verified => Box::pin(verified::run(arguments, report)).await,
        Bench::Digest => Box::pin(digest::run(arguments, report)).await,
        Bench::Gate => gate::run(arguments, report).await,
        Bench::Queue => queue::run(arguments, report).await,
        Bench::Giant => Box::pin(giant::run(arguments, report)).await,
        Bench::Scale => Box::pin(scale::run(arguments, report)).await,
    }
}
