//! What a schedule plays with: a world, gates on it, a small application behind them, and the points at which
//! all of these can be made to stand still.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use handover_engine::{Engine, Job, Outcome};
use handover_fault::{Hold, Mutant, Scope, point};
use handover_gate::{Changes, Decision, Gate, GateLayer, Settings, Side, Subject};
use handover_identity::{
    Answer, Identity, IdentitySource, Mirror, MirrorOptions, Registration, SourceError, Trust, UserStates,
};
use handover_ledger::check::{Evidence, Verdict, judge};
use handover_ledger::number::Mark;
use handover_ledger::ownership::{self, Change, Ownership};
use handover_ledger::record::{Kind as Asked, Outcome as Told, Record, Side as By, now};
use handover_ledger::rows::{self, Rows};
use handover_sandbox::Server;
use handover_tests::{Setup, World, until};
use handover_tracking::Kind;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Either};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tower::{Layer as _, ServiceExt as _, service_fn};

pub(crate) const MIGRATION: &str = "invoice-reminders";
/// The one who is moved.
pub(crate) const USER: &str = "1";

/// One run of a schedule.
pub(crate) struct Play {
    pub(crate) scope: Scope,
    pub(crate) world: Arc<World>,
    reminder: i64,
    before: Rows,
    history: Arc<Mutex<Vec<Record>>>,
    heart: Mutex<Option<JoinHandle<()>>>,
}

impl Play {
    /// A world in which nothing has happened, with that safeguard taken away. The verify stage does not look at the
    /// source again: what this finds is not to hide what another safeguard is for.
    pub(crate) async fn new(mutant: Option<Mutant>) -> Result<Self> {
        let scope = Scope::enter().await;
        let setup = Setup { users: 2, rows_per_user: Some(3), ..Setup::default() };
        let mut world = Box::pin(World::new(setup)).await?;
        world.engine.options.recheck_source = false;
        world.launched(MIGRATION, "all", &[USER]).await?;
        let sql = format!(
            "SELECT min(r.id) FROM shop.invoice_reminder r JOIN shop.invoice i ON i.id = r.invoice_id
             WHERE i.owner_id = {USER} AND r.deleted_at IS NULL"
        );
        let reminder = world.number(Server::Legacy, &sql).await?;
        world.caught_up().await?;
        if let Some(mutant) = mutant {
            scope.mutate(mutant);
        }
        ownership::install(&rows::connect(&world.url(Server::Identity)?).await?).await?;
        let before = rows_of(&world).await?;
        let (history, heart) = (Arc::default(), Mutex::default());
        let play = Self { scope, world: Arc::new(world), reminder, before, history, heart };
        play.beat(play.world.engine.identity.mirror().clone());
        Ok(play)
    }

    /// The verify stage looks at the source again, as it does by default.
    pub(crate) fn recheck_source(&mut self) {
        let world = Arc::get_mut(&mut self.world).expect("nothing has begun");
        world.engine.options.recheck_source = true;
    }

