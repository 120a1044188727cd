//! Pauses that no attempt stands behind.

use anyhow::Result;
use handover_engine::{Outcome, StageName};
use handover_identity::State;
use handover_sandbox::Server;
use handover_tracking::Kind;

use crate::world::{MIGRATION, Setup, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_begun_after_its_attempt_went_back_to_wait_is_ended_and_the_attempt_goes_on() -> Result<()> {
    let world = World::new(Setup { users: 1, ..Setup::default() }).await?;
    world.launched(1).await?;
    let mut jobs = world.drawn(Kind::Move).await?;
    // Two workers had the job: one put the attempt back to wait, the other comes late.
    world.engine.identity.begin(MIGRATION, &[(jobs[0].user.clone(), jobs[0].version)]).await?;
    assert_eq!((world.state("1").await?, world.standing("1").await?.as_str()), (State::Migrating, "queued"));

    world.age_pauses().await?;
    assert_eq!(world.engine.settle().await?.orphans, 1);
    assert_eq!(world.state("1").await?, State::Legacy);

    assert_eq!(world.through(&[StageName::Pause], &jobs).await?, [Outcome::Stale]);
    let due = world.engine.due_jobs(std::time::Duration::ZERO).await?;
    jobs = due.into_iter().map(|(_, job)| job).collect();
    assert_eq!(world.through(&StageName::ALL[..4], &jobs).await?, [Outcome::Finished]);
    assert_eq!(world.state("1").await?, State::Migrated);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_waits_below_a_pause_that_somebody_raised_and_left_goes_on() -> Result<()> {
    let world = World::new(Setup { users: 1, ..Setup::default() }).await?;
    world.launched(1).await?;
    let jobs = world.drawn(Kind::Move).await?;
    let (user, version) = (jobs[0].user.clone(), jobs[0].version);
    // One worker put the attempt back to wait, after another had paused its user and died while it took it back.
    world.engine.identity.begin(MIGRATION, &[(user.clone(), version)]).await?;
    world.engine.identity.raise(MIGRATION, &[(user, version + 1)]).await?;
    world.age_pauses().await?;
    assert_eq!(world.engine.settle().await?.orphans, 1);
    assert_eq!(world.state("1").await?, State::Legacy);
    let due = world.engine.due_jobs(std::time::Duration::ZERO).await?;
    let jobs: Vec<_> = due.into_iter().map(|(_, job)| job).collect();
    assert_eq!(world.through(&StageName::ALL[..4], &jobs).await?, [Outcome::Finished]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_user_who_was_paused_too_late_can_move_once_the_cohort_is_released() -> Result<()> {
    let world = World::new(Setup { users: 1, ..Setup::default() }).await?;
    let cohort = world.launched(1).await?;
    let jobs = world.drawn(Kind::Move).await?;
    world.engine.tracking.hold(&cohort, "test").await?;
    world.engine.identity.begin(MIGRATION, &[(jobs[0].user.clone(), jobs[0].version)]).await?;
    world.age_pauses().await?;
    assert_eq!(world.engine.settle().await?.orphans, 1);
    world.engine.tracking.release(&cohort).await?;
    let jobs = world.drawn(Kind::Move).await?;
    assert_eq!(world.through(&StageName::ALL[..4], &jobs).await?, [Outcome::Finished]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn users_on_their_way_are_no_orphans_however_long_they_are_paused() -> Result<()> {
    let world = World::new(Setup { users: 4, ..Setup::default() }).await?;
    world.launched(4).await?;
    let jobs = world.drawn(Kind::Move).await?;
    let steps = [StageName::Pause, StageName::Copy, StageName::Verify];
    for nth in 1..=3 {
        world.through(&steps[..nth], &jobs[nth..=nth]).await?;
    }
    world.engine.tracking.admit(1, Kind::Move, &[jobs[0].claim()], 10).await?;
    world.engine.identity.begin(MIGRATION, &[(jobs[0].user.clone(), jobs[0].version)]).await?;
    world.age_pauses().await?;
    let settled = world.engine.settle().await?;
    assert_eq!((settled.orphans, settled.overdue, settled.failing), (0, 0, 0));
    let paused = "SELECT count(*) FROM identity.users WHERE open_migration IS NOT NULL";
    assert_eq!(world.number(Server::Identity, paused).await?, 4);
    Ok(())
}
