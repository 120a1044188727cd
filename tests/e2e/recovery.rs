//! How long a loss lasts: a fault on real processes, and the time until all is right again, held against the bound
//! that the settings' own formula gives (`docs/recovery.md`).

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use handover_engine::{Job, Outcome, StageName};
use handover_identity::State;
use handover_sandbox::Server;
use handover_settings::Settings;
use handover_tests::{Fleet, Setup, World};
use handover_tracking::Kind;
use nix::sys::signal::Signal;
use redis::AsyncCommands as _;

const REMINDERS: &str = "invoice-reminders";

/// What the work itself may take on a busy machine, beyond the waits that a bound counts.
const WORK: Duration = Duration::from_secs(8);

type Own<'a> = &'a [(&'a str, &'a str)];

/// Time-outs of a leader that has fallen silent, short enough to be waited for.
const LEADER: Own<'static> = &[("RECONCILE__LEADER_LEASE", "2s"), ("RECONCILE__LEADER_RETRY", "300ms")];

/// A pause of four seconds, and time-outs below it.
const SHORT: Own<'static> = &[
    ("PAUSE__MAX_PAUSE", "4s"),
    ("POSTGRES__STATEMENT_TIMEOUT", "3s"),
    ("POSTGRES__CONNECT_TIMEOUT", "3s"),
    ("POSTGRES__LOCK_TIMEOUT", "1s"),
    ("POSTGRES__IDLE_IN_TRANSACTION_TIMEOUT", "3s"),
    ("COPY__REPLICA_WAIT", "1s"),
    ("WORKER__LEASE", "3s"),
    ("RECONCILE__LEADER_LEASE", "2s"),
];

async fn world() -> Result<World> {
    World::new(Setup { rows_per_user: Some(3), ..Setup::default() }).await
}

/// The bound of a loss under a world's settings and those of its processes' own.
fn bound(world: &World, own: Own<'_>, loss: &str) -> Result<Duration> {
    let own = own.iter().map(|(name, value)| (format!("HANDOVER_{name}"), (*value).to_owned()));
    let settings = Settings::load_from(None, world.settings()?.into_iter().chain(own))?;
    settings.recovers(loss).with_context(|| format!("no bound is stated for: {loss}"))
}

/// Waits until all is right, and holds the time since the fault against the bound.
async fn right_within<F>(
    fleet: &Fleet<'_>,
    (fault, bound): (Instant, Duration),
    what: &str,
    holds: impl FnMut() -> F,
) -> Result<()>
where
    F: Future<Output = Result<bool>>,
{
    fleet.until(what, holds).await?;
    let took = fault.elapsed();
    eprintln!("{what}: {took:.2?}, at most {bound:?} and the work");
    ensure!(took <= bound + WORK, "{what}: it took {took:?}, and should take {bound:?} at most");
    Ok(())
}

/// Draws users of a fresh cohort; their jobs are in no queue.
async fn drawn(world: &World, users: &[&str]) -> Result<Vec<Job>> {
    world.launched(REMINDERS, "c", users).await?;
    let drawn = world.engine.tracking.draw(Kind::Move, 100).await?;
    let job = |drawn: handover_tracking::Drawn| Job {
        migration: drawn.migration,
        user: drawn.user,
        version: drawn.version,
    };
    Ok(drawn.into_iter().map(job).collect())
}

/// Two reconcilers, of which the first leads.
async fn two(world: &World) -> Result<(Fleet<'_>, usize, usize)> {
    let mut fleet = Fleet::new(world)?;
    let first = fleet.start_with("handover-reconcile", LEADER)?;
    fleet.until("the first leads", || async { Ok(fleet.log(first).contains("leading")) }).await?;
    let second = fleet.start_with("handover-reconcile", LEADER)?;
    let stands_by = || async { Ok(fleet.log(second).contains("http")) };
    fleet.until("the second has started", stands_by).await?;
    Ok((fleet, first, second))
}

