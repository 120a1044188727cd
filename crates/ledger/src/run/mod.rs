//! A run: servers, workers, several processes of the application, clients, an operator; then rest, and the verdict.

pub mod chaos;
mod chaos_act;
mod chaos_faults;
mod chaos_net;
mod churn;
mod digests;
mod fleet;
mod kept;
mod operator;
mod world;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::check::Verdict;
use crate::traffic::{Options, Targets, Traffic};

use churn::Churn;
use fleet::Fleet;
pub use kept::judge_folder;
use kept::{Facts, Folder};
use operator::Operator;
use world::World;

/// Two of each stage, of the reconciler one that leads and one that stands by.
const WORKERS: [&str; 12] = [
    "handover-pause",
    "handover-pause",
    "handover-copy",
    "handover-copy",
    "handover-verify",
    "handover-verify",
    "handover-complete",
    "handover-complete",
    "handover-rollback",
    "handover-rollback",
    "handover-reconcile",
    "handover-reconcile",
];

/// How often operator and churn look whether something is due.
const EVERY: Duration = Duration::from_millis(100);
/// How long what came due may take to be sent once everything rests.
const SENDING: Duration = Duration::from_secs(30);

/// What makes a pause a guarantee in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fence {
    /// Gates alone.
    Cooperative,
    /// Gates, and triggers in both databases.
    Database,
}

/// What a run is made of. The seed fixes the data, the traffic and the orders.
#[derive(Clone, Debug)]
pub struct Config {
    /// The seed.
    pub seed: u64,
    /// Users who are there in the beginning, and are moved.
    pub users: u64,
    /// For how long clients write while users are moved.
    pub minutes: f64,
    /// Requests a second.
    pub rate: f64,
    /// The folder in which a run keeps its evidence, in a folder of its own for each fence.
    pub folder: PathBuf,
}

impl Config {
    /// The time of traffic.
    pub fn lasts(&self) -> Duration {
        Duration::from_secs_f64(self.minutes.max(0.05) * 60.0)
    }
}

/// What a run came to: one line of JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The fence, or `sum`.
    pub fence: String,
    /// The seed.
    pub seed: u64,
    /// The balance.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Rollbacks that were refused, since the user had written on the new system.
    pub refused_rollbacks: i64,
    /// Digests that Postgres computed again, of either side.
    pub digests_compared: usize,
    /// Those that differ.
    pub digest_mismatches: usize,
    /// Application processes that were killed.
    pub killed: usize,
    /// Application processes that were stopped for longer than their lease, and went on.
    pub stopped: usize,
    /// Application processes that joined or left in order.
    pub joined_or_left: usize,
    /// Whether everything balances.
    pub balances: bool,
}

impl Outcome {
    /// This and another run's.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            fence: "sum".to_owned(),
            seed: self.seed,
            verdict: self.verdict.plus(other.verdict),
            refused_rollbacks: self.refused_rollbacks + other.refused_rollbacks,
            digests_compared: self.digests_compared + other.digests_compared,
            digest_mismatches: self.digest_mismatches + other.digest_mismatches,
            killed: self.killed + other.killed,
            stopped: self.stopped + other.stopped,
            joined_or_left: self.joined_or_left + other.joined_or_left,
            balances: self.balances && other.balances,
        }
    }
}

/// Progress goes to standard error.
#[expect(clippy::print_stderr, reason = "standard output is for the result alone")]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}

