//! Errors that a destination gives and that pass: a full disk, a lock that is not had, a deadlock, a serialization
//! failure. Each is tried again, and the user is moved.

use anyhow::{Result, ensure};
use handover_engine::Outcome;
use handover_sandbox::Server;
use handover_tests::World;
use handover_tracking::Kind;

use crate::moving::{self, REMINDERS};

/// How often the destination fails before the trouble is over.
const TIMES: usize = 3;
/// A full disk, too many connections, lock time-out, deadlock, serialization failure, statement time-out, shutdown.
const CODES: [&str; 7] = ["53100", "53300", "55P03", "40P01", "40001", "57014", "57P01"];

/// From now on the next inserts into a table fail with that code. A sequence counts them, since nothing rolls it back.
async fn fail_with(world: &World, code: &str) -> Result<()> {
    let sql = format!(
        "DROP SEQUENCE IF EXISTS reminders.trouble;
         CREATE SEQUENCE reminders.trouble;
         CREATE OR REPLACE FUNCTION reminders.trouble() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
           IF nextval('reminders.trouble') <= {TIMES} THEN RAISE EXCEPTION 'as a test ordered' USING ERRCODE = '{code}'; END IF;
           RETURN NULL;
         END $$;
         CREATE OR REPLACE TRIGGER trouble AFTER INSERT ON reminders.reminder
            FOR EACH STATEMENT EXECUTE FUNCTION reminders.trouble()"
    );
    world.sql(Server::Destination, &sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_a_lock_a_deadlock_or_a_serialization_failure_is_tried_again_and_harms_nobody()
-> Result<()> {
    let world = World::new(moving::setup(CODES.len() as u64)).await?;
    for (nth, code) in CODES.iter().enumerate() {
        let user = (nth + 1).to_string();
        fail_with(&world, code).await?;
        world.launched(REMINDERS, &format!("c{user}"), &[&user]).await?;
        let mut jobs = world.drive(Kind::Move).await?;
        for left in (0..TIMES).rev() {
            let Outcome::Retry { reason } = &jobs[0].1 else { anyhow::bail!("{code}: {jobs:?}") };
            ensure!(reason.contains(code), "the reason does not name {code}: {reason}");
            ensure!(world.moved_reminders(&user).await? == 0, "{code}: part of it is visible");
            jobs[0].1 = Outcome::Advance(handover_engine::StageName::Copy);
            for _ in 0..(if left == 0 { 3 } else { 1 }) {
                world.advance(&mut jobs).await?;
            }
        }
        assert_eq!(jobs[0].1, Outcome::Finished, "{code}");
    }
    moving::nothing_is_lost(&world, CODES.len() as i64).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_table_that_somebody_else_has_locked_costs_a_retry_and_no_pause_beyond_its_bound()
-> Result<()> {
    let world = World::new(moving::setup(1)).await?;
    world.launched(REMINDERS, "c", &["1"]).await?;
    let mut locker = world.client(Server::Destination).await?;
    let held = locker.transaction().await?;
    held.batch_execute("LOCK TABLE reminders.reminder IN ACCESS EXCLUSIVE MODE").await?;
    let mut engine = world.engine.clone();
    let timeouts = handover_postgres::Timeouts {
        lock: std::time::Duration::from_millis(200),
        ..handover_postgres::Timeouts::default()
    };
    let url = world.url(Server::Destination)?.into();
    engine.destination =
        handover_postgres::Database::new("destination", &url)?.with_timeouts(timeouts).pool(2);
    let mut jobs = world.drive_by(&engine, Kind::Move).await?;
    let Outcome::Retry { reason } = &jobs[0].1 else { anyhow::bail!("{jobs:?}") };
    assert!(reason.contains("55P03"), "{reason}");
    held.rollback().await?;
    jobs[0].1 = Outcome::Advance(handover_engine::StageName::Copy);
    for _ in 0..3 {
        world.advance(&mut jobs).await?;
    }
    assert_eq!(jobs[0].1, Outcome::Finished);
    moving::nothing_is_lost(&world, 1).await
}
