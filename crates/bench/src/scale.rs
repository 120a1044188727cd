//! Large cohorts: what adding, launching and looking cost as the number of users grows, what a user costs beside the bulk
//! pipe, and how long an emptied Redis takes to be filled again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::fleet::Fleet;
use crate::report::{Line, Report, Series, percentile, rounded, say};
use crate::stage::Stage;
use crate::{Arguments, bulk};

/// Users of a cohort.
const QUICK: [u64; 2] = [1_000, 4_000];
const FULL: [u64; 3] = [10_000, 100_000, 1_000_000];

/// A few rows each: what is measured here is the cost of users, not of rows.
const ROWS_PER_USER: u32 = 3;

const LOOKS: usize = 50;

pub(crate) async fn run(arguments: &Arguments, report: &Report) -> Result<()> {
    let sizes: &[u64] = if arguments.quick { &QUICK } else { &FULL };
    for users in sizes {
        report.print(&Box::pin(cohorts(*users, u64::from(arguments.rounds))).await?)?;
    }
    Ok(())
}

/// As many cohorts of that size as rounds. Tracking keeps the earlier ones, as an installation does.
async fn cohorts(users: u64, rounds: u64) -> Result<Line> {
    let stage = Stage::start(users * rounds, ROWS_PER_USER).await?;
    bulk::install(&stage.sandbox.legacy_url(), &stage.sandbox.destination_url()).await?;
    let mut fleet = Fleet::new(&stage.sandbox, &[])?;
    fleet.start_workers(&stage.sandbox)?;
    let [mut adds, mut launches, mut looks, mut rates, mut ours, mut theirs]: [Series; 6] =
        Default::default();
    for round in 0..rounds {
        say(&format!("scale: {users} users, round {} of {rounds}", round + 1));
        let range = round * users + 1..=(round + 1) * users;
        let began = Instant::now();
        let copied =
            bulk::copy(&stage.sandbox.replica_url(), &stage.sandbox.destination_url(), &range).await?;
        theirs.push(copied / began.elapsed().as_secs_f64());
        let began = Instant::now();
        let cohort = stage.cohort(&format!("round-{round}"), range.clone()).await?;
        adds.push(began.elapsed().as_secs_f64());
        let moved = stage.move_users(&mut fleet, &cohort, range).await?;
        launches.push(moved.launch_seconds);
        rates.push(users as f64 / moved.seconds);
        ours.push(moved.rows / moved.seconds);
        let mut each = Vec::new();
        for _ in 0..LOOKS {
            let began = Instant::now();
            stage.tracking.status(&cohort).await?;
            each.push(began.elapsed().as_secs_f64() * 1000.0);
        }
        looks.push(percentile(&mut each, 0.5));
    }
    bulk::same_rows(&stage.sandbox.destination_url()).await?;
    let redis_mib = stage.redis_mib().await?;
    let refill = refill(&stage, users * rounds).await?;
    let peak = fleet.peak_mib();
    fleet.stop().await;
    stage.sandbox.stop().await;
    Ok(Line::new("scale")
        .with("users", users)
        .with("rounds", rounds)
        .series("add_s", &adds)
        .series("launch_s", &launches)
        .series("status_ms", &looks)
        .series("users_per_s", &rates)
        .series("handover_rows_per_s", &ours)
        .series("bulk_rows_per_s", &theirs)
        .series("ratio", &ours.over(&theirs))
        .with("refill_users", users * rounds)
        .with("refill_s", rounded(refill))
        .with("worker_rss_mib", rounded(peak))
        .with("redis_mib", rounded(redis_mib)))
}

/// Empties Redis under the running workers; seconds until the mirror holds every user again and is believed.
async fn refill(stage: &Stage, users: u64) -> Result<f64> {
    let mut redis =
        redis::Client::open(stage.sandbox.redis_url())?.get_multiplexed_async_connection().await?;
    let () = redis::cmd("FLUSHALL").query_async(&mut redis).await?;
    let began = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let full = async {
        loop {
            ticks.tick().await;
            let fields: u64 = redis::cmd("HLEN")
                .arg(stage.identity.mirror().keys().identity())
                .query_async(&mut redis)
                .await?;
            let ready = stage.identity.mirror().ready_until().await?;
            if fields >= users && ready.is_some() {
                return anyhow::Ok(());
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(5), full).await.context("Redis is not filled again")??;
    Ok(began.elapsed().as_secs_f64())
}
