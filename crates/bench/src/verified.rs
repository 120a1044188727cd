//! Whole handovers of small users, by the real workers, beside the bulk pipe and jobs in Python.
//!
//! Each round has users of its own, whom every way moves; which way goes first takes turns. Every way has tables of its
//! own on the same destination, which grow alike. In the end handover's rows and the bulk pipe's are compared.

use std::ops::RangeInclusive;

use anyhow::Result;
use serde_json::json;

use crate::fleet::Fleet;
use crate::peers::{Celery, Peers};
use crate::report::{Line, Report, Series, say};
use crate::stage::Stage;
use crate::usage::Usage;
use crate::{Arguments, bulk};

/// Gates that a pause under the cooperative fence waits for.
const GATES: usize = 2;

/// Rows that a round moves, without `--users`.
const ROWS: [u64; 2] = [30_000, 400_000];

/// Users of a round whom a peer moves, at most.
const PEER_USERS: [u64; 2] = [200, 2_000];

/// What the rounds of one fence came to.
#[derive(Default)]
struct Rounds {
    ours: Series,
    users_per_s: Series,
    bulk: Series,
    python: Series,
    celery: Series,
    pause_p50: Series,
    pause_p99: Series,
    rows: f64,
    users: f64,
    commits: f64,
    commands: f64,
    usage: Usage,
    bulk_usage: Usage,
}

pub(crate) async fn run(arguments: &Arguments, report: &Report) -> Result<()> {
    let rows = ROWS[usize::from(!arguments.quick)];
    let users = arguments.users.unwrap_or((rows / u64::from(arguments.rows_per_user)).max(1));
    let rounds = u64::from(arguments.rounds);
    // One more for each fence: its first users warm all up, and are not counted.
    let warm = users.min(100);
    let stage = Stage::start((users * rounds + warm) * 2, arguments.rows_per_user).await?;
    bulk::install(&stage.sandbox.legacy_url(), &stage.sandbox.destination_url()).await?;
    let peers = peers(arguments, report, &stage).await?;
    let celery = match &peers {
        Some(peers) => Some(peers.celery().await?),
        None => None,
    };
    let mut next = 1;
    for fence in ["cooperative", "database"] {
        let database = fence == "database";
        if database {
            stage.install_fence().await?;
        }
        say(&format!("verified: {fence} fence, {rounds} rounds of {users} users"));
        let mut fleet = Fleet::new(&stage.sandbox, &[("FENCE__DATABASE", &database.to_string())])?;
        fleet.start_gates(&stage.sandbox, GATES).await?;
        fleet.start_workers(&stage.sandbox)?;
        let mut result = Rounds::default();
        for round in 0..=rounds {
            let count = if round == 0 { warm } else { users };
            let range = next..=next + count - 1;
            next += count;
            let mut one = Rounds::default();
            one.round(&stage, &mut fleet, &range, round % 2 == 0).await?;
            if round == 0 {
                continue;
            }
            // The peers' figures do not depend on our fence.
            if let (true, Some(peers), Some(celery)) = (database, &peers, &celery) {
                one.peers(peers, celery, &range, arguments.quick).await?;
            }
            result.take(&one);
        }
        let line = result.line(fence, users, rounds).with("worker_rss_mib", fleet.peak_mib().round());
        fleet.stop().await;
        report.print(&line)?;
    }
    bulk::same_rows(&stage.sandbox.destination_url()).await?;
    say("handover and the bulk pipe led to the same rows");
    drop(celery);
    stage.sandbox.stop().await;
    Ok(())
}

/// The peers, unless they are not wanted, or cannot be had: then that is said.
async fn peers(arguments: &Arguments, report: &Report, stage: &Stage) -> Result<Option<Peers>> {
    if arguments.no_peers {
        return Ok(None);
    }
    match Peers::install(&stage.sandbox).await {
        Ok(peers) => {
            say(&format!("peers: {}", peers.versions().await?));
            peers.install_tables(&stage.sandbox.destination_url()).await?;
            Ok(Some(peers))
        }
        Err(error) => {
            let why = format!("{error:#}");
            report.print(&Line::new("verified").with("peer", "python, celery").with("skipped", why))?;
            Ok(None)
        }
    }
}

