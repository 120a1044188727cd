//! Users who are worked on together, and those who must not be.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Result;
use handover_engine::{Outcome, StageName};
use handover_postgres::Timeouts;
use handover_sandbox::Server;
use handover_tracking::Kind;

use crate::world::{Setup, World, run};

const MANY: &str = "INSERT INTO shop.invoice_reminder (invoice_id, kind, days_offset, zone, subject, body, created_at, modified_at)
    SELECT (SELECT min(id) FROM shop.invoice WHERE owner_id = 2), 1, n, 'UTC', 's', 'b', now(), now()
      FROM generate_series(1, 25000) n";

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_very_many_rows_is_set_apart_and_nobody_fails() -> Result<()> {
    let world = World::new(Setup { users: 4, ..Setup::default() }).await?;
    world.execute(Server::Legacy, MANY).await?;
    world.caught_up().await?;
    let cohort = world.completed(4).await?;
    let rows = world.client(Server::Destination).await?;
    let sql = "SELECT owner_id, array_agg(DISTINCT xmin::text) FROM reminders.reminder GROUP BY 1 ORDER BY 1";
    let written: Vec<(i64, Vec<String>)> =
        rows.query(sql, &[]).await?.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert!(written.iter().all(|(_, transactions)| transactions.len() == 1), "{written:?}");
    let shared: HashSet<&String> =
        written.iter().filter(|(user, _)| *user != 2).map(|(_, transactions)| &transactions[0]).collect();
    assert_eq!(shared.len(), 1, "the others share a transaction: {written:?}");
    assert!(!shared.contains(&written[1].1[0]), "{written:?}");

    world.engine.tracking.request_rollback(&cohort, None).await?;
    let jobs = world.drawn(Kind::Rollback).await?;
    let back = run(&world.engine, StageName::Rollback, &jobs).await;
    assert!(back.iter().all(|outcome| *outcome == Outcome::Finished), "{back:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_stands_in_a_batch_twice_is_done_once() -> Result<()> {
    let world = World::new(Setup { users: 2, ..Setup::default() }).await?;
    let cohort = world.launched(2).await?;
    let drawn = world.drawn(Kind::Move).await?;
    let jobs = [drawn[0].clone(), drawn[1].clone(), drawn[0].clone()];
    let steps = [StageName::Pause, StageName::Copy, StageName::Verify, StageName::Complete];
    let next = [StageName::Copy, StageName::Verify, StageName::Complete].map(Outcome::Advance);
    for (stage, then) in steps.into_iter().zip(next.into_iter().chain([Outcome::Finished])) {
        let done = tokio::time::timeout(Duration::from_mins(1), run(&world.engine, stage, &jobs)).await?;
        assert_eq!(done, [then.clone(), then, Outcome::Stale], "{stage}");
    }
    world.engine.tracking.request_rollback(&cohort, None).await?;
    let drawn = world.drawn(Kind::Rollback).await?;
    let jobs = [drawn[0].clone(), drawn[1].clone(), drawn[0].clone()];
    let done = run(&world.engine, StageName::Rollback, &jobs).await;
    assert_eq!(done, [Outcome::Finished, Outcome::Finished, Outcome::Stale]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_rows_may_take_longer_than_a_statement_may_otherwise() -> Result<()> {
    let timeouts = Timeouts { statement: Duration::from_millis(400), ..Timeouts::default() };
    let world = World::new(Setup { users: 1, rows: 12, timeouts, ..Setup::default() }).await?;
    let slow = "CREATE FUNCTION reminders.slow() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_sleep(0.1); RETURN coalesce(new, old); END $$;
        CREATE TRIGGER slow BEFORE INSERT OR DELETE ON reminders.reminder
            FOR EACH ROW EXECUTE FUNCTION reminders.slow()";
    world.execute(Server::Destination, slow).await?;
    let cohort = world.completed(1).await?;
    assert_eq!(world.rows("1").await?, 12);
    world.engine.tracking.request_rollback(&cohort, None).await?;
    let jobs = world.drawn(Kind::Rollback).await?;
    assert_eq!(run(&world.engine, StageName::Rollback, &jobs).await, [Outcome::Finished]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_trigger_refuses_under_a_code_of_its_own_fails_that_user_alone() -> Result<()> {
    let world = World::new(Setup::default()).await?;
    let refusing = "CREATE FUNCTION reminders.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF new.owner_id = 2 THEN RAISE EXCEPTION 'refused' USING ERRCODE = '54000'; END IF;
            RETURN new; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON reminders.reminder
            FOR EACH ROW EXECUTE FUNCTION reminders.refuse()";
    world.execute(Server::Destination, refusing).await?;
    world.launched(3).await?;
    let jobs = world.drawn(Kind::Move).await?;
    world.through(&[StageName::Pause], &jobs).await?;
    let outcomes = run(&world.engine, StageName::Copy, &jobs).await;
    for (job, outcome) in jobs.iter().zip(outcomes) {
        if job.user == "2" {
            assert!(matches!(outcome, Outcome::Park { .. }), "{outcome:?}");
        } else {
            assert_eq!(outcome, Outcome::Advance(StageName::Verify));
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_trigger_says_of_a_users_row_is_not_kept() -> Result<()> {
    let world = World::new(Setup { users: 1, ..Setup::default() }).await?;
    let telling = "CREATE FUNCTION reminders.tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE EXCEPTION 'secret of %', new.owner_id; END $$;
        CREATE TRIGGER tell BEFORE INSERT ON reminders.reminder
            FOR EACH ROW EXECUTE FUNCTION reminders.tell()";
    world.execute(Server::Destination, telling).await?;
    world.launched(1).await?;
    let jobs = world.drawn(Kind::Move).await?;
    let outcomes = world.through(&[StageName::Pause, StageName::Copy], &jobs).await?;
    let reason = world.attempts("1").await?.remove(0).reason.unwrap_or_default().to_string();
    for text in [format!("{outcomes:?}"), reason] {
        assert!(text.contains("P0001") && !text.contains("secret"), "{text}");
    }
    Ok(())
}
