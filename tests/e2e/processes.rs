//! The whole system: worker processes, Redis between them, the command line on top.

use std::sync::Arc;

use anyhow::Result;
use handover_sandbox::Server;
use handover_tests::{Fleet, Setup, World, until};
use handover_tracking::{CohortInfo, StatusCounts};
use redis::AsyncCommands;
use serde_json::Value;

const REMINDERS: &str = "invoice-reminders";

/// Starts one process of each of these stages, with settings of their own.
fn start(fleet: &mut Fleet<'_>, stages: &[&str], settings: &[(&str, &str)]) -> Result<()> {
    for stage in stages {
        fleet.start_with(&format!("handover-{stage}"), settings)?;
    }
    Ok(())
}

/// The number of the copy worker in a fleet of all.
const COPY: usize = 1;

/// Runs a command that must succeed; the JSON on its last line.
async fn json(world: &World, arguments: &[&str]) -> Result<Value> {
    let ran = world.handover(&[&["--json"], arguments].concat()).await?.exited(0)?;
    Ok(serde_json::from_str(ran.out.lines().last().unwrap_or_default())?)
}

async fn world(users: u64) -> Result<World> {
    World::new(Setup { users, rows_per_user: Some(5), max_paused: 40, ..Setup::default() }).await
}

async fn launch(world: &World, users: u64) -> Result<CohortInfo> {
    let users: Vec<String> = (1..=users).map(|user| user.to_string()).collect();
    let names: Vec<&str> = users.iter().map(String::as_str).collect();
    world.launched(REMINDERS, "c", &names).await
}

async fn users(world: &World, cohort: &CohortInfo) -> Result<StatusCounts> {
    Ok(world.engine.tracking.status(cohort).await?.users)
}

async fn all_completed(world: &World, cohort: &CohortInfo, many: i64) -> Result<()> {
    until("everybody has completed", || async { Ok(users(world, cohort).await?.completed == many) }).await
}

async fn redis(world: &World) -> Result<redis::aio::MultiplexedConnection> {
    Ok(redis::Client::open(world.redis_url())?.get_multiplexed_async_connection().await?)
}

