//! The stages themselves, run in this process on real servers, without Redis between them.

use anyhow::Result;
use handover_engine::Outcome;
use handover_identity::State;
use handover_tests::{Setup, World};
use handover_tracking::Kind;

#[tokio::test(flavor = "multi_thread")]
async fn a_user_moves_through_all_stages_with_equal_digests_and_goes_back_losslessly() -> Result<()> {
    let world = World::new(Setup::default()).await?;
    let cohort = world.launched("invoice-reminders", "first", &["1", "2", "3", "4", "5"]).await?;
    let moved = world.drive(Kind::Move).await?;
    assert_eq!(moved.len(), 5);
    assert!(moved.iter().all(|(_, outcome)| *outcome == Outcome::Finished), "{moved:?}");
    let status = world.engine.tracking.status(&cohort).await?;
    assert_eq!((status.users.completed, status.users.total()), (5, 5), "{status:?}");
    let records = world.engine.identity.get(&["3".to_owned()]).await?;
    assert_eq!(records[0].state("invoice-reminders"), State::Migrated);

    assert_eq!(world.engine.tracking.request_rollback(&cohort, None).await?, 5);
    let back = world.drive(Kind::Rollback).await?;
    assert!(back.iter().all(|(_, outcome)| *outcome == Outcome::Finished), "{back:?}");
    let status = world.engine.tracking.status(&cohort).await?;
    assert_eq!((status.users.rolled_back, status.users.total()), (5, 5), "{status:?}");
    let left: i64 = world
        .engine
        .destination
        .get()
        .await?
        .query_one("SELECT count(*) FROM reminders.reminder", &[])
        .await?
        .get(0);
    assert_eq!(left, 0);
    Ok(())
}
