//! The servers of a bench with the worked example on them, and a cohort's way from launch to the last user.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use handover_fence::{Scope, Side};
use handover_identity::{Identity, Mirror, MirrorOptions, Truth};
use handover_plan::Plan;
use handover_postgres::Database;
use handover_sandbox::example::{self, Shape};
use handover_sandbox::{Options, Sandbox, Server};
use handover_tracking::{CohortInfo, Tracking};
use secrecy::SecretString;
use tokio_postgres::{Client, NoTls};

use crate::fleet::Fleet;
use crate::report::say;
use crate::usage::Usage;

/// The migration that is measured.
pub(crate) const MIGRATION: &str = "invoice-reminders";

/// Without anybody moving on for so long, a bench gives up.
const STALLED: Duration = Duration::from_secs(90);

/// Recipients that the example's data has for a reminder, on average.
const RECIPIENTS: f64 = 0.375;

/// Servers with all they must hold before the first user moves.
pub(crate) struct Stage {
    pub(crate) sandbox: Sandbox,
    pub(crate) tracking: Tracking,
    pub(crate) identity: Identity,
}

/// What moving a cohort took and cost.
pub(crate) struct Moved {
    /// From the launch until tracking says completed of the last.
    pub(crate) seconds: f64,
    /// Of these, the launch itself.
    pub(crate) launch_seconds: f64,
    /// Rows that were compared.
    pub(crate) rows: f64,
    /// Pauses in ms.
    pub(crate) pause: (f64, f64),
    /// Processor seconds of every process.
    pub(crate) usage: Usage,
    /// Commits at all Postgres servers, and commands at Redis.
    pub(crate) commits: f64,
    pub(crate) commands: f64,
}

/// A plain session.
pub(crate) async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // A broken connection shows in the next statement.
    tokio::spawn(connection);
    Ok(client)
}

/// The worked example's plan.
pub(crate) fn plan() -> Result<Plan> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/plans").join(MIGRATION);
    Ok(Plan::load(&folder)?)
}

impl Stage {
    /// Starts durable servers (fsync, synchronous commit, Redis with its file), and makes that many users, each with
    /// about so many rows.
    pub(crate) async fn start(users: u64, rows_per_user: u32) -> Result<Self> {
        let given =
            Server::ALL.map(Server::variable).into_iter().find(|name| std::env::var_os(name).is_some());
        ensure!(given.is_none(), "{given:?} is set, but a bench fills servers of its own: unset it");
        say(&format!("starting servers, and making {users} users with about {rows_per_user} rows each"));
        let sandbox = Sandbox::start(Options { durable: true, ..Options::default() }).await?;
        example::install(&sandbox.legacy_url(), &sandbox.destination_url()).await?;
        let reminders = (f64::from(rows_per_user) / (1.0 + RECIPIENTS)).round().max(1.0) as u32;
        let shape = Shape { rows_per_user: Some(reminders) };
        example::generate(&sandbox.legacy_url(), users, 42, shape).await?;
        // So that no round pays for hint bits, or meets autovacuum, by being the first.
        let legacy = connect(&sandbox.legacy_url()).await?;
        legacy.batch_execute("VACUUM ANALYZE").await?;
        legacy.batch_execute("CHECKPOINT").await?;
        let destination = Database::new("destination", &SecretString::from(sandbox.destination_url()))?;
        let tracking = Tracking::new(destination.pool(4));
        handover_tracking::install(&mut *tracking.pool().get().await?).await?;
        let database = Database::new("identity", &SecretString::from(sandbox.identity_url()))?;
        let truth = Truth::new(database.pool(2));
        truth.migrate().await?;
        let mirror = Mirror::new(&MirrorOptions::new(SecretString::from(sandbox.redis_url())))?;
        let plan = plan()?;
        tracking.fix_key_type(plan.user_key().sql()).await?;
        tracking.register(plan.name(), &plan.hash(), plan.files()).await?;
        Ok(Self { sandbox, tracking, identity: Identity::new(truth, mirror) })
    }

    /// Installs the database fence on both sides.
    pub(crate) async fn install_fence(&self) -> Result<()> {
        let plan = plan()?;
        let sides =
            [(self.sandbox.legacy_url(), Side::Legacy), (self.sandbox.destination_url(), Side::Destination)];
        for (url, side) in sides {
            let mut session = Database::new("fence", &SecretString::from(url))?.connect().await?;
            handover_fence::install(&mut session, Scope::new(&plan, side)).await?;
        }
        Ok(())
    }

    /// A cohort of these users, not launched.
    pub(crate) async fn cohort(&self, name: &str, users: RangeInclusive<u64>) -> Result<CohortInfo> {
        let cohort = self.tracking.create_cohort(MIGRATION, name).await?;
        let mut adding = self.tracking.add_users(&cohort).await?;
        for (line, user) in users.enumerate() {
            adding.push(line as i64 + 1, &user.to_string()).await?;
        }
        adding.finish().await?;
        Ok(cohort)
    }