impl Rounds {
    async fn round(
        &mut self,
        stage: &Stage,
        fleet: &mut Fleet,
        users: &RangeInclusive<u64>,
        ours_first: bool,
    ) -> Result<()> {
        if ours_first {
            self.handover(stage, fleet, users).await?;
            self.bulk(stage, fleet, users).await
        } else {
            self.bulk(stage, fleet, users).await?;
            self.handover(stage, fleet, users).await
        }
    }

    async fn handover(
        &mut self,
        stage: &Stage,
        fleet: &mut Fleet,
        users: &RangeInclusive<u64>,
    ) -> Result<()> {
        let cohort = stage.cohort(&format!("users-{}", users.start()), users.clone()).await?;
        let moved = stage.move_users(fleet, &cohort, users.clone()).await?;
        self.users = (users.end() - users.start() + 1) as f64;
        self.rows = moved.rows;
        self.ours.push(moved.rows / moved.seconds);
        self.users_per_s.push(self.users / moved.seconds);
        self.pause_p50.push(moved.pause.0);
        self.pause_p99.push(moved.pause.1);
        self.commits = moved.commits;
        self.commands = moved.commands;
        self.usage = moved.usage;
        Ok(())
    }

    async fn bulk(&mut self, stage: &Stage, fleet: &Fleet, users: &RangeInclusive<u64>) -> Result<()> {
        let (before, began) = (stage.usage(fleet), std::time::Instant::now());
        let rows = bulk::copy(&stage.sandbox.replica_url(), &stage.sandbox.destination_url(), users).await?;
        self.bulk.push(rows / began.elapsed().as_secs_f64());
        self.bulk_usage = stage.usage(fleet).since(&before);
        Ok(())
    }

    async fn peers(
        &mut self,
        peers: &Peers,
        celery: &Celery<'_>,
        users: &RangeInclusive<u64>,
        quick: bool,
    ) -> Result<()> {
        let most = PEER_USERS[usize::from(!quick)];
        // Each moves users of its own: there is one set of tables.
        let half = ((users.end() - users.start()).div_ceil(2)).min(most);
        if half == 0 {
            return Ok(());
        }
        let first = *users.start();
        self.python.push(peers.direct(&(first..=first + half - 1)).await?);
        self.celery.push(celery.users(&(first + half..=first + 2 * half - 1)).await?);
        Ok(())
    }

    fn take(&mut self, one: &Self) {
        let series = [
            (&mut self.ours, &one.ours),
            (&mut self.users_per_s, &one.users_per_s),
            (&mut self.bulk, &one.bulk),
            (&mut self.python, &one.python),
            (&mut self.celery, &one.celery),
            (&mut self.pause_p50, &one.pause_p50),
            (&mut self.pause_p99, &one.pause_p99),
        ];
        for (all, one) in series {
            all.extend(one);
        }
        self.rows += one.rows;
        self.users += one.users;
        self.commits += one.commits;
        self.commands += one.commands;
        self.usage.add(&one.usage);
        self.bulk_usage.add(&one.bulk_usage);
    }

    fn line(&self, fence: &str, users: u64, rounds: u64) -> Line {
        let per_user = |figure: f64| crate::report::rounded(figure / self.users);
        let line = Line::new("verified")
            .with("fence", fence)
            .with("users", users)
            .with("rounds", rounds)
            .with("rows", (self.rows / rounds as f64).round())
            .with("rows_per_user", per_user(self.rows))
            .series("handover_rows_per_s", &self.ours)
            .series("bulk_rows_per_s", &self.bulk)
            .series("ratio", &self.ours.over(&self.bulk))
            .series("users_per_s", &self.users_per_s)
            .series("python_users_per_s", &self.python)
            .series("peer_ratio", &self.users_per_s.over(&self.python))
            .series("celery_users_per_s", &self.celery)
            .series("celery_ratio", &self.users_per_s.over(&self.celery))
            .series("pause_p50_ms", &self.pause_p50)
            .series("pause_p99_ms", &self.pause_p99);
        line.with("cpu_us_per_user", crate::report::rounded(self.usage.micros_each(self.users)))
            .with("bulk_cpu_us_per_user", crate::report::rounded(self.bulk_usage.micros_each(self.users)))
            .with("commits_per_user", per_user(self.commits))
            .with("redis_commands_per_user", per_user(self.commands))
            .with("cpu", json!({ "handover": self.usage.json(), "bulk": self.bulk_usage.json() }))
    }
}
