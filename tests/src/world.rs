//! A whole installation in fresh databases, and the stages run one after the other in this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use handover_engine::{
    Complete, Copy, Engine, Fence, Job, Options, Outcome, Pause, Plans, Rollback, Step, Verify,
};
use handover_fence::{Scope, Side};
use handover_identity::{Identity, Mirror, MirrorOptions, Truth};
use handover_plan::Plan;
use handover_postgres::{Connection, Database};
use handover_sandbox::example::{self, Shape};
use handover_sandbox::{Sandbox, Server};
use handover_tracking::{CohortInfo, Kind, Tracking};
use handover_transform::Registry;
use secrecy::SecretString;

use crate::servers;

/// Numbers the databases of this process' tests.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// The folder of a worked example's plan.
pub fn plan_dir(name: &str) -> PathBuf {
    examples().join(name)
}

/// The folder of the worked example's plans.
fn examples() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../config/plans")
}

/// What a world is made of.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Users that the generator makes.
    pub users: u64,
    /// Reminders a user; skewed where none is given.
    pub rows_per_user: Option<u32>,
    /// The bound of paused users.
    pub max_paused: u32,
    /// The bound of a pause.
    pub max_pause: Duration,
    /// With the database fence, installed for every plan: how long a pause waits for transactions in flight.
    pub fence: Option<Duration>,
    /// Servers of its own, for a test that stops, empties or holds up a whole one.
    pub own_servers: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            users: 5,
            rows_per_user: None,
            max_paused: 100,
            max_pause: Duration::from_mins(1),
            fence: None,
            own_servers: false,
        }
    }
}

/// One installation.
pub struct World {
    /// The engine on it.
    pub engine: Engine,
    /// The database's name on every server.
    pub database: String,
    /// The Redis prefix.
    pub prefix: String,
    /// The folder of its plans.
    pub(crate) plans: PathBuf,
    sandbox: Arc<Sandbox>,
    setup: Setup,
}

impl World {
    /// Fresh databases with the example's schemas and data, both plans registered.
    pub async fn new(setup: Setup) -> Result<Self> {
        // On the heap: each test would hold all that a start needs for as long as it runs.
        Box::pin(Self::with_example(setup)).await
    }

    async fn with_example(setup: Setup) -> Result<Self> {
        let world = Self::bare(setup, &examples()).await?;
        let legacy = world.url(Server::Legacy)?;
        example::install(&legacy, &world.url(Server::Destination)?).await?;
        let shape = Shape { rows_per_user: setup.rows_per_user };
        example::generate(&legacy, setup.users, 7, shape).await?;
        world.ready().await?;
        Ok(world)
    }

    /// Fresh databases without tables. [`World::ready`] is due once the application's own are made.
    pub async fn bare(setup: Setup, plans: &Path) -> Result<Self> {
        let sandbox = if setup.own_servers { servers::own().await? } else { servers::shared().await? };
        let database = format!("t{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        for server in [Server::Legacy, Server::Destination, Server::Identity] {
            sandbox.create_database(server, &database).await?;
        }
        let prefix = format!("{{{database}}}");
        let engine = engine(&sandbox, &database, &prefix, setup)?;
        Ok(Self { engine, database, prefix, plans: plans.to_owned(), sandbox, setup })
    }

    /// Makes handover's own tables and registers every plan of the folder.
    pub async fn ready(&self) -> Result<()> {
        self.caught_up().await?;
        let mut session = self.engine.destination.get().await?;
        handover_tracking::install(&mut session).await?;
        self.engine.identity.truth().migrate().await?;
        let mut folders: Vec<PathBuf> =
            std::fs::read_dir(&self.plans)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        folders.sort();
        for folder in folders {
            let plan = Plan::load(&folder)?;
            self.register(&plan).await?;
            if self.setup.fence.is_some() {
                self.install_fence(&plan).await?;
            }
        }
        Ok(())
    }

    /// Puts a plan's fence on both sides, as `handover fence install` does.
    pub async fn install_fence(&self, plan: &Plan) -> Result<()> {
        for (server, side) in [(Server::Legacy, Side::Legacy), (Server::Destination, Side::Destination)] {
            handover_fence::install(&mut self.client(server).await?, Scope::new(plan, side)).await?;
        }
        Ok(())
    }

    /// Stores a plan, as `handover init` does.
    pub async fn register(&self, plan: &Plan) -> Result<()> {
        self.engine.tracking.fix_key_type(plan.user_key().sql()).await?;
        self.engine.tracking.register(plan.name(), &plan.hash(), plan.files()).await?;
        Ok(())
    }