/// Runs with one fence, from empty servers to the verdict.
pub async fn run(config: &Config, fence: Fence) -> Result<Outcome> {
    let folder = Folder::create(&config.folder, fence)?;
    say(&format!("{fence:?} fence: starting servers and processes; evidence in {}", folder.path().display()));
    let world = Box::pin(World::start(config, fence)).await?;
    let mut fleet = Fleet::new(&world.sandbox, &folder.path().join("logs"), fence)?;
    fleet.start(&world.sandbox, "handover-identity")?;
    fleet.service_answers().await?;
    for program in WORKERS {
        fleet.start(&world.sandbox, program)?;
    }
    Churn::begin(&mut fleet, &world.sandbox).await?;
    let mut operator = Operator::new(world.tracking.clone(), &world.users, config).await?;
    let mut churn = Churn::new(config);
    let traffic = Traffic::start_with(options(config, &fleet, &world, folder.history()))?;
    Box::pin(under_traffic(config, &world, &mut fleet, &traffic, &mut operator, &mut churn)).await?;
    let figures = traffic.stop().await;
    say(&format!("traffic is over: {} requests; waiting for rest", figures.requests));
    operator.rest().await?;
    fleet.all_run()?;
    let facts = Facts {
        config: config.into(),
        fence,
        moving: world.users.clone(),
        due: world.due.clone(),
        silent: churn.silent.clone(),
    };
    all_sent(&world, &folder, &facts).await?;
    fleet.stop_all().await?;
    let verdict = folder.judge(&world, &facts).await?;
    let digests = digests::compare(&world, &folder.records()?).await?;
    let refused_rollbacks = refused(&world).await?;
    world.sandbox.stop().await;
    let balances = verdict.balances() && digests.mismatches.is_empty();
    folder.tell(&verdict, &digests.mismatches)?;
    Ok(Outcome {
        fence: format!("{fence:?}").to_lowercase(),
        seed: config.seed,
        verdict,
        refused_rollbacks,
        digests_compared: digests.compared,
        digest_mismatches: digests.mismatches.len(),
        killed: churn.killed,
        stopped: churn.stopped,
        joined_or_left: churn.joined_or_left,
        balances,
    })
}

fn options(config: &Config, fleet: &Fleet, world: &World, history: PathBuf) -> Options {
    let users = world.users.iter().map(i64::to_string).collect();
    let options = Options::new(fleet.urls(None), users, config.seed, config.rate);
    Options { history: Some(history), ..options }
}

/// Operator and churn at work, until the time is over.
async fn under_traffic(
    config: &Config,
    world: &World,
    fleet: &mut Fleet,
    traffic: &Traffic,
    operator: &mut Operator,
    churn: &mut Churn,
) -> Result<()> {
    let (began, lasts) = (Instant::now(), config.lasts());
    let targets: Targets = traffic.targets();
    let operating = async {
        let mut ticks = tokio::time::interval(EVERY);
        while began.elapsed() < lasts {
            ticks.tick().await;
            operator.act(began.elapsed()).await?;
            traffic.favour(operator.in_favour(began.elapsed()));
        }
        anyhow::Ok(())
    };
    let churning = async {
        let (mut ticks, mut said) = (tokio::time::interval(EVERY), Duration::ZERO);
        while began.elapsed() < lasts {
            ticks.tick().await;
            fleet.all_run()?;
            churn.act(began.elapsed(), fleet, &world.sandbox, &targets).await?;
            if began.elapsed() > said + Duration::from_secs(10) {
                said = began.elapsed();
                progress(said, &traffic.figures());
            }
        }
        anyhow::Ok(())
    };
    tokio::try_join!(operating, churning)?;
    Ok(())
}

fn progress(after: Duration, figures: &crate::traffic::Figures) {
    say(&format!(
        "{:4} s: {} requests, {} writes acknowledged, {} refused, {} unknown, {} by legacy, {} by new, p99 {:.0} ms",
        after.as_secs(),
        figures.requests,
        figures.acknowledged_writes,
        figures.refused,
        figures.indeterminate,
        figures.by_legacy,
        figures.by_new,
        figures.p99_ms
    ));
}

/// Waits until everything that came due is sent, as far as it will be.
async fn all_sent(world: &World, folder: &Folder, facts: &Facts) -> Result<()> {
    let deadline = Instant::now() + SENDING;
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        let verdict = folder.judge(world, facts).await?;
        if verdict.unsent == 0 || Instant::now() >= deadline {
            return Ok(());
        }
    }
}

async fn refused(world: &World) -> Result<i64> {
    let sql = "SELECT count(*) FROM handover.attempt WHERE kind = 'rollback' AND outcome = 'refused'";
    Ok(world.tracking.pool().get().await?.query_one(sql, &[]).await?.get(0))
}

/// A folder for evidence where none is named.
pub fn own_folder(seed: u64) -> PathBuf {
    std::env::temp_dir().join(format!("handover-ledger-{seed}-{}", std::process::id()))
}

/// Removes a folder of evidence that nobody needs.
pub fn remove(folder: &Path) -> Result<()> {
    std::fs::remove_dir_all(folder).with_context(|| format!("failed to remove {}", folder.display()))
}
