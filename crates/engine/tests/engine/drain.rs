//! What stands between a pause and its fence position: every gate that is a member.

use std::time::Duration;

use anyhow::Result;
use handover_engine::{Job, Outcome, StageName};
use handover_identity::{Registration, State};
use handover_tracking::Kind;
use tokio::task::JoinHandle;

use crate::world::{Setup, World, run};

const LONG: Duration = Duration::from_secs(20);

async fn one_gate(world: &World) -> Result<()> {
    let (id, kind) = ("g".to_owned(), "layer".to_owned());
    world
        .engine
        .identity
        .truth()
        .register_gate(&Registration { id, kind, lease: LONG, max_request: LONG })
        .await?;
    Ok(())
}

/// Starts a stage on one job, and returns it once it has been waiting for a while.
async fn waiting(world: &World, stage: StageName, job: Job) -> JoinHandle<Vec<Outcome>> {
    let engine = world.engine.clone();
    let mut task = tokio::spawn(async move { run(&engine, stage, &[job]).await });
    let ended = tokio::time::timeout(Duration::from_millis(500), &mut task).await;
    assert!(ended.is_err(), "the gate was not waited for: {ended:?}");
    task
}

#[tokio::test(flavor = "multi_thread")]
async fn no_position_is_taken_before_the_gates_have_let_go() -> Result<()> {
    let world = World::new(Setup { users: 1, ..Setup::default() }).await?;
    world.launched(1).await?;
    let job = world.drawn(Kind::Move).await?.remove(0);
    one_gate(&world).await?;
    let pause = waiting(&world, StageName::Pause, job.clone()).await;
    assert_eq!((world.standing("1").await?.as_str(), world.state("1").await?), ("pausing", State::Migrating));
    world.engine.identity.truth().sign_off_gate("g").await?;
    assert_eq!(pause.await?, [Outcome::Advance(StageName::Copy)]);
    assert_eq!(world.standing("1").await?, "copying");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_hashes_nothing_before_the_gates_have_let_go() -> Result<()> {
    let world = World::new(Setup { users: 1, ..Setup::default() }).await?;
    let cohort = world.completed(1).await?;
    world.engine.tracking.request_rollback(&cohort, None).await?;
    let job = world.drawn(Kind::Rollback).await?.remove(0);
    one_gate(&world).await?;
    let rollback = waiting(&world, StageName::Rollback, job).await;
    assert_eq!(world.state("1").await?, State::RollingBack);
    assert!(world.rows("1").await? > 0);
    world.engine.identity.truth().sign_off_gate("g").await?;
    assert_eq!(rollback.await?, [Outcome::Finished]);
    assert_eq!((world.state("1").await?, world.rows("1").await?), (State::Legacy, 0));
    Ok(())
}
