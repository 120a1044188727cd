//! An installation in fresh databases, and the stages run by hand.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use handover_engine::{
    Complete, Copy, Engine, Job, Options, Outcome, Pause, Plans, Rollback, StageName, Step, Verify,
};
use handover_identity::{Identity, Mirror, MirrorOptions, State, Truth};
use handover_plan::Plan;
use handover_postgres::{Connection, Database, Timeouts};
use handover_sandbox::example::{self, Shape};
use handover_sandbox::{Sandbox, Server};
use handover_tracking::{AttemptRecord, CohortInfo, Kind, Tracking};
use handover_transform::Registry;
use secrecy::SecretString;
use tokio::sync::OnceCell;

/// The migration of these tests.
pub(crate) const MIGRATION: &str = "invoice-reminders";

/// The servers of this test process.
static SERVERS: OnceCell<Sandbox> = OnceCell::const_new();

/// Numbers the databases.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// What a world is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) users: u64,
    /// Reminders a user.
    pub(crate) rows: u32,
    pub(crate) max_paused: u32,
    pub(crate) max_pause: Duration,
    pub(crate) timeouts: Timeouts,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            users: 3,
            rows: 3,
            max_paused: 100,
            max_pause: Duration::from_mins(1),
            timeouts: Timeouts::default(),
        }
    }
}

/// One installation.
pub(crate) struct World {
    pub(crate) engine: Engine,
    database: String,
    urls: [String; 4],
    redis: String,
    setup: Setup,
}

impl World {
    /// Fresh databases on this process' servers.
    pub(crate) async fn new(setup: Setup) -> Result<Self> {
        let start = || async { Sandbox::start(handover_sandbox::Options::default()).await };
        let sandbox = SERVERS.get_or_try_init(start).await.context("the sandbox did not start")?;
        Self::on(sandbox, setup).await
    }

    /// Fresh databases on those servers, with the example's schemas and data and its plan registered.
    pub(crate) async fn on(sandbox: &Sandbox, setup: Setup) -> Result<Self> {
        let database = format!("e{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        for server in [Server::Legacy, Server::Destination, Server::Identity] {
            sandbox.create_database(server, &database).await?;
        }
        let url = |server| sandbox.url_of(server, &database);
        let urls =
            [url(Server::Legacy)?, url(Server::Replica)?, url(Server::Destination)?, url(Server::Identity)?];
        example::install(&urls[0], &urls[2]).await?;
        let shape = Shape { rows_per_user: Some(setup.rows) };
        example::generate(&urls[0], setup.users, 7, shape).await?;
        let redis = sandbox.redis_url();
        let engine = engine(&urls, &redis, &database, setup)?;
        let world = Self { engine, database, urls, redis, setup };
        world.caught_up().await?;
        let mut session = world.engine.destination.get().await?;
        handover_tracking::install(&mut session).await?;
        drop(session);
        world.engine.identity.truth().migrate().await?;
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../config/plans").join(MIGRATION);
        let plan = Plan::load(&folder)?;
        world.engine.tracking.fix_key_type(plan.user_key().sql()).await?;
        world.engine.tracking.register(plan.name(), &plan.hash(), plan.files()).await?;
        Ok(world)
    }

    /// Another process' engine on the same installation: it shares neither sessions nor bound plans.
    pub(crate) fn another(&self) -> Result<Engine> {
        engine(&self.urls, &self.redis, &self.database, self.setup)
    }

    /// The same with one server's address replaced by another.
    pub(crate) fn with_replica(&self, url: &str) -> Result<Engine> {
        let mut urls = self.urls.clone();
        url.clone_into(&mut urls[1]);
        engine(&urls, &self.redis, &self.database, self.setup)
    }

    /// Where that server's database of this world is; the destination's for all that is not Postgres.
    pub(crate) fn url(&self, server: Server) -> String {
        let nth = match server {
            Server::Legacy => 0,
            Server::Replica => 1,
            Server::Identity => 3,
            _ => 2,
        };
        self.urls[nth].clone()
    }

    /// A session of a client that is no part of handover.
    pub(crate) async fn client(&self, server: Server) -> Result<Connection> {
        Ok(Database::new("test", &SecretString::from(self.url(server)))?.connect().await?)
    }

    /// Runs statements on a server.
    pub(crate) async fn execute(&self, server: Server, sql: &str) -> Result<()> {
        Ok(self.client(server).await?.batch_execute(sql).await?)
    }

    /// The one number that a query returns.
    pub(crate) async fn number(&self, server: Server, sql: &str) -> Result<i64> {
        Ok(self.client(server).await?.query_one(sql, &[]).await?.get(0))
    }

    /// Waits until the replica has replayed all that the primary has.
    pub(crate) async fn caught_up(&self) -> Result<()> {
        let (primary, replica) = (self.client(Server::Legacy).await?, self.client(Server::Replica).await?);
        let lsn: String = primary.query_one("SELECT pg_current_wal_lsn()::text", &[]).await?.get(0);
        let mut ticks = tokio::time::interval(Duration::from_millis(2));
        for _ in 0..5_000 {
            ticks.tick().await;
            let passed = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn";
            if replica.query_one(passed, &[&lsn]).await?.get(0) {
                return Ok(());
            }
        }
        anyhow::bail!("the replica did not catch up")
    }

