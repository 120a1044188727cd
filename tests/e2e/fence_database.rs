//! The database fence through the stages: what it refuses, what it waits for, what ends it, and that it loses no
//! write of a program that knows no gate.

use std::time::Duration;

use anyhow::Result;
use handover_engine::{Fence, Job, Outcome, StageName};
use handover_identity::State;
use handover_postgres::Connection;
use handover_sandbox::Server;
use handover_tests::{Setup, World};
use handover_tracking::{CohortInfo, Kind};

const REMINDERS: &str = "invoice-reminders";

/// How long a pause waits for transactions in flight: short, where a test waits for its end.
const BRIEF: Duration = Duration::from_millis(600);

async fn fenced(patience: Duration) -> Result<World> {
    let setup = Setup { rows_per_user: Some(2), fence: Some(patience), ..Setup::default() };
    Box::pin(World::new(setup)).await
}

/// A write to legacy for the user, by a program that asks nobody.
fn note(user: &str) -> String {
    format!(
        "INSERT INTO shop.invoice_reminder (invoice_id, kind, days_offset, zone, subject, body, created_at, modified_at)
         SELECT min(id), 1, 0, 'UTC', 'late', '', now(), now() FROM shop.invoice WHERE owner_id = {user}"
    )
}

/// A write to the new system for the user, likewise.
fn touch(user: &str) -> String {
    format!("UPDATE reminders.reminder SET enabled = enabled WHERE owner_id = {user}")
}

/// The same, for user 1, by a row of its own.
const INSERT: &str =
    "INSERT INTO reminders.reminder (owner_id, invoice_id, kind, channel, schedule, subject, body)
                      VALUES (1, 1, 'on_due', 'email', '{\"days\": 0}', '', '')";

/// The SQLSTATE and message of a statement that was refused; `ok` where it was not.
async fn tried(client: &Connection, sql: &str) -> (String, String) {
    match client.batch_execute(sql).await {
        Ok(()) => ("ok".to_owned(), String::new()),
        Err(error) => {
            let error = error.as_db_error().expect("the server's answer");
            (error.code().code().to_owned(), error.message().to_owned())
        }
    }
}

async fn code(client: &Connection, sql: &str) -> String {
    tried(client, sql).await.0
}

async fn drawn(world: &World, kind: Kind) -> Result<Vec<Job>> {
    let drawn = world.engine.tracking.draw(kind, 100).await?;
    let job = |drawn: handover_tracking::Drawn| Job {
        migration: drawn.migration,
        user: drawn.user,
        version: drawn.version,
    };
    let mut jobs: Vec<Job> = drawn.into_iter().map(job).collect();
    jobs.sort_by(|a, b| a.user.cmp(&b.user));
    Ok(jobs)
}

async fn moved(world: &World, users: &[&str]) -> Result<CohortInfo> {
    let cohort = world.launched(REMINDERS, "c", users).await?;
    let moved = Box::pin(world.drive(Kind::Move)).await?;
    assert!(moved.iter().all(|(_, outcome)| *outcome == Outcome::Finished), "{moved:?}");
    Ok(cohort)
}

async fn ask_back(world: &World, cohort: &CohortInfo, user: &str) -> Result<()> {
    let asked = world.engine.tracking.request_rollback(cohort, Some(&[user.to_owned()])).await?;
    assert_eq!(asked, 1);
    Ok(())
}