/// Whether the leader draws: a cohort of one user is launched, and its job is pushed.
async fn draws(world: &World, fleet: &Fleet<'_>) -> Result<()> {
    world.launched(REMINDERS, "c", &["1"]).await?;
    fleet.until("the new leader draws", || async { Ok(world.waiting("pause").await?.len() == 1) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_replaced_within_the_stated_time() -> Result<()> {
    let world = world().await?;
    let (mut fleet, first, second) = two(&world).await?;
    let bound = bound(&world, LEADER, "leader killed, or its session ended")?;
    let fault = Instant::now();
    fleet.kill(first).await?;
    let leads = || async { Ok(fleet.log(second).contains("leading")) };
    right_within(&fleet, (fault, bound), "the other leads", leads).await?;
    draws(&world, &fleet).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_leader_is_replaced_within_the_stated_time_and_stands_by_when_it_wakes() -> Result<()> {
    let world = world().await?;
    let (fleet, first, second) = two(&world).await?;
    let bound = bound(&world, LEADER, "leader stopped, cut off, or its host gone")?;
    let fault = Instant::now();
    fleet.signal(first, Signal::SIGSTOP)?;
    let leads = || async { Ok(fleet.log(second).contains("leading")) };
    right_within(&fleet, (fault, bound), "the other leads", leads).await?;
    draws(&world, &fleet).await?;
    fleet.signal(first, Signal::SIGCONT)?;
    let lost = || async { Ok(fleet.log(first).contains("the lead is lost")) };
    fleet.until("the sleeper knows that it does not lead", lost).await?;
    let locks = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                  WHERE l.locktype = 'advisory' AND d.datname = current_database()";
    assert_eq!(world.number(Server::Destination, locks).await?, 1, "one leads");
    assert!(!fleet.log(second).contains("the lead is lost"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_session_is_ended_is_replaced_within_the_stated_time() -> Result<()> {
    let world = world().await?;
    let (fleet, _, _) = two(&world).await?;
    let bound = bound(&world, LEADER, "leader killed, or its session ended")?;
    let holder =
        "SELECT coalesce(max(l.pid), 0)::int8 FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                   WHERE l.locktype = 'advisory' AND d.datname = current_database()";
    let before = world.number(Server::Destination, holder).await?;
    let fault = Instant::now();
    world.sql(Server::Destination, &format!("SELECT pg_terminate_backend({before})")).await?;
    let leads = || async { Ok(![0, before].contains(&world.number(Server::Destination, holder).await?)) };
    right_within(&fleet, (fault, bound), "somebody leads", leads).await?;
    draws(&world, &fleet).await
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_deleted_queue_are_queued_again_within_the_stated_time() -> Result<()> {
    let world = world().await?;
    let jobs = drawn(&world, &["1", "2", "3"]).await?;
    let outcomes = world.run(StageName::Pause, &jobs).await;
    ensure!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Advance(_))), "{outcomes:?}");
    let mut fleet = Fleet::new(&world)?;
    fleet.start("handover-reconcile")?;
    let queued = || async { Ok(world.waiting("copy").await?.len() == 3) };
    fleet.until("all wait for the copy", queued).await?;
    let bound = bound(&world, &[], "Redis emptied, or a queue's key deleted")?;
    let fault = Instant::now();
    let _: i64 = world.redis().await?.del(world.key("queue:copy")).await?;
    right_within(&fleet, (fault, bound), "all wait again", queued).await
}

/// Waits until a copy is under way; it cannot go on while the table is locked.
async fn in_mid_copy(world: &World, fleet: &Fleet<'_>) -> Result<()> {
    let session = world.client(Server::Destination).await?;
    let sql = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                WHERE NOT l.granted AND l.relation = 'reminders.reminder'::regclass AND d.datname = current_database()";
    let waits = || async { Ok(session.query_one(sql, &[]).await?.get::<_, i64>(0) > 0) };
    fleet.until("a copy waits for the lock", waits).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_workers_users_are_moved_by_another_within_the_stated_time() -> Result<()> {
    let world = world().await?;
    let cohort = world.launched(REMINDERS, "c", &["1", "2", "3"]).await?;
    let mut session = world.client(Server::Destination).await?;
    let lock = session.transaction().await?;
    lock.batch_execute("LOCK TABLE reminders.reminder IN ACCESS EXCLUSIVE MODE").await?;
    let mut fleet = Fleet::of_all(&world)?;
    in_mid_copy(&world, &fleet).await?;
    let bound = bound(&world, &[], "worker killed")?;
    let fault = Instant::now();
    fleet.kill(1).await?;
    lock.rollback().await?;
    fleet.start("handover-copy")?;
    let done = || async { Ok(world.engine.tracking.status(&cohort).await?.users.completed == 3) };
    right_within(&fleet, (fault, bound), "another has moved them", done).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_whose_job_kills_each_worker_is_set_aside_on_legacy_within_the_stated_time() -> Result<()> {
    let own = [("WORKER__MAX_RECOVERIES", "1")];
    let world = world().await?;
    world.launched(REMINDERS, "c", &["3"]).await?;
    let mut session = world.client(Server::Destination).await?;
    let lock = session.transaction().await?;
    lock.batch_execute("LOCK TABLE reminders.reminder IN ACCESS EXCLUSIVE MODE").await?;
    let mut fleet = Fleet::new(&world)?;
    for program in ["handover-pause", "handover-verify", "handover-complete", "handover-reconcile"] {
        fleet.start_with(program, &own)?;
    }
    let fault = Instant::now();
    for _ in 0..2 {
        let copy = fleet.start_with("handover-copy", &own)?;
        in_mid_copy(&world, &fleet).await?;
        fleet.kill(copy).await?;
        // The server notices that the client has gone when it next reads or writes: not while it waits.
        let end = "SELECT count(pg_terminate_backend(l.pid)) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                    WHERE NOT l.granted AND l.relation = 'reminders.reminder'::regclass AND d.datname = current_database()";
        world.number(Server::Destination, end).await?;
    }
    lock.rollback().await?;
    let bound = bound(&world, &own, "job that kills each worker which claims it")?;
    let failed = || async { Ok(world.state(REMINDERS, "3").await? == "failed") };
    right_within(&fleet, (fault, bound), "the attempt is taken back", failed).await?;
    assert_eq!(world.home(REMINDERS, "3").await?, State::Legacy);
    let reason = world.reason(REMINDERS, "3").await?;
    assert_eq!((&reason["stage"], &reason["kind"]), (&"copy".into(), &"tries_used_up".into()), "{reason}");
    assert_eq!(world.moved_reminders("3").await?, 0);
    let dead = world.handover(&["--json", "dead", "list"]).await?.exited(0)?;
    assert!(dead.out.contains("\"user\":\"3\""), "it is set aside, to be looked at: {dead:?}");
    Ok(())
}

/// Brings one user into each state of a move that is paused, and one into a rollback; their jobs are in no queue.
async fn one_in_each_state(world: &World) -> Result<()> {
    let engine = &world.engine;
    let users = ["1", "2", "3", "4", "5"];
    let cohort = world.launched(REMINDERS, "back", &["6"]).await?;
    world.drive(Kind::Move).await?;
    engine.tracking.request_rollback(&cohort, None).await?;
    let back = engine.tracking.draw(Kind::Rollback, 1).await?.remove(0);
    let claim = handover_tracking::Claim { user: back.user.clone(), version: back.version };
    engine.tracking.admit(1, Kind::Rollback, &[claim], 100).await?;
    engine.identity.begin_rollback(REMINDERS, &[(back.user, back.version)]).await?;

    let mut jobs = drawn(world, &users).await?;
    jobs.sort_by(|one, other| one.user.cmp(&other.user));
    let job = |nth: usize| jobs[nth].clone();
    let first = job(0);
    engine.tracking.admit(1, Kind::Move, &[first.claim()], 100).await?;
    engine.identity.begin(REMINDERS, &[(first.user, first.version)]).await?;
    for (stage, from) in [(StageName::Pause, 1), (StageName::Copy, 2), (StageName::Verify, 3)] {
        let batch: Vec<Job> = (from..users.len()).map(job).collect();
        let outcomes = world.run(stage, &batch).await;
        ensure!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Advance(_))), "{outcomes:?}");
    }
    // The last is flipped, and tracking is not told.
    let last = job(4);
    engine.identity.flip(REMINDERS, &[(last.user, last.version)]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconciler_alone_ends_every_pause_at_its_bound_whatever_stage_has_died() -> Result<()> {
    let world = World::new(Setup { users: 6, rows_per_user: Some(3), ..Setup::default() }).await?;
    let fault = Instant::now();
    one_in_each_state(&world).await?;
    let mut states = Vec::new();
    for user in ["1", "2", "3", "4", "5", "6"] {
        states.push(world.state(REMINDERS, user).await?);
    }
    assert_eq!(states, ["pausing", "copying", "verifying", "completing", "completing", "rolling_back"]);
    let mut fleet = Fleet::new(&world)?;
    fleet.start_with("handover-reconcile", SHORT)?;
    let bound = bound(&world, SHORT, "everything but one reconciler")?;
    // From the last pause on: they began while the states were brought about.
    let begun = fault.elapsed();
    let unpaused = || async { Ok(world.engine.identity.paused().await?.is_empty()) };
    right_within(&fleet, (fault, bound + begun), "nobody is paused any more", unpaused).await?;
    let settled = "SELECT count(*) FROM handover.open_attempt";
    fleet
        .until("tracking has ended them", || async {
            Ok(world.number(Server::Destination, settled).await? == 0)
        })
        .await?;
    for user in ["1", "2", "3", "4"] {
        assert_eq!(world.reason(REMINDERS, user).await?["kind"], "max_pause", "user {user}");
        assert_eq!(world.home(REMINDERS, user).await?, State::Legacy, "user {user}");
        assert_eq!(world.moved_reminders(user).await?, 0, "user {user}");
    }
    for user in ["5", "6"] {
        assert_eq!(world.state(REMINDERS, user).await?, "completed", "user {user}");
        assert_eq!(world.home(REMINDERS, user).await?, State::Migrated, "user {user}");
        assert_eq!(world.moved_reminders(user).await?, 3, "user {user}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_identity_has_flipped_is_completed_within_the_stated_time() -> Result<()> {
    let world = world().await?;
    let jobs = drawn(&world, &["1"]).await?;
    for stage in [StageName::Pause, StageName::Copy, StageName::Verify] {
        let outcomes = world.run(stage, &jobs).await;
        ensure!(matches!(outcomes[..], [Outcome::Advance(_)]), "{outcomes:?}");
    }
    let fault = Instant::now();
    world.engine.identity.flip(REMINDERS, &[("1".to_owned(), jobs[0].version)]).await?;
    let mut fleet = Fleet::new(&world)?;
    for program in ["handover-complete", "handover-reconcile"] {
        fleet.start(program)?;
    }
    let bound = bound(&world, &[], "Identity flipped, and tracking not told")?;
    let done = || async { Ok(world.state(REMINDERS, "1").await? == "completed") };
    right_within(&fleet, (fault, bound), "tracking has followed", done).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_was_not_mirrored_is_told_and_a_pause_without_an_attempt_is_ended() -> Result<()> {
    let world = world().await?;
    let mut fleet = Fleet::new(&world)?;
    let reconciler = fleet.start("handover-reconcile")?;
    let redis = world.redis().await?;
    let ready = || {
        let (mut redis, key) = (redis.clone(), world.key("identity"));
        async move { Ok(redis.hexists::<_, _, bool>(key, "!ready").await?) }
    };
    fleet.until("the mirror is believed", ready).await?;
    let user = [("1".to_owned(), 1)];
    let fault = Instant::now();
    // The truth alone: as where a worker dies right after its commit.
    world.engine.identity.truth().begin(REMINDERS, &user).await?;
    let mirrored = || {
        let (mut redis, key) = (redis.clone(), world.key("identity"));
        async move {
            let field: Option<String> = redis.hget(key, "1").await?;
            Ok(field.is_some_and(|field| field.contains("migrating")))
        }
    };
    let told = bound(&world, &[], "change of Identity committed, and not mirrored")?;
    right_within(&fleet, (fault, told), "the mirror has it", mirrored).await?;
    let ended = bound(&world, &[], "pause without an attempt")?;
    let unpaused = || async { Ok(world.engine.identity.paused().await?.is_empty()) };
    right_within(&fleet, (fault, ended), "the pause is ended", unpaused).await?;
    assert_eq!(world.home(REMINDERS, "1").await?, State::Legacy);
    assert!(fleet.log(reconciler).contains("ended pauses"), "{}", fleet.log(reconciler));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_was_overwritten_or_emptied_is_right_again_within_the_stated_time() -> Result<()> {
    let own = [("RECONCILE__VERIFY_MIRROR", "1s")];
    let world = world().await?;
    world.launched(REMINDERS, "c", &["2"]).await?;
    world.drive(Kind::Move).await?;
    let mut fleet = Fleet::new(&world)?;
    fleet.start_with("handover-reconcile", &own)?;
    let (mut redis, key) = (world.redis().await?, world.key("identity"));
    let asked = redis.clone();
    let is = |field: &'static str, wanted: Option<String>| {
        let (mut redis, key) = (asked.clone(), key.clone());
        async move {
            let found: Option<String> = redis.hget(key, field).await?;
            anyhow::Ok(wanted.map_or(found.is_some(), |wanted| found.as_ref() == Some(&wanted)))
        }
    };
    fleet.until("the mirror is believed", || is("!ready", None)).await?;
    let truth: String = redis.hget(&key, "2").await?;
    let wrong = truth.replace("=migrated", "=migrating");
    ensure!(truth != wrong, "{truth}");

    let bound_of = |loss| bound(&world, &own, loss);
    let fault = Instant::now();
    let _: i64 = redis.hset(&key, "2", &wrong).await?;
    let overwritten = bound_of("state in the mirror overwritten by hand")?;
    right_within(&fleet, (fault, overwritten), "it is put right", || is("2", Some(truth.clone()))).await?;

    let fault = Instant::now();
    let _: i64 = redis.del(&key).await?;
    let emptied = bound_of("mirror emptied, or another server in its place")?;
    right_within(&fleet, (fault, emptied), "it is believed again", || is("!ready", None)).await?;
    assert!(is("2", Some(truth)).await?, "what is believed is whole");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_fence_row_stands_again_within_the_stated_time() -> Result<()> {
    let fence = Some(Duration::from_secs(1));
    let world = World::new(Setup { rows_per_user: Some(3), fence, ..Setup::default() }).await?;
    let jobs = drawn(&world, &["1"]).await?;
    let outcomes = world.run(StageName::Pause, &jobs).await;
    ensure!(matches!(outcomes[..], [Outcome::Advance(_)]), "{outcomes:?}");
    let mut fleet = Fleet::new(&world)?;
    let reconciler = fleet.start("handover-reconcile")?;
    fleet.until("it leads", || async { Ok(fleet.log(reconciler).contains("leading")) }).await?;
    let rows = "SELECT count(*) FROM handover_fence.fenced WHERE user_key = '1'";
    assert_eq!(world.number(Server::Legacy, rows).await?, 1);
    let fault = Instant::now();
    world.sql(Server::Legacy, "DELETE FROM handover_fence.fenced WHERE user_key = '1'").await?;
    let bound = bound(&world, &[], "fence row deleted by hand")?;
    let stands = || async { Ok(world.number(Server::Legacy, rows).await? == 1) };
    right_within(&fleet, (fault, bound), "it stands again", stands).await
}
