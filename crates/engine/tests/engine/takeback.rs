//! Attempts that are taken back: at any step, by anybody, more than once, and whatever is in the way.

use std::time::Duration;

use anyhow::Result;
use handover_engine::{Outcome, StageName, Step, Verify};
use handover_identity::State;
use handover_postgres::Timeouts;
use handover_sandbox::Server;
use handover_tracking::Kind;

use crate::world::{Setup, World, run};

const TO_VERIFY: &[StageName] = &[StageName::Pause, StageName::Copy];

/// Every pause is overdue at once.
fn overdue() -> Setup {
    Setup { max_pause: Duration::from_millis(1), ..Setup::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_ends_and_its_rows_go_while_the_replica_cannot_be_reached() -> Result<()> {
    let world = World::new(Setup::default()).await?;
    world.launched(1).await?;
    let jobs = world.drawn(Kind::Move).await?;
    assert_eq!(world.through(TO_VERIFY, &jobs).await?, [Outcome::Advance(StageName::Verify)]);
    assert_eq!(world.rows("1").await?, 3);

    // The reconciler's process: it has never used this plan, and its replica is away.
    let mut engine = world.with_replica("postgres://nobody@127.0.0.1:1/none")?;
    engine.options.max_pause = Duration::from_millis(1);
    let settled = engine.settle().await?;
    assert_eq!(settled.overdue, 1);
    assert_eq!((world.state("1").await?, world.rows("1").await?), (State::Legacy, 0));
    assert_eq!((world.standing("1").await?.as_str(), world.counted().await?), ("failed", 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_take_backs_at_once_end_each_attempt_once() -> Result<()> {
    let world = World::new(overdue()).await?;
    world.launched(3).await?;
    let jobs = world.drawn(Kind::Move).await?;
    // Paused and copied by a process that is patient.
    let mut patient = world.another()?;
    patient.options.max_pause = Duration::from_mins(1);
    for stage in TO_VERIFY {
        run(&patient, *stage, &jobs).await;
    }
    let (first, second) = (world.another()?, world.another()?);
    let (a, b) = tokio::join!(first.settle(), second.settle());
    let mut ended = a?.overdue + b?.overdue;
    // Where the two were in each other's way, the next pass ends what is left.
    ended += first.settle().await?.overdue;
    assert_eq!(ended, 3);
    assert_eq!(world.counted().await?, 0);
    for user in ["1", "2", "3"] {
        assert_eq!(world.state(user).await?, State::Legacy);
        assert_eq!((world.rows(user).await?, world.attempts(user).await?.len()), (0, 1));
        assert_eq!(world.standing(user).await?, "failed");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_the_destination_refuses_leaves_the_rows_and_ends_the_pause() -> Result<()> {
    let world = World::new(overdue()).await?;
    world.launched(2).await?;
    let jobs = world.drawn(Kind::Move).await?;
    let mut patient = world.another()?;
    patient.options.max_pause = Duration::from_mins(1);
    for stage in TO_VERIFY {
        run(&patient, *stage, &jobs).await;
    }
    let hold = "CREATE TABLE reminders.note (reminder uuid REFERENCES reminders.reminder (id));
        INSERT INTO reminders.note SELECT id FROM reminders.reminder WHERE owner_id = 1 LIMIT 1";
    world.execute(Server::Destination, hold).await?;

    assert_eq!(world.engine.settle().await?.overdue, 2);
    assert_eq!((world.rows("1").await?, world.rows("2").await?), (3, 0));
    assert_eq!((world.state("1").await?, world.counted().await?), (State::Legacy, 0));
    let reason = world.attempts("1").await?.remove(0).reason.unwrap_or_default();
    assert!(reason["rows_left"].as_str().is_some_and(|text| text.contains("23503")), "{reason}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_never_gets_its_locks_is_given_up_and_the_pause_ends() -> Result<()> {
    let timeouts = Timeouts { lock: Duration::from_millis(100), ..Timeouts::default() };
    let max_pause = Duration::from_millis(500);
    let world = World::new(Setup { max_pause, timeouts, ..Setup::default() }).await?;
    world.launched(1).await?;
    let jobs = world.drawn(Kind::Move).await?;
    let mut patient = world.another()?;
    patient.options.max_pause = Duration::from_mins(1);
    for stage in TO_VERIFY {
        run(&patient, *stage, &jobs).await;
    }
    let mut client = world.client(Server::Destination).await?;
    let transaction = client.transaction().await?;
    transaction.execute("SELECT FROM reminders.reminder WHERE owner_id = 1 FOR UPDATE", &[]).await?;

    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    let ending = async {
        while world.state("1").await? != State::Legacy {
            ticks.tick().await;
            world.engine.settle().await?;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(20), ending).await??;
    assert_eq!((world.rows("1").await?, world.counted().await?), (3, 0));
    assert_eq!(world.standing("1").await?, "failed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_derived_column_that_differs_fails_the_proof_and_its_rows_are_removed() -> Result<()> {
    let world = World::new(Setup::default()).await?;
    world.execute(Server::Legacy, "DELETE FROM shop.reminder_recipient").await?;
    world.caught_up().await?;
    world.launched(1).await?;
    let jobs = world.drawn(Kind::Move).await?;
    world.through(TO_VERIFY, &jobs).await?;
    world.execute(Server::Destination, "UPDATE reminders.reminder SET id = gen_random_uuid()").await?;

    let outcomes = Verify(world.engine.clone()).run(&jobs).await;
    assert!(
        matches!(&outcomes[0], Outcome::Park { reason } if reason.contains("reminder.id")),
        "{outcomes:?}"
    );
    assert_eq!((world.state("1").await?, world.rows("1").await?), (State::Legacy, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tries_used_up_at_a_stage_that_is_passed_take_nothing_back() -> Result<()> {
    let world = World::new(Setup::default()).await?;
    world.launched(1).await?;
    let jobs = world.drawn(Kind::Move).await?;
    world.through(TO_VERIFY, &jobs).await?;
    let copy = handover_engine::Copy(world.engine.clone());
    copy.give_up(&jobs[0], "the answer to COMMIT was lost each time").await?;
    let outcomes = world.through(&[StageName::Verify, StageName::Complete], &jobs).await?;
    assert_eq!(outcomes, [Outcome::Finished]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_born_on_the_new_system_whose_pause_was_interrupted_is_skipped_when_overdue() -> Result<()> {
    let world = World::new(overdue()).await?;
    world.launched(1).await?;
    let jobs = world.drawn(Kind::Move).await?;
    world.engine.identity.enroll("1", &[crate::world::MIGRATION.to_owned()]).await?;
    let claims = [jobs[0].claim()];
    world.engine.tracking.admit(1, Kind::Move, &claims, 10).await?;
    assert_eq!(world.engine.settle().await?.overdue, 1);
    assert_eq!((world.standing("1").await?.as_str(), world.counted().await?), ("skipped", 0));
    Ok(())
}
