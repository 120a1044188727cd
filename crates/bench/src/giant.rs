//! One user with very many rows: rows a second against the bulk pipe, the workers' memory, the pause.

use anyhow::Result;

use crate::fleet::Fleet;
use crate::report::{Line, Report, Series, say};
use crate::stage::Stage;
use crate::{Arguments, bulk};

/// Rows of the giant.
const QUICK: [u32; 2] = [10_000, 100_000];
const FULL: [u32; 3] = [10_000, 1_000_000, 10_000_000];

/// A giant is paused, and its statements run, for longer than a small user's may.
const PATIENCE: [(&str, &str); 5] = [
    ("FENCE__DATABASE", "false"),
    ("PAUSE__MAX_PAUSE", "2h"),
    ("POSTGRES__STATEMENT_TIMEOUT", "1h"),
    ("POSTGRES__IDLE_IN_TRANSACTION_TIMEOUT", "1h"),
    ("COPY__REPLICA_WAIT", "60s"),
];

pub(crate) async fn run(arguments: &Arguments, report: &Report) -> Result<()> {
    let sizes: &[u32] = if arguments.quick { &QUICK } else { &FULL };
    for rows in sizes {
        report.print(&Box::pin(giants(*rows, u64::from(arguments.rounds))).await?)?;
    }
    Ok(())
}

/// As many giants as rounds, one after the other.
async fn giants(rows: u32, rounds: u64) -> Result<Line> {
    let stage = Stage::start(rounds, rows).await?;
    bulk::install(&stage.sandbox.legacy_url(), &stage.sandbox.destination_url()).await?;
    let mut fleet = Fleet::new(&stage.sandbox, &PATIENCE)?;
    fleet.start_workers(&stage.sandbox)?;
    let (mut ours, mut theirs, mut pauses, mut total) =
        (Series::default(), Series::default(), Series::default(), 0.0);
    for user in 1..=rounds {
        say(&format!("giant: {rows} rows, round {user} of {rounds}"));
        let began = std::time::Instant::now();
        let copied =
            bulk::copy(&stage.sandbox.replica_url(), &stage.sandbox.destination_url(), &(user..=user))
                .await?;
        theirs.push(copied / began.elapsed().as_secs_f64());
        let cohort = stage.cohort(&format!("giant-{user}"), user..=user).await?;
        let moved = stage.move_users(&mut fleet, &cohort, user..=user).await?;
        ours.push(moved.rows / moved.seconds);
        pauses.push(moved.pause.0);
        total += moved.rows;
    }
    let peak = fleet.peak_mib();
    bulk::same_rows(&stage.sandbox.destination_url()).await?;
    fleet.stop().await;
    stage.sandbox.stop().await;
    Ok(Line::new("giant")
        .with("rows", (total / rounds as f64).round())
        .with("rounds", rounds)
        .series("rows_per_s", &ours)
        .series("bulk_rows_per_s", &theirs)
        .series("ratio", &ours.over(&theirs))
        .with("worker_rss_mib", crate::report::rounded(peak))
        .series("pause_ms", &pauses))
}