    /// Heartbeats into that mirror, as the leading reconciler writes them; into no other any more.
    pub(crate) fn beat(&self, mirror: Mirror) {
        let heart = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(25));
            loop {
                ticks.tick().await;
                let _ = mirror.heartbeat().await;
            }
        });
        let before = self.heart.lock().unwrap_or_else(PoisonError::into_inner).replace(heart);
        before.inspect(JoinHandle::abort);
    }

    /// A gate under this lease, whose requests may take so long.
    pub(crate) async fn gate(&self, lease: Duration, max_request: Duration) -> Result<Gate> {
        let settings = Settings { lease, max_request, ..Settings::new("test") };
        let source = Arc::new(Direct(self.world.engine.identity.clone()));
        let changes =
            Changes { prefix: self.world.prefix.clone(), ..Changes::new(self.world.redis_url().into()) };
        Ok(Gate::start(settings, source, &changes).await?)
    }

    /// A gate that serves the user from its cache.
    pub(crate) async fn warm(&self, lease: Duration, max_request: Duration) -> Result<Gate> {
        let gate = self.gate(lease, max_request).await?;
        until("the gate has cached the user", || async {
            drop(gate.admit(USER, handover_gate::Kind::Deferrable).await);
            Ok(gate.admit_now(USER).is_some())
        })
        .await?;
        Ok(gate)
    }

    /// A client sends one write through the gate. Beyond the gate it stands at the point `app.writes`.
    pub(crate) fn ask(&self, gate: &Gate) -> JoinHandle<Result<()>> {
        let (gate, app, history) = (gate.clone(), self.app(), Arc::clone(&self.history));
        let mut record = self.sending();
        let number = record.number;
        tokio::spawn(async move {
            let handler = service_fn(move |request: Request<()>| {
                let decision = request.extensions().get::<Decision>().cloned();
                let app = app.clone();
                async move {
                    let side = decision.context("no decision")?.side(MIGRATION);
                    app.write(side, number).await?;
                    anyhow::Ok(Response::new(side))
                }
            });
            let layer = GateLayer::new(gate, |_: &Request<()>| Subject::User(USER.to_owned()));
            let response = layer.layer(handler).oneshot(Request::new(())).await?;
            record.answered = now();
            record.status = Some(response.status().as_u16());
            match response.into_body() {
                Either::Left(side) => {
                    (record.outcome, record.served_by) = (Told::Acknowledged, Some(by(side)));
                }
                Either::Right(body) => {
                    ensure!(record.status == Some(503), "{:?}", record.status);
                    let text = body.collect().await?.to_bytes();
                    let unknown = String::from_utf8_lossy(&text).contains("outcome-unknown");
                    record.outcome = if unknown { Told::Indeterminate } else { Told::Refused };
                }
            }
            history.lock().unwrap_or_else(PoisonError::into_inner).push(record);
            Ok(())
        })
    }

    /// An application without a gate writes on the side that it was told.
    pub(crate) async fn write_on(&self, side: Side) -> Result<()> {
        let record = self.sending();
        self.app().write(side, record.number).await?;
        let (answered, status, served_by) = (now(), Some(200), Some(by(side)));
        let told = Record { answered, status, served_by, outcome: Told::Acknowledged, ..record };
        self.history.lock().unwrap_or_else(PoisonError::into_inner).push(told);
        Ok(())
    }

    /// A note that a client is about to send.
    fn sending(&self) -> Record {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(1_000);
        Record {
            client: 0,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            user: USER.parse().expect("a number"),
            kind: Asked::Note,
            web: false,
            reminder: Some(self.reminder),
            made_by: None,
            due_in_ms: None,
            sent: now(),
            answered: i64::MAX,
            status: None,
            outcome: Told::Indeterminate,
            served_by: None,
            missed: Vec::new(),
        }
    }

    fn app(&self) -> App {
        App { world: Arc::clone(&self.world), reminder: self.reminder }
    }

    /// The user's move begins, all stages one after the other.
    pub(crate) fn moves(&self) -> Move {
        self.moves_by(self.world.engine.identity.clone())
    }

    /// The same by an engine that tells that Identity.
    pub(crate) fn moves_by(&self, identity: Identity) -> Move {
        let (ended, over) = watch::channel(false);
        let world = Arc::clone(&self.world);
        let engine = Engine { identity, ..self.world.engine.clone() };
        let task = tokio::spawn(async move {
            let jobs = world.drive_by(&engine, Kind::Move).await;
            ended.send_replace(true);
            jobs
        });
        Move { over, task }
    }

    /// The replica stands still from where it is.
    pub(crate) async fn freeze_replica(&self) -> Result<()> {
        self.world.caught_up().await?;
        self.world.sql(Server::Replica, "SELECT pg_wal_replay_pause()").await?;
        until("the replica stands still", || async {
            let paused =
                "SELECT (CASE pg_get_wal_replay_pause_state() WHEN 'paused' THEN 1 ELSE 0 END)::int8";
            Ok(self.world.number(Server::Replica, paused).await? == 1)
        })
        .await
    }

    /// The replica goes on.
    pub(crate) async fn thaw_replica(&self) -> Result<()> {
        self.world.sql(Server::Replica, "SELECT pg_wal_replay_resume()").await
    }

    /// Everything that Redis held is gone.
    pub(crate) async fn empty_redis(&self) -> Result<()> {
        let client = redis::Client::open(self.world.redis_url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        Ok(redis::cmd("FLUSHALL").exec_async(&mut connection).await?)
    }

    /// Identity's same truth with its mirror on another server: what a fail-over leaves.
    pub(crate) fn failed_over(&self, redis: String) -> Result<Identity> {
        let options = MirrorOptions { prefix: self.world.prefix.clone(), ..MirrorOptions::new(redis.into()) };
        Ok(Identity::new(self.world.engine.identity.truth().clone(), Mirror::new(&options)?))
    }

    /// The user's state in tracking.
    pub(crate) async fn state(&self) -> Result<String> {
        self.world.state(MIGRATION, USER).await
    }

    /// The ledger's verdict over all that was written: it asks the databases, and none of what it judges.
    pub(crate) async fn verdict(&self) -> Result<Verdict> {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (after, ownership) = (rows_of(&self.world).await?, self.ownership().await?);
        Ok(judge(&Evidence {
            history: &history,
            before: &self.before,
            after: &after,
            ownership: &ownership,
            due: &BTreeSet::new(),
            moving: &[],
            silent: &[],
        }))
    }

    /// Who owned the user when. The servers note no commit's time; nothing here is so quick that it would matter.
    async fn ownership(&self) -> Result<Ownership> {
        let sql = "SELECT user_key::int8, (extract(epoch FROM at) * 1000000)::int8,
                          ARRAY(SELECT jsonb_object_keys(migrated)), open_migration IS NOT NULL
                     FROM ledger.ownership ORDER BY id";
        let rows = self.world.client(Server::Identity).await?.query(sql, &[]).await?;
        let change = |row: &tokio_postgres::Row| Change {
            user: row.get(0),
            at: row.get(1),
            committed: row.get(1),
            new: row.get::<_, Vec<String>>(2).into_iter().collect(),
            born: BTreeSet::new(),
            paused: row.get(3),
        };
        Ok(Ownership::new(rows.iter().map(change).collect()))
    }
}