/// Each user was moved by exactly one attempt, and every row is there once.
async fn each_moved_once(world: &World, many: i64) -> Result<()> {
    let attempts = "SELECT count(*) FROM handover.attempt";
    assert_eq!(world.number(Server::Destination, attempts).await?, many);
    let rows = "SELECT count(*) FROM reminders.reminder";
    assert_eq!(world.number(Server::Destination, rows).await?, many * 5);
    assert_eq!(world.number(Server::Destination, "SELECT paused::int8 FROM handover.admission").await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_moves_a_cohort_from_a_file_and_rolls_some_back() -> Result<()> {
    let world = world(30).await?;
    json(&world, &["init"]).await?;
    let mut fleet = Fleet::of_all(&world)?;
    start(&mut fleet, &["copy", "pause"], &[])?;
    let file = tempfile::NamedTempFile::new()?;
    let lines: Vec<String> = (1..=30).map(|user| format!("{user:03}")).collect();
    std::fs::write(file.path(), format!("# pilot\n\n{}\n7\n", lines.join("\n")))?;
    json(&world, &["cohort", "create", "pilot", "--migration", REMINDERS]).await?;
    let path = file.path().display().to_string();
    let added = json(&world, &["cohort", "add", "pilot", "--file", &path]).await?;
    assert_eq!((&added["added"], &added["duplicates"]), (&30.into(), &1.into()), "{added}");
    assert_eq!(added["clashes"][0]["line"], 33);
    assert_eq!(json(&world, &["launch", "pilot", "--limit", "10"]).await?["queued"], 10);
    assert_eq!(json(&world, &["launch", "pilot"]).await?["queued"], 20);
    let status = json(&world, &["status", "pilot", "--watch"]).await?;
    assert_eq!(status["users"]["completed"], 30, "{status}");

    let refused = world.handover(&["rollback", "pilot", "3"]).await?;
    refused.exited(5)?;
    // One of them is unknown.
    world.handover(&["--json", "--yes", "rollback", "pilot", "3", "4", "99"]).await?.exited(4)?;
    let status = json(&world, &["status", "pilot", "--watch"]).await?;
    assert_eq!((&status["users"]["rolled_back"], &status["users"]["completed"]), (&2.into(), &28.into()));
    let shown = json(&world, &["user", "show", "003"]).await?;
    assert_eq!(shown["migrations"][0]["attempts"].as_array().map(Vec::len), Some(2), "{shown}");
    assert_eq!(json(&world, &["identity", "verify-mirror"]).await?["wrong"], 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn never_are_more_users_paused_than_allowed() -> Result<()> {
    let world = Arc::new(world(300).await?);
    let cohort = launch(&world, 300).await?;
    let watched = Arc::clone(&world);
    let watch = tokio::spawn(async move {
        let sql = "SELECT count(*) FROM handover.open_attempt WHERE state <> 'queued'";
        let session = watched.client(Server::Destination).await?;
        let mut most = 0;
        for _ in 0.. {
            most = most.max(session.query_one(sql, &[]).await?.get::<_, i64>(0));
            let done = "SELECT count(*) FROM handover.attempt";
            if session.query_one(done, &[]).await?.get::<_, i64>(0) == 300 {
                break;
            }
        }
        anyhow::Ok(most)
    });
    let mut fleet = Fleet::of_all(&world)?;
    start(&mut fleet, &["pause", "pause", "copy"], &[("WORKER__BATCH", "16")])?;
    all_completed(&world, &cohort, 300).await?;
    let most = watch.await??;
    assert!((1..=40).contains(&most), "{most} users were paused at once");
    each_moved_once(&world, 300).await
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicated_stale_and_garbled_jobs_on_every_list_do_no_harm() -> Result<()> {
    let world = world(20).await?;
    let cohort = launch(&world, 20).await?;
    let mut redis = redis(&world).await?;
    for stage in ["pause", "copy", "verify", "complete", "rollback"] {
        let list = format!("{}:queue:{stage}", world.prefix);
        for user in 1..=20 {
            for version in [0, 1, 1, 99] {
                let job = format!(r#"{{"migration":"{REMINDERS}","user":"{user}","version":{version}}}"#);
                let _: i64 = redis.lpush(&list, job).await?;
            }
        }
        for garbled in [
            "",
            "{",
            "null",
            "\u{0}\u{1}",
            r#"{"user":42}"#,
            r#"{"migration":"none","user":"1","version":1}"#,
        ] {
            let _: i64 = redis.lpush(&list, garbled).await?;
        }
    }
    let _fleet = Fleet::of_all(&world)?;
    all_completed(&world, &cohort, 20).await?;
    let dead = world.handover(&["--json", "dead", "list"]).await?.exited(0)?;
    assert_eq!(dead.out.lines().count(), 5 * 5, "each garbled entry is kept: {dead:?}");
    until("the lists are empty", || async {
        let queues = json(&world, &["queues"]).await?;
        let idle = |stage: &serde_json::Value| stage["waiting"] == 0 && stage["inflight"] == 0;
        Ok(queues["stages"].as_array().is_some_and(|stages| stages.iter().all(idle)))
    })
    .await?;
    each_moved_once(&world, 20).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_in_mid_copy_leaves_its_users_to_another() -> Result<()> {
    let world = world(20).await?;
    world.add_legacy_user(900, 30_000).await?;
    let cohort = world.launched(REMINDERS, "giant", &["900"]).await?;
    let mut fleet = Fleet::of_all(&world)?;
    in_mid_copy(&world).await?;
    fleet.kill(COPY).await?;
    assert_eq!(users(&world, &cohort).await?.completed, 0);
    start(&mut fleet, &["copy"], &[])?;
    all_completed(&world, &cohort, 1).await?;
    assert_eq!(world.moved_reminders("900").await?, 30_000);
    assert_eq!(world.number(Server::Destination, "SELECT max(attempt) FROM handover.attempt").await?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_told_to_stop_in_mid_copy_finishes_it_or_hands_it_back() -> Result<()> {
    let world = world(5).await?;
    world.add_legacy_user(900, 30_000).await?;
    let cohort = world.launched(REMINDERS, "giant", &["900"]).await?;
    let mut fleet = Fleet::of_all(&world)?;
    in_mid_copy(&world).await?;
    fleet.stop(COPY).await?;
    start(&mut fleet, &["copy"], &[])?;
    all_completed(&world, &cohort, 1).await?;
    assert_eq!(world.moved_reminders("900").await?, 30_000);
    assert_eq!(world.number(Server::Destination, "SELECT count(*) FROM handover.attempt").await?, 1);
    Ok(())
}

/// Resolves while a COPY into the example's table runs at the destination.
async fn in_mid_copy(world: &World) -> Result<()> {
    let session = world.client(Server::Destination).await?;
    let sql = "SELECT count(*) FROM pg_stat_progress_copy WHERE tuples_processed > 1000 AND datname = current_database()";
    until("a copy is under way", || async { Ok(session.query_one(sql, &[]).await?.get::<_, i64>(0) > 0) })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_emptied_in_mid_run_costs_nobody_anything() -> Result<()> {
    // Its Redis is emptied whole.
    let setup =
        Setup { users: 200, rows_per_user: Some(5), max_paused: 40, own_servers: true, ..Setup::default() };
    let world = World::new(setup).await?;
    let cohort = launch(&world, 200).await?;
    let _fleet = Fleet::of_all(&world)?;
    let mut redis = redis(&world).await?;
    for share in [20, 100] {
        until("some have completed", || async { Ok(users(&world, &cohort).await?.completed >= share) })
            .await?;
        redis::cmd("FLUSHALL").exec_async(&mut redis).await?;
    }
    all_completed(&world, &cohort, 200).await?;
    each_moved_once(&world, 200).await?;
    until("the mirror is whole again", || async {
        let found = json(&world, &["identity", "verify-mirror"]).await?;
        Ok(found["missing"] == 0 && found["stale"] == 0 && found["wrong"] == 0)
    })
    .await
}

/// A pause of four seconds, and time-outs below it.
const SHORT: &[(&str, &str)] = &[
    ("PAUSE__MAX_PAUSE", "4s"),
    ("POSTGRES__STATEMENT_TIMEOUT", "3s"),
    ("POSTGRES__CONNECT_TIMEOUT", "3s"),
    ("POSTGRES__LOCK_TIMEOUT", "1s"),
    ("POSTGRES__IDLE_IN_TRANSACTION_TIMEOUT", "3s"),
    ("COPY__REPLICA_WAIT", "1s"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_nobody_serves_ends_the_pause_at_its_bound() -> Result<()> {
    let world = world(5).await?;
    let cohort = launch(&world, 5).await?;
    let mut fleet = Fleet::new(&world)?;
    start(&mut fleet, &["pause", "copy", "complete", "reconcile"], SHORT)?;
    until("all have failed", || async { Ok(users(&world, &cohort).await?.failed == 5) }).await?;
    assert_eq!(world.reason(REMINDERS, "1").await?["kind"], "max_pause");
    assert_eq!(world.moved_reminders("1").await?, 0);
    assert!(world.engine.identity.paused().await?.is_empty());
    start(&mut fleet, &["verify"], &[])?;
    assert_eq!(json(&world, &["retry", "c"]).await?["queued"], 5);
    all_completed(&world, &cohort, 5).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_cohort_is_done_beside_a_large_one() -> Result<()> {
    let world = world(1_050).await?;
    let large: Vec<String> = (51..=1_050).map(|user| user.to_string()).collect();
    let large: Vec<&str> = large.iter().map(String::as_str).collect();
    let small: Vec<String> = (1..=50).map(|user| user.to_string()).collect();
    let small: Vec<&str> = small.iter().map(String::as_str).collect();
    let large = world.launched(REMINDERS, "large", &large).await?;
    let small = world.launched(REMINDERS, "small", &small).await?;
    let mut fleet = Fleet::new(&world)?;
    let stages = ["pause", "copy", "verify", "complete", "reconcile"];
    start(&mut fleet, &stages, &[("PAUSE__WINDOW", "100")])?;
    all_completed(&world, &small, 50).await?;
    let others = users(&world, &large).await?;
    assert!(others.completed < 900, "the small cohort did not wait for the large one: {others:?}");
    all_completed(&world, &large, 1_000).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_up_in_a_cohort_file_is_reported_and_left_out() -> Result<()> {
    let world = world(5).await?;
    json(&world, &["identity", "enroll", "90001", "--migration", REMINDERS]).await?;
    json(&world, &["cohort", "create", "c", "--migration", REMINDERS]).await?;
    let added = json(&world, &["cohort", "add", "c", "1", "90001"]).await?;
    assert_eq!((&added["added"], &added["born_on_new"]), (&1.into(), &1.into()), "{added}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_holds_what_the_contract_says() -> Result<()> {
    let world = world(10).await?;
    let cohort = launch(&world, 10).await?;
    let mut fleet = Fleet::new(&world)?;
    start(&mut fleet, &["reconcile"], &[])?;
    let mut redis = redis(&world).await?;
    let key = |name: &str| format!("{}:{name}", world.prefix);
    until("the window is filled", || {
        let (mut redis, list) = (redis.clone(), key("queue:pause"));
        async move { Ok(redis.llen::<_, i64>(&list).await? == 10) }
    })
    .await?;
    let job: String = redis.lindex(key("queue:pause"), -1).await?;
    let job: serde_json::Value = serde_json::from_str(&job)?;
    assert_eq!((&job["migration"], &job["version"]), (&REMINDERS.into(), &1.into()), "{job}");
    assert!(job["user"].is_string());
    start(&mut fleet, &["pause", "copy", "verify", "complete"], &[])?;
    all_completed(&world, &cohort, 10).await?;
    let field: String = redis.hget(key("identity"), "1").await?;
    assert_eq!(field, format!("r2 {REMINDERS}=migrated"));
    let ready: Option<String> = redis.hget(key("identity"), "!ready").await?;
    assert!(ready.is_some(), "the reconciler vouches for the mirror");
    for (name, kind) in [("changes", "stream"), ("workers", "zset"), ("identity", "hash")] {
        let found: String = redis::cmd("TYPE").arg(key(name)).query_async(&mut redis).await?;
        assert_eq!(found, kind, "{name}");
    }
    let workers: Vec<String> = redis.zrange(key("workers"), 0, -1).await?;
    assert_eq!(workers.len(), 5, "{workers:?}");
    until("nothing is in flight", || {
        let (mut redis, set) = (redis.clone(), key("inflight:copy"));
        async move { Ok(redis.zcard::<_, i64>(&set).await? == 0) }
    })
    .await
}
