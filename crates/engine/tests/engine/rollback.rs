//! Rollbacks that are given up, interrupted, or in somebody's way.

use std::time::Duration;

use anyhow::Result;
use handover_engine::{Outcome, StageName};
use handover_identity::{BeginRollback, State};
use handover_sandbox::Server;
use handover_tracking::{Claim, Closing, Ended, Kind};

use crate::world::{MIGRATION, Setup, World, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_begin_that_comes_after_its_rollback_was_refused_pauses_nobody() -> Result<()> {
    let world = World::new(Setup { users: 1, ..Setup::default() }).await?;
    let cohort = world.completed(1).await?;
    let tracking = &world.engine.tracking;
    tracking.request_rollback(&cohort, None).await?;
    let job = world.drawn(Kind::Rollback).await?.remove(0);
    // A worker is admitted, and falls asleep before it tells Identity.
    tracking.admit(1, Kind::Rollback, &[job.claim()], 10).await?;
    let mut reconciler = world.another()?;
    reconciler.options.max_pause = Duration::from_millis(1);
    assert_eq!(reconciler.settle().await?.overdue, 1);

    let users = [(job.user.clone(), job.version)];
    let late = world.engine.identity.begin_rollback(MIGRATION, &users).await?;
    assert_eq!(late.outcomes, [BeginRollback::Superseded]);
    assert_eq!((world.state("1").await?, world.counted().await?), (State::Migrated, 0));

    tracking.request_rollback(&cohort, None).await?;
    let jobs = world.drawn(Kind::Rollback).await?;
    assert_eq!(run(&world.engine, StageName::Rollback, &jobs).await, [Outcome::Finished]);
    assert_eq!((world.state("1").await?, world.rows("1").await?), (State::Legacy, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_whose_rows_cannot_be_removed_does_not_keep_the_others_from_going_back() -> Result<()> {
    let world = World::new(Setup::default()).await?;
    let cohort = world.completed(3).await?;
    let hold = "CREATE TABLE reminders.note (reminder uuid REFERENCES reminders.reminder (id));
        INSERT INTO reminders.note SELECT id FROM reminders.reminder WHERE owner_id = 2 LIMIT 1";
    world.execute(Server::Destination, hold).await?;
    world.engine.tracking.request_rollback(&cohort, None).await?;
    let jobs = world.drawn(Kind::Rollback).await?;
    run(&world.engine, StageName::Rollback, &jobs).await;
    for (user, standing, state) in [
        ("1", "rolled_back", State::Legacy),
        ("2", "completed", State::Migrated),
        ("3", "rolled_back", State::Legacy),
    ] {
        assert_eq!((world.standing(user).await?.as_str(), world.state(user).await?), (standing, state));
    }
    assert_eq!((world.rows("2").await?, world.counted().await?), (3, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_whose_worker_died_before_it_told_identity_goes_forward() -> Result<()> {
    let world = World::new(Setup { users: 1, ..Setup::default() }).await?;
    let cohort = world.completed(1).await?;
    let engine = &world.engine;
    engine.tracking.request_rollback(&cohort, None).await?;
    let job = world.drawn(Kind::Rollback).await?.remove(0);
    engine.tracking.admit(1, Kind::Rollback, &[job.claim()], 10).await?;
    engine.identity.begin_rollback(MIGRATION, &[(job.user.clone(), job.version)]).await?;
    let removed = "DELETE FROM reminders.recipient; DELETE FROM reminders.reminder;
        UPDATE handover.open_attempt SET removed_at = now()";
    world.execute(Server::Destination, removed).await?;

    let mut reconciler = world.another()?;
    reconciler.options.max_pause = Duration::from_millis(1);
    assert_eq!(reconciler.settle().await?.overdue, 1);
    assert_eq!(
        (world.state("1").await?, world.standing("1").await?.as_str()),
        (State::Legacy, "rolled_back")
    );
    assert_eq!(world.counted().await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_asked_for_again_is_not_kept_waiting_by_the_pause_of_the_refused_one() -> Result<()> {
    let world = World::new(Setup { users: 1, ..Setup::default() }).await?;
    let cohort = world.completed(1).await?;
    let engine = &world.engine;
    engine.tracking.request_rollback(&cohort, None).await?;
    let job = world.drawn(Kind::Rollback).await?.remove(0);
    engine.tracking.admit(1, Kind::Rollback, &[job.claim()], 10).await?;
    engine.identity.begin_rollback(MIGRATION, &[(job.user.clone(), job.version)]).await?;
    // Refused in tracking; the worker dies before it tells Identity. Then it is asked for again.
    let claim = Claim { user: job.user.clone(), version: job.version };
    engine.tracking.close(1, Closing::Refused, &[Ended::of(claim)]).await?;
    engine.tracking.request_rollback(&cohort, None).await?;
    let jobs = world.drawn(Kind::Rollback).await?;
    assert_eq!(
        jobs[0].version,
        job.version + 2,
        "the number between is the refusal's, to shut late workers out"
    );
    assert_eq!(run(engine, StageName::Rollback, &jobs).await, [Outcome::NotNow]);

    world.age_pauses().await?;
    assert_eq!(engine.settle().await?.orphans, 1);
    assert_eq!(world.state("1").await?, State::Migrated);
    assert_eq!(run(engine, StageName::Rollback, &jobs).await, [Outcome::Finished]);
    assert_eq!(world.state("1").await?, State::Legacy);
    Ok(())
}
