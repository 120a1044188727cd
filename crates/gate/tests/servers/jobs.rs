//! Background jobs at a gate.

use std::time::Duration;

use handover_gate::{Side, TooLate, Turn};

use crate::support::{MIGRATION, Stage, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_on_its_users_side_holds_the_user_and_is_put_off_during_a_pause() {
    let stage = Stage::new().await;
    let gate = stage.gate_with(Stage::settings(), &["1"]).await;
    let Turn::Go(guard) = gate.job("1").await else { panic!("nobody is paused") };
    assert_eq!(guard.side(MIGRATION), Side::Legacy);
    let position = stage.pause("1", 1).await;
    let identity = stage.identity.clone();
    let drain = tokio::spawn(async move {
        identity.drain(&["1".to_owned()], Some(&position), Duration::ZERO).await.unwrap()
    });
    until(async || matches!(gate.job("1").await, Turn::PutOff { .. })).await;
    assert!(!drain.is_finished(), "the user is held while the job runs");
    assert_eq!(guard.finish(), Ok(()));
    assert_eq!(drain.await.unwrap().acknowledged, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_takes_too_long_is_ended_and_says_so() {
    let stage = Stage::new().await;
    let gate = stage.gate_with(Stage::settings(), &["1"]).await;
    let Turn::Go(guard) = gate.job("1").await else { panic!("nobody is paused") };
    assert_eq!(guard.run(std::future::pending::<()>()).await, Err(TooLate));
    let Turn::Go(guard) = gate.job("1").await else { panic!("nobody is paused") };
    assert_eq!(guard.run(async { 7 }).await, Ok(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_splits_by_home_leaves_out_the_paused_and_holds_the_rest() {
    let stage = Stage::new().await;
    let gate = stage.gate_with(Stage::settings(), &["1"]).await;
    for user in ["2", "3"] {
        stage.pause(user, 1).await;
    }
    stage.flip("3", 1).await;
    let sweep = gate.sweep(["1", "2", "3"].map(str::to_owned), MIGRATION).await;
    assert_eq!((&sweep.legacy[..], &sweep.new[..]), (&["1".to_owned()][..], &["3".to_owned()][..]));
    assert_eq!(sweep.later, ["2"]);
    assert_eq!(sweep.in_time(), Ok(()));
    let position = stage.pause("1", 1).await;
    let (identity, users) = (stage.identity.clone(), ["1".to_owned()]);
    let drain = tokio::spawn(async move { identity.drain(&users, Some(&position), Duration::ZERO).await });
    until(async || gate.admit_now("1").is_none()).await;
    assert!(!drain.is_finished());
    drop(sweep);
    assert_eq!(drain.await.unwrap().unwrap().acknowledged, 1);
}