fn by(side: Side) -> By {
    match side {
        Side::Legacy => By::Legacy,
        Side::New => By::New,
    }
}

async fn rows_of(world: &World) -> Result<Rows> {
    let mut legacy = rows::connect(&world.url(Server::Legacy)?).await?;
    let mut new = rows::connect(&world.url(Server::Destination)?).await?;
    Ok(rows::read(&mut legacy, &mut new).await?)
}

impl Drop for Play {
    fn drop(&mut self) {
        let heart = self.heart.lock().unwrap_or_else(PoisonError::into_inner).take();
        heart.inspect(JoinHandle::abort);
    }
}

/// A move that is under way.
pub(crate) struct Move {
    over: watch::Receiver<bool>,
    task: JoinHandle<Result<Vec<(Job, Outcome)>>>,
}

impl Move {
    /// Waits until the point is reached or the move is over, whichever is first. `true`: the point.
    pub(crate) async fn reaches(&self, hold: &Hold) -> bool {
        let mut over = self.over.clone();
        tokio::select! {
            () = hold.reached() => true,
            _ = over.wait_for(|over| *over) => false,
        }
    }

    /// Waits until it is over.
    pub(crate) async fn ends(self) -> Result<()> {
        let jobs = self.task.await??;
        ensure!(jobs.len() == 1 && matches!(jobs[0].1, Outcome::Finished | Outcome::Park { .. }), "{jobs:?}");
        Ok(())
    }
}

/// The application's code behind the gate.
#[derive(Clone)]
struct App {
    world: Arc<World>,
    reminder: i64,
}

impl App {
    /// Appends a note to the user's reminder.
    async fn write(&self, side: Side, number: u64) -> Result<()> {
        point("app.writes").await?;
        let (server, sql) = match side {
            Side::Legacy => {
                (Server::Legacy, "UPDATE shop.invoice_reminder SET body = body || $1 WHERE id = $2")
            }
            Side::New => {
                (Server::Destination, "UPDATE reminders.reminder SET body = body || $1 WHERE legacy_id = $2")
            }
        };
        let session = self.world.client(server).await?;
        let rows = session.execute(sql, &[&format!("\n{}", Mark::Note.text(number)), &self.reminder]).await?;
        ensure!(rows == 1, "the reminder is not on this side");
        Ok(())
    }
}

/// Identity asked directly, without its service between.
struct Direct(Identity);

fn unreachable(error: &handover_identity::Error) -> SourceError {
    SourceError::Unreachable(error.to_string())
}

impl IdentitySource for Direct {
    fn look_up<'a>(&'a self, user: &'a str, _: Trust) -> Answer<'a, UserStates> {
        Box::pin(async move {
            let records = self.0.get(&[user.to_owned()]).await.map_err(|error| unreachable(&error))?;
            let record = &records[0];
            let states = record.states().into_iter().map(|(name, state)| (name.to_owned(), state)).collect();
            let (user, revision, paused) = (user.to_owned(), record.revision(), record.is_paused());
            Ok(UserStates { user, revision, paused, states })
        })
    }

    fn register<'a>(&'a self, gate: &'a Registration) -> Answer<'a, ()> {
        Box::pin(async move { self.seen(gate).await.map(|_| ()) })
    }

    fn seen<'a>(&'a self, gate: &'a Registration) -> Answer<'a, bool> {
        Box::pin(async move {
            let new = self.0.truth().register_gate(gate).await;
            new.map(|new| !new).map_err(|error| unreachable(&error))
        })
    }

    fn sign_off<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            self.0.truth().sign_off_gate(id).await.map(|_| ()).map_err(|error| unreachable(&error))
        })
    }
}
