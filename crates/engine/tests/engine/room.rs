//! The bound of paused users, and sessions that must not be lent again.

use anyhow::Result;
use handover_engine::{Outcome, Pause, StageName, Step};
use handover_postgres::Database;
use handover_sandbox::Server;
use handover_tracking::{Kind, Tracking};

use crate::world::{Setup, World, run};

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_dead_worker_are_claimed_although_its_users_fill_all_the_room() -> Result<()> {
    let world = World::new(Setup { max_paused: 2, ..Setup::default() }).await?;
    world.launched(3).await?;
    let jobs = world.drawn(Kind::Move).await?;
    let claims: Vec<_> = jobs.iter().map(handover_engine::Job::claim).collect();
    let admitted = world.engine.tracking.admit(1, Kind::Move, &claims, 2).await?;
    assert_eq!((admitted.admitted.len(), admitted.no_room.len()), (2, 1));
    let stage = Pause(world.engine.clone());
    assert_eq!(stage.capacity(100).await?, 0, "they were admitted a moment ago");

    world.age_pauses().await?;
    assert_eq!(stage.capacity(100).await?, 2);
    let mut outcomes = run(&world.engine, StageName::Pause, &jobs).await;
    outcomes.sort_by_key(|outcome| *outcome == Outcome::NotNow);
    let copy = Outcome::Advance(StageName::Copy);
    assert_eq!(outcomes, [copy.clone(), copy, Outcome::NotNow]);
    assert_eq!(world.counted().await?, 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_users_were_added_through_is_not_lent_again() -> Result<()> {
    let world = World::new(Setup { users: 1, ..Setup::default() }).await?;
    let cohort = world.engine.tracking.create_cohort(crate::world::MIGRATION, "dropped").await?;
    let tracking = Tracking::new(pool_of_one(&world)?);
    let mut adding = tracking.add_users(&cohort).await?;
    adding.push(1, "1").await?;
    drop(adding);
    let session = tracking.pool().get().await?;
    let timeout: String = session.query_one("SHOW statement_timeout", &[]).await?.get(0);
    assert_eq!(timeout, "20s");
    drop(session);
    assert_eq!(world.engine.tracking.cohort("dropped").await?.users, 0);
    Ok(())
}

fn pool_of_one(world: &World) -> Result<handover_postgres::Pool> {
    Ok(Database::new("destination", &world.url(Server::Destination).into())?.pool(1))
}