/// Runs a stage again while it asks for that; what it says in the end, and why it asked.
async fn insist(world: &World, stage: StageName, job: &[Job]) -> Result<(Outcome, Vec<String>)> {
    let mut reasons = Vec::new();
    loop {
        match world.run(stage, job).await.remove(0) {
            Outcome::Retry { reason } => reasons.push(reason),
            outcome => return Ok((outcome, reasons)),
        }
        anyhow::ensure!(reasons.len() < 100, "it asks for ever: {reasons:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_behind_a_pause_and_after_a_move_are_refused_with_their_own_codes() -> Result<()> {
    let world = fenced(BRIEF).await?;
    let client = world.client(Server::Legacy).await?;
    world.launched(REMINDERS, "c", &["1"]).await?;
    let job = drawn(&world, Kind::Move).await?;
    assert_eq!(code(&client, &note("1")).await, "ok");
    assert_eq!(world.run(StageName::Pause, &job).await, [Outcome::Advance(StageName::Copy)]);
    let (state, text) = tried(&client, &note("1")).await;
    assert_eq!((state.as_str(), text.contains("on its way to the new system")), ("MV001", true), "{text}");
    assert_eq!(code(&client, &note("2")).await, "ok");
    for stage in [StageName::Copy, StageName::Verify, StageName::Complete] {
        world.run(stage, &job).await;
    }
    assert_eq!(world.home(REMINDERS, "1").await?, State::Migrated);
    assert_eq!(world.moved_reminders("1").await?, 3);
    let (state, text) = tried(&client, &note("1")).await;
    assert_eq!((state.as_str(), text.contains("lives on the new system")), ("MV002", true), "{text}");
    assert_eq!(code(&world.client(Server::Destination).await?, &touch("1")).await, "ok");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_in_flight_is_waited_for_then_the_attempt_is_given_up_and_nobody_else_waits()
-> Result<()> {
    let world = fenced(BRIEF).await?;
    let writer = world.client(Server::Legacy).await?;
    writer.batch_execute(&format!("BEGIN; {}", note("1"))).await?;
    world.launched(REMINDERS, "c", &["1", "2"]).await?;
    let jobs = drawn(&world, Kind::Move).await?;
    let first = world.run(StageName::Pause, &jobs).await;
    let Outcome::Retry { reason } = &first[0] else { panic!("{first:?}") };
    assert!(reason.contains("transactions in flight on the legacy primary"), "{reason}");
    assert_eq!(first[1], Outcome::Advance(StageName::Copy), "the other user of the batch goes on");
    let (end, _) = insist(&world, StageName::Pause, &jobs[..1]).await?;
    assert!(matches!(end, Outcome::Park { .. }), "{end:?}");
    assert_eq!(world.reason(REMINDERS, "1").await?["kind"], "transactions_in_flight");
    assert_eq!(world.home(REMINDERS, "1").await?, State::Legacy);
    // It was neither harmed nor is the user any longer in anybody's way.
    writer.batch_execute("COMMIT").await?;
    assert_eq!(code(&writer, &note("1")).await, "ok");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_ends_in_time_is_moved_with_the_user() -> Result<()> {
    let world = fenced(Duration::from_secs(30)).await?;
    let writer = world.client(Server::Legacy).await?;
    writer.batch_execute(&format!("BEGIN; {}", note("1"))).await?;
    world.launched(REMINDERS, "c", &["1"]).await?;
    let job = drawn(&world, Kind::Move).await?;
    assert!(matches!(world.run(StageName::Pause, &job).await[0], Outcome::Retry { .. }));
    writer.batch_execute("COMMIT").await?;
    assert_eq!(world.run(StageName::Pause, &job).await, [Outcome::Advance(StageName::Copy)]);
    world.run(StageName::Copy, &job).await;
    assert_eq!(world.moved_reminders("1").await?, 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_transaction_is_given_up_on_and_named() -> Result<()> {
    let world = fenced(BRIEF).await?;
    let writer = world.client(Server::Legacy).await?;
    let name = &world.database;
    writer.batch_execute(&format!("BEGIN; {}; PREPARE TRANSACTION '{name}'", note("1"))).await?;
    world.launched(REMINDERS, "c", &["1"]).await?;
    let job = drawn(&world, Kind::Move).await?;
    let (end, _) = insist(&world, StageName::Pause, &job).await?;
    writer.batch_execute(&format!("COMMIT PREPARED '{name}'")).await?;
    let Outcome::Park { reason } = end else { panic!("{end:?}") };
    assert!(reason.contains("a prepared transaction"), "{reason}");
    assert_eq!(world.home(REMINDERS, "1").await?, State::Legacy);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_from_before_the_pause_cannot_write_behind_it() -> Result<()> {
    let world = fenced(BRIEF).await?;
    let writer = world.client(Server::Legacy).await?;
    writer.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM shop.invoice").await?;
    moved(&world, &["1"]).await?;
    assert_eq!(code(&writer, &note("1")).await, "40001");
    writer.batch_execute("ROLLBACK").await?;
    assert_eq!(code(&writer, &note("1")).await, "MV002");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_is_taken_back_lifts_its_fence_at_every_stage() -> Result<()> {
    let world = fenced(BRIEF).await?;
    let client = world.client(Server::Legacy).await?;
    for (nth, last) in [StageName::Pause, StageName::Copy, StageName::Verify].into_iter().enumerate() {
        let user = (nth + 1).to_string();
        world.launched(REMINDERS, &format!("c{nth}"), &[&user]).await?;
        let job = drawn(&world, Kind::Move).await?;
        for stage in [StageName::Pause, StageName::Copy, StageName::Verify] {
            world.run(stage, &job).await;
            if stage == last {
                break;
            }
        }
        assert_eq!(code(&client, &note(&user)).await, "MV001", "after {last}");
        let mut engine = world.engine.clone();
        engine.options.max_pause = Duration::ZERO;
        assert_eq!(engine.settle().await?.overdue, 1);
        assert_eq!(world.home(REMINDERS, &user).await?, State::Legacy);
        assert_eq!(code(&client, &note(&user)).await, "ok", "after {last}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_closes_the_destination_and_opens_legacy_and_the_next_move_opens_it_again() -> Result<()> {
    let world = fenced(BRIEF).await?;
    let (legacy, new) = (world.client(Server::Legacy).await?, world.client(Server::Destination).await?);
    let cohort = moved(&world, &["1", "2"]).await?;
    ask_back(&world, &cohort, "1").await?;
    world.drive(Kind::Rollback).await?;
    assert_eq!(world.home(REMINDERS, "1").await?, State::Legacy);
    assert_eq!(code(&legacy, &note("1")).await, "ok");
    let (state, text) = tried(&new, INSERT).await;
    assert_eq!((state.as_str(), text.contains("lives on legacy")), ("MV002", true), "{text}");
    assert_eq!(code(&new, &touch("2")).await, "ok");
    world.engine.tracking.retry(&cohort, handover_tracking::RetryOf::RolledBack, None).await?;
    let again = world.drive(Kind::Move).await?;
    assert_eq!(again[0].1, Outcome::Finished);
    assert_eq!(world.moved_reminders("1").await?, 3);
    assert_eq!((code(&new, INSERT).await, code(&legacy, &note("1")).await), ("ok".into(), "MV002".into()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_waits_in_vain_for_the_destination_is_refused_and_leaves_all_as_it_was() -> Result<()>
{
    let world = fenced(BRIEF).await?;
    let cohort = moved(&world, &["1"]).await?;
    let (legacy, new) = (world.client(Server::Legacy).await?, world.client(Server::Destination).await?);
    new.batch_execute(&format!("BEGIN; {}", touch("1"))).await?;
    ask_back(&world, &cohort, "1").await?;
    let job = drawn(&world, Kind::Rollback).await?;
    assert!(matches!(world.run(StageName::Rollback, &job).await[0], Outcome::Retry { .. }));
    let other = world.client(Server::Destination).await?;
    let (state, text) = tried(&other, INSERT).await;
    assert_eq!((state.as_str(), text.contains("on its way to legacy")), ("MV001", true), "{text}");
    let (end, _) = insist(&world, StageName::Rollback, &job).await?;
    assert!(matches!(end, Outcome::Park { .. }), "{end:?}");
    new.batch_execute("COMMIT").await?;
    assert_eq!(world.home(REMINDERS, "1").await?, State::Migrated);
    assert_eq!(
        (code(&new, &touch("1")).await, code(&legacy, &note("1")).await),
        ("ok".into(), "MV002".into())
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_deleted_or_left_behind_are_mended_from_the_truth() -> Result<()> {
    let world = fenced(BRIEF).await?;
    let legacy = world.client(Server::Legacy).await?;
    let cohort = moved(&world, &["1", "2"]).await?;
    ask_back(&world, &cohort, "2").await?;
    world.drive(Kind::Rollback).await?;
    world.launched(REMINDERS, "more", &["3"]).await?;
    let job = drawn(&world, Kind::Move).await?;
    world.run(StageName::Pause, &job).await;
    assert!(
        world.engine.mend_fences().await?.is_nothing() && world.engine.verify_fences().await?.is_nothing()
    );

    // Of a user who is paused, of one who has moved; and a stray one, of one who is back.
    legacy.batch_execute("DELETE FROM handover_fence.fenced").await?;
    let stray = "INSERT INTO handover_fence.fenced (user_key, migration, version, state) VALUES ('2', 'invoice-reminders', 1, 'paused')";
    legacy.batch_execute(stray).await?;
    let mended = world.engine.mend_fences().await?;
    assert_eq!((mended.restored, mended.settled, mended.lifted), (1, 0, 1), "{mended:?}");
    let mended = world.engine.verify_fences().await?;
    assert_eq!((mended.restored, mended.settled, mended.lifted), (1, 0, 0), "{mended:?}");
    let codes =
        [code(&legacy, &note("1")).await, code(&legacy, &note("2")).await, code(&legacy, &note("3")).await];
    assert_eq!(codes, ["MV002", "ok", "MV001"]);
    for stage in [StageName::Copy, StageName::Verify, StageName::Complete] {
        world.run(stage, &job).await;
    }
    assert_eq!(world.home(REMINDERS, "3").await?, State::Migrated);

    // Its worker died between the flip and the settling.
    legacy.batch_execute("UPDATE handover_fence.fenced SET state = 'paused' WHERE user_key = '3'").await?;
    assert_eq!(world.engine.mend_fences().await?.settled, 1);
    assert_eq!(code(&legacy, &note("3")).await, "MV002");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_paused_behind_a_fence_that_does_not_stand_whole() -> Result<()> {
    let mut world = World::new(Setup { rows_per_user: Some(2), ..Setup::default() }).await?;
    world.engine.fence = Some(Fence::new(BRIEF));
    world.launched(REMINDERS, "c", &["1"]).await?;
    let job = drawn(&world, Kind::Move).await?;
    let plan = handover_plan::Plan::load(&handover_tests::plan_dir(REMINDERS))?;
    let refused = |outcomes: Vec<Outcome>| match &outcomes[0] {
        Outcome::Retry { reason } => reason.contains("handover fence install"),
        _ => false,
    };
    assert!(refused(world.run(StageName::Pause, &job).await));
    world.install_fence(&plan).await?;
    world.sql(Server::Legacy, "ALTER TABLE shop.reminder_recipient DISABLE TRIGGER ALL").await?;
    assert!(refused(world.run(StageName::Pause, &job).await));
    assert_eq!(world.home(REMINDERS, "1").await?, State::Legacy);
    world.install_fence(&plan).await?;
    assert_eq!(world.run(StageName::Pause, &job).await, [Outcome::Advance(StageName::Copy)]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_does_not_show_the_fence_is_not_read() -> Result<()> {
    // Its replay stands still for every database.
    let setup = Setup { rows_per_user: Some(2), fence: Some(BRIEF), own_servers: true, ..Setup::default() };
    let mut world = World::new(setup).await?;
    world.engine.options.replica_wait = Duration::from_millis(300);
    world.launched(REMINDERS, "c", &["1"]).await?;
    let job = drawn(&world, Kind::Move).await?;
    let replica = world.client(Server::Replica).await?;
    assert!(matches!(world.run(StageName::Pause, &[]).await[..], []));
    replica.batch_execute("SELECT pg_wal_replay_pause()").await?;
    let paused = world.run(StageName::Pause, &job).await;
    let behind = world.run(StageName::Copy, &job).await;
    replica.batch_execute("SELECT pg_wal_replay_resume()").await?;
    assert_eq!(paused, [Outcome::Advance(StageName::Copy)]);
    assert!(
        matches!(&behind[0], Outcome::Retry { reason } if reason.contains("has not shown the fence")),
        "{behind:?}"
    );
    assert_eq!(world.moved_reminders("1").await?, 0);
    world.engine.options.replica_wait = Duration::from_secs(10);
    assert_eq!(world.run(StageName::Copy, &job).await, [Outcome::Advance(StageName::Verify)]);
    Ok(())
}