    /// Where that server's database of this world is.
    pub fn url(&self, server: Server) -> Result<String> {
        Ok(self.sandbox.url_of(server, &self.database)?)
    }

    /// Where Redis is.
    pub fn redis_url(&self) -> String {
        self.sandbox.redis_url()
    }

    /// Notes a process that works on this world's servers, so that it ends with them.
    pub(crate) fn adopt(&self, name: &str, pid: u32) -> Result<()> {
        Ok(self.sandbox.adopt(name, pid)?)
    }

    /// The servers.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// What this world was made of.
    pub fn setup(&self) -> Setup {
        self.setup
    }

    /// A session of a client that is no part of handover.
    pub async fn client(&self, server: Server) -> Result<Connection> {
        Ok(Database::new("test", &SecretString::from(self.url(server)?))?.connect().await?)
    }

    /// Waits until the replica has replayed all that the primary has.
    pub async fn caught_up(&self) -> Result<()> {
        // A database that was made a moment ago may not have come there yet.
        crate::until("the replica has the database", || async {
            Ok(self.engine.replica.get().await.is_ok())
        })
        .await?;
        let (primary, replica) = (self.engine.primary.get().await?, self.engine.replica.get().await?);
        let lsn: String = primary.query_one("SELECT pg_current_wal_lsn()::text", &[]).await?.get(0);
        let sql = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn";
        crate::until("the replica has caught up", || async {
            Ok(replica.query_one(sql, &[&lsn]).await?.get(0))
        })
        .await
    }

    /// A launched cohort of those users.
    pub async fn launched(&self, migration: &str, cohort: &str, users: &[&str]) -> Result<CohortInfo> {
        let cohort = self.cohort(migration, cohort, users).await?;
        self.engine.tracking.launch(&cohort, None).await?;
        Ok(cohort)
    }

    /// A cohort of those users.
    pub async fn cohort(&self, migration: &str, cohort: &str, users: &[&str]) -> Result<CohortInfo> {
        let tracking = &self.engine.tracking;
        let cohort = tracking.create_cohort(migration, cohort).await?;
        let mut adding = tracking.add_users(&cohort).await?;
        for (line, user) in users.iter().enumerate() {
            adding.push(line as i64 + 1, user).await?;
        }
        adding.finish().await?;
        Ok(cohort)
    }

    /// Draws what waits and carries it through its stages; returns each job's last outcome.
    pub async fn drive(&self, kind: Kind) -> Result<Vec<(Job, Outcome)>> {
        self.drive_by(&self.engine, kind).await
    }

    /// The same by another engine on this world.
    pub async fn drive_by(&self, engine: &Engine, kind: Kind) -> Result<Vec<(Job, Outcome)>> {
        let drawn = engine.tracking.draw(kind, 1_000).await?;
        let job = |drawn: handover_tracking::Drawn| Job {
            migration: drawn.migration,
            user: drawn.user,
            version: drawn.version,
        };
        let mut jobs: Vec<(Job, Outcome)> =
            drawn.into_iter().map(|drawn| (job(drawn), Outcome::Advance(first(kind)))).collect();
        for _ in 0..6 {
            advance(engine, &mut jobs).await?;
        }
        Ok(jobs)
    }

    /// Runs each job that is to advance at its next stage.
    pub async fn advance(&self, jobs: &mut [(Job, Outcome)]) -> Result<()> {
        advance(&self.engine, jobs).await
    }

    /// Runs a stage on jobs.
    pub async fn run(&self, stage: handover_engine::StageName, jobs: &[Job]) -> Vec<Outcome> {
        run(&self.engine, stage, jobs).await
    }
}

async fn advance(engine: &Engine, jobs: &mut [(Job, Outcome)]) -> Result<()> {
    for stage in handover_engine::StageName::ALL {
        let due: Vec<usize> = (0..jobs.len()).filter(|nth| jobs[*nth].1 == Outcome::Advance(stage)).collect();
        let batch: Vec<Job> = due.iter().map(|nth| jobs[*nth].0.clone()).collect();
        if batch.is_empty() {
            continue;
        }
        let outcomes = run(engine, stage, &batch).await;
        ensure!(outcomes.len() == batch.len(), "one outcome a job");
        due.iter().zip(outcomes).for_each(|(nth, outcome)| jobs[*nth].1 = outcome);
    }
    Ok(())
}