    /// A launched cohort of the users 1 to `count`.
    pub(crate) async fn launched(&self, count: u64) -> Result<CohortInfo> {
        let tracking = &self.engine.tracking;
        let cohort = tracking.create_cohort(MIGRATION, "cohort").await?;
        let mut adding = tracking.add_users(&cohort).await?;
        for user in 1..=count {
            adding.push(user as i64, &user.to_string()).await?;
        }
        adding.finish().await?;
        tracking.launch(&cohort, None).await?;
        Ok(cohort)
    }

    /// Opens attempts for all who wait.
    pub(crate) async fn drawn(&self, kind: Kind) -> Result<Vec<Job>> {
        let drawn = self.engine.tracking.draw(kind, 1_000).await?;
        let job = |drawn: handover_tracking::Drawn| Job {
            migration: drawn.migration,
            user: drawn.user,
            version: drawn.version,
        };
        Ok(drawn.into_iter().map(job).collect())
    }

    /// Runs stages one after the other on jobs that must advance through all but the last.
    pub(crate) async fn through(&self, stages: &[StageName], jobs: &[Job]) -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::new();
        for stage in stages {
            let advanced = |outcome: &Outcome| *outcome == Outcome::Advance(*stage);
            ensure!(outcomes.iter().all(advanced), "before {stage}: {outcomes:?}");
            outcomes = run(&self.engine, *stage, jobs).await;
        }
        Ok(outcomes)
    }

    /// Users 1 to `count`, completed.
    pub(crate) async fn completed(&self, count: u64) -> Result<CohortInfo> {
        let cohort = self.launched(count).await?;
        let jobs = self.drawn(Kind::Move).await?;
        let outcomes = self.through(&StageName::ALL[..4], &jobs).await?;
        ensure!(outcomes.iter().all(|outcome| *outcome == Outcome::Finished), "{outcomes:?}");
        Ok(cohort)
    }

    /// The user's state in Identity's truth.
    pub(crate) async fn state(&self, user: &str) -> Result<State> {
        Ok(self.engine.identity.get(&[user.to_owned()]).await?[0].state(MIGRATION))
    }

    /// Where tracking says that the user stands.
    pub(crate) async fn standing(&self, user: &str) -> Result<String> {
        let sql = "SELECT coalesce((SELECT state::text FROM handover.open_attempt WHERE user_key = $1),
                                   (SELECT state::text FROM handover.member WHERE user_key = $1))";
        Ok(self.client(Server::Destination).await?.query_one(sql, &[&user]).await?.get(0))
    }

    /// The user's ended attempts, the latest first.
    pub(crate) async fn attempts(&self, user: &str) -> Result<Vec<AttemptRecord>> {
        let records = self.engine.tracking.user(user).await?;
        Ok(records.into_iter().flat_map(|record| record.attempts).collect())
    }

    /// How many users are counted as paused.
    pub(crate) async fn counted(&self) -> Result<i64> {
        self.number(Server::Destination, "SELECT paused::int8 FROM handover.admission").await
    }

    /// The user's reminders at the destination.
    pub(crate) async fn rows(&self, user: &str) -> Result<i64> {
        let sql = format!("SELECT count(*) FROM reminders.reminder WHERE owner_id = {user}");
        self.number(Server::Destination, &sql).await
    }

    /// Makes every pause look as if it had begun a minute earlier.
    pub(crate) async fn age_pauses(&self) -> Result<()> {
        let identity = "UPDATE identity.users SET paused_at = paused_at - interval '1 minute'";
        self.execute(Server::Identity, identity).await?;
        let tracking = "UPDATE handover.open_attempt SET state_at = state_at - interval '1 minute'";
        self.execute(Server::Destination, tracking).await
    }
}

/// Runs a stage on jobs.
pub(crate) async fn run(engine: &Engine, stage: StageName, jobs: &[Job]) -> Vec<Outcome> {
    let engine = engine.clone();
    match stage {
        StageName::Pause => Pause(engine).run(jobs).await,
        StageName::Copy => Copy(engine).run(jobs).await,
        StageName::Verify => Verify(engine).run(jobs).await,
        StageName::Complete => Complete(engine).run(jobs).await,
        StageName::Rollback => Rollback(engine).run(jobs).await,
    }
}

fn engine(urls: &[String; 4], redis: &str, database: &str, setup: Setup) -> Result<Engine> {
    let pool = |role, nth: usize| -> Result<_> {
        let url = SecretString::from(urls[nth].clone());
        Ok(Database::new(role, &url)?.with_timeouts(setup.timeouts).pool(8))
    };
    let destination = pool("destination", 2)?;
    let mirror = MirrorOptions { prefix: format!("{{{database}}}"), ..MirrorOptions::new(redis.into()) };
    Ok(Engine {
        primary: pool("legacy primary", 0)?,
        replica: pool("replica", 1)?,
        tracking: Tracking::new(destination.clone()),
        destination,
        identity: Identity::new(Truth::new(pool("identity", 3)?), Mirror::new(&mirror)?),
        plans: Plans::new(Registry::new()),
        options: Options {
            max_paused: setup.max_paused,
            max_pause: setup.max_pause,
            drain: Duration::ZERO,
            replica_wait: Duration::from_secs(10),
            verify_before_commit: false,
            recheck_source: true,
        },
        fence: None,
    })
}