    /// Launches the cohort and waits until tracking says completed of each, with Identity and its mirror flipped.
    pub(crate) async fn move_users(
        &self,
        fleet: &mut Fleet,
        cohort: &CohortInfo,
        users: RangeInclusive<u64>,
    ) -> Result<Moved> {
        let (before, commits, commands) = (self.usage(fleet), self.commits().await?, self.commands().await?);
        let began = Instant::now();
        self.tracking.launch(cohort, None).await?;
        let launch_seconds = began.elapsed().as_secs_f64();
        self.settled(fleet, cohort, began).await?;
        let seconds = began.elapsed().as_secs_f64();
        let usage = self.usage(fleet).since(&before);
        self.all_flipped(users).await?;
        let sql = "SELECT coalesce(sum(row_count), 0)::float8,
                coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM unpaused_at - paused_at)), 0)::float8,
                coalesce(percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM unpaused_at - paused_at)), 0)::float8
           FROM handover.attempt WHERE cohort_id = $1 AND outcome = 'completed'";
        let row = self.tracking.pool().get().await?.query_one(sql, &[&cohort.id]).await?;
        Ok(Moved {
            seconds,
            launch_seconds,
            rows: row.get(0),
            pause: (row.get::<_, f64>(1) * 1000.0, row.get::<_, f64>(2) * 1000.0),
            usage,
            commits: self.commits().await? - commits,
            commands: self.commands().await? - commands,
        })
    }

    async fn settled(&self, fleet: &mut Fleet, cohort: &CohortInfo, began: Instant) -> Result<()> {
        let mut ticks = tokio::time::interval(Duration::from_millis(25));
        let mut last = (began, self.tracking.status(cohort).await?.users);
        loop {
            ticks.tick().await;
            let users = self.tracking.status(cohort).await?.users;
            if users.unsettled() == 0 {
                ensure!(users.completed == users.total(), "not all have moved: {users:?}");
                return Ok(());
            }
            if users != last.1 {
                last = (Instant::now(), users);
            }
            fleet.all_run()?;
            ensure!(last.0.elapsed() < STALLED, "nobody has moved on for {STALLED:?}: {users:?}");
        }
    }

    /// Truth and mirror say that each user's home is new.
    async fn all_flipped(&self, users: RangeInclusive<u64>) -> Result<()> {
        let users: Vec<String> = users.map(|user| user.to_string()).collect();
        for chunk in users.chunks(5_000) {
            let truth = self.identity.get(chunk).await?;
            ensure!(
                truth.iter().all(|record| record.flipped_by(MIGRATION).is_some()),
                "Identity has not flipped all"
            );
            let mirror = self.identity.mirror().get(chunk).await?;
            let flipped =
                |text: &Option<String>| text.as_deref().is_some_and(|text| text.contains("=migrated"));
            ensure!(mirror.iter().all(flipped), "Identity's mirror has not flipped all");
        }
        Ok(())
    }

    /// What every server, every worker and this process have used so far.
    pub(crate) fn usage(&self, fleet: &Fleet) -> Usage {
        let servers = Server::ALL.into_iter();
        let servers =
            servers.filter_map(|server| Some((server.name().to_owned(), self.sandbox.pid(server)?)));
        let workers = fleet.pids().into_iter().map(|(name, pid)| {
            // Identity's service is not its database.
            if name == "identity" { ("identity-service".to_owned(), pid) } else { (name, pid) }
        });
        let own = std::iter::once(("bench".to_owned(), std::process::id()));
        Usage::now(&servers.chain(workers).chain(own).collect::<Vec<_>>())
    }

    async fn commits(&self) -> Result<f64> {
        let sandbox = &self.sandbox;
        let mut commits = 0.0;
        for url in
            [sandbox.legacy_url(), sandbox.replica_url(), sandbox.destination_url(), sandbox.identity_url()]
        {
            let sql = "SELECT xact_commit::float8 FROM pg_stat_database WHERE datname = current_database()";
            commits += connect(&url).await?.query_one(sql, &[]).await?.get::<_, f64>(0);
        }
        Ok(commits)
    }

    async fn commands(&self) -> Result<f64> {
        let stats = self.redis_info("stats").await?;
        number(&stats, "total_commands_processed:")
    }

    /// Memory that Redis uses for its data, in MiB.
    pub(crate) async fn redis_mib(&self) -> Result<f64> {
        Ok(number(&self.redis_info("memory").await?, "used_memory:")? / 1_048_576.0)
    }

    async fn redis_info(&self, section: &str) -> Result<String> {
        let client = redis::Client::open(self.sandbox.redis_url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        Ok(redis::cmd("INFO").arg(section).query_async(&mut connection).await?)
    }
}

fn number(info: &str, name: &str) -> Result<f64> {
    let found = info.lines().find_map(|line| line.strip_prefix(name)).context("Redis does not say")?;
    Ok(found.trim().parse()?)
}