async fn run(engine: &Engine, stage: handover_engine::StageName, jobs: &[Job]) -> Vec<Outcome> {
    use handover_engine::StageName as Name;
    let engine = engine.clone();
    match stage {
        Name::Pause => Pause(engine).run(jobs).await,
        Name::Copy => Copy(engine).run(jobs).await,
        Name::Verify => Verify(engine).run(jobs).await,
        Name::Complete => Complete(engine).run(jobs).await,
        Name::Rollback => Rollback(engine).run(jobs).await,
    }
}

fn first(kind: Kind) -> handover_engine::StageName {
    match kind {
        Kind::Move => handover_engine::StageName::Pause,
        Kind::Rollback => handover_engine::StageName::Rollback,
    }
}

fn engine(sandbox: &Sandbox, database: &str, prefix: &str, setup: Setup) -> Result<Engine> {
    let pool = |role, server| -> Result<_> {
        let url = SecretString::from(sandbox.url_of(server, database)?);
        Ok(Database::new(role, &url)?.pool(4))
    };
    let destination = pool("destination", Server::Destination)?;
    let mirror =
        MirrorOptions { prefix: prefix.to_owned(), ..MirrorOptions::new(sandbox.redis_url().into()) };
    let mirror = Mirror::new(&mirror)?;
    let identity = Identity::new(Truth::new(pool("identity", Server::Identity)?), mirror);
    Ok(Engine {
        primary: pool("legacy primary", Server::Legacy)?,
        replica: pool("replica", Server::Replica)?,
        tracking: Tracking::new(destination.clone()),
        destination,
        identity,
        plans: Plans::new(Registry::new()),
        options: Options {
            max_paused: setup.max_paused,
            max_pause: setup.max_pause,
            drain: Duration::ZERO,
            replica_wait: Duration::from_secs(10),
            verify_before_commit: false,
            recheck_source: true,
        },
        fence: setup.fence.map(Fence::new),
    })
}

/// What the tests ask about users.
impl World {
    /// A user's state in a migration, as `status` and `user show` say it.
    pub async fn state(&self, migration: &str, user: &str) -> Result<String> {
        let records = self.engine.tracking.user(user).await?;
        let record = records.into_iter().find(|record| record.migration == migration);
        Ok(record.with_context(|| format!("user {user} is of no cohort"))?.state)
    }

    /// The reason that the user's last attempt was closed with.
    pub async fn reason(&self, migration: &str, user: &str) -> Result<serde_json::Value> {
        let records = self.engine.tracking.user(user).await?;
        let record = records.into_iter().find(|record| record.migration == migration);
        let attempt = record.and_then(|record| record.attempts.into_iter().next());
        attempt.and_then(|attempt| attempt.reason).context("no reason was kept")
    }

    /// Where Identity's truth says that a user lives; an error while the user is paused.
    pub async fn home(&self, migration: &str, user: &str) -> Result<handover_identity::State> {
        let records = self.engine.identity.get(&[user.to_owned()]).await?;
        ensure!(!records[0].is_paused(), "user {user} is paused");
        Ok(records[0].state(migration))
    }

    /// Runs statements on one of the servers.
    pub async fn sql(&self, server: Server, sql: &str) -> Result<()> {
        Ok(self.client(server).await?.batch_execute(sql).await?)
    }

    /// The one number that a query returns.
    pub async fn number(&self, server: Server, sql: &str) -> Result<i64> {
        Ok(self.client(server).await?.query_one(sql, &[]).await?.get(0))
    }

    /// How many reminders of a user the destination holds.
    pub async fn moved_reminders(&self, user: &str) -> Result<i64> {
        let sql = format!("SELECT count(*) FROM reminders.reminder WHERE owner_id = {user}");
        self.number(Server::Destination, &sql).await
    }

    /// Gives a user who has none an account and so many reminders in legacy.
    pub async fn add_legacy_user(&self, user: u64, reminders: u64) -> Result<()> {
        let sql = format!(
            "INSERT INTO shop.auth_user (id, password, is_superuser, username, email, is_active, date_joined)
                VALUES ({user}, '!', false, 'test-{user}', 'test-{user}@example.org', true, '2020-01-01');
             INSERT INTO shop.invoice (id, owner_id, number, customer_name, status, total, issued_on, created_at)
                VALUES ({user}, {user}, 'T-{user}', 'Test', 1, 10, '2020-01-01', '2020-01-01');
             INSERT INTO shop.invoice_reminder (id, invoice_id, kind, days_offset, zone, subject, body, created_at, modified_at)
                SELECT {user} * 1000000 + n, {user}, n % 3, n, 'Europe/Berlin', 'subject ' || n, 'body ' || n,
                       '2020-01-01', '2020-01-02' FROM generate_series(1, {reminders}) n"
        );
        self.sql(Server::Legacy, &sql).await
    }
}
