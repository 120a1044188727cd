//! The way back: lossless, or refused with a list of what changed.

use anyhow::Result;
use handover_engine::Outcome;
use handover_identity::State;
use handover_sandbox::Server;
use handover_tests::{Setup, World};
use handover_tracking::{CohortInfo, Kind, RetryOf};

const REMINDERS: &str = "invoice-reminders";

/// Users 1 to 5 on the new system.
async fn moved() -> Result<(World, CohortInfo)> {
    let world = Box::pin(World::new(Setup { rows_per_user: Some(3), ..Setup::default() })).await?;
    let cohort = world.launched(REMINDERS, "c", &["1", "2", "3", "4", "5"]).await?;
    let moved = Box::pin(world.drive(Kind::Move)).await?;
    assert!(moved.iter().all(|(_, outcome)| *outcome == Outcome::Finished), "{moved:?}");
    Ok((world, cohort))
}

async fn go_back(world: &World, cohort: &CohortInfo, users: &[&str]) -> Result<i64> {
    let users: Vec<String> = users.iter().map(|user| (*user).to_owned()).collect();
    let asked = world.engine.tracking.request_rollback(cohort, Some(&users)).await?;
    world.drive(Kind::Rollback).await?;
    Ok(asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_changed_something_on_the_new_system_stays_there_with_a_list_of_it() -> Result<()> {
    let (world, cohort) = moved().await?;
    let change = "UPDATE reminders.reminder SET subject = 'changed' WHERE owner_id = 2
                  AND legacy_id = (SELECT min(legacy_id) FROM reminders.reminder WHERE owner_id = 2)";
    world.sql(Server::Destination, change).await?;
    assert_eq!(go_back(&world, &cohort, &["1", "2"]).await?, 2);
    assert_eq!(world.state(REMINDERS, "1").await?, "rolled_back");
    assert_eq!(world.state(REMINDERS, "2").await?, "completed");
    assert_eq!(world.home(REMINDERS, "2").await?, State::Migrated);
    assert_eq!(world.moved_reminders("2").await?, 3);
    let reason = world.reason(REMINDERS, "2").await?;
    assert_eq!(
        (reason["kind"].as_str(), &reason["differences"]["rows"][0]["fields"][0]),
        (Some("changed"), &"subject".into())
    );
    assert!(!reason.to_string().contains("'changed'"), "values are not told");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_whose_legacy_rows_changed_after_the_move_is_not_taken_back() -> Result<()> {
    let (world, cohort) = moved().await?;
    let late = "UPDATE shop.invoice_reminder SET body = body || '.' WHERE invoice_id IN
                (SELECT id FROM shop.invoice WHERE owner_id = 3)";
    world.sql(Server::Legacy, late).await?;
    go_back(&world, &cohort, &["3"]).await?;
    assert_eq!(world.state(REMINDERS, "3").await?, "completed");
    assert_eq!(world.home(REMINDERS, "3").await?, State::Migrated);
    assert_eq!(world.reason(REMINDERS, "3").await?["kind"], "legacy_changed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_completed_users_of_the_cohort_go_back_and_each_once() -> Result<()> {
    let (world, cohort) = moved().await?;
    assert_eq!(go_back(&world, &cohort, &["1", "1", "77", "nobody"]).await?, 1);
    assert_eq!(go_back(&world, &cohort, &["1"]).await?, 0, "a rolled back user is not completed");
    let status = world.engine.tracking.status(&cohort).await?;
    assert_eq!((status.users.rolled_back, status.users.completed, status.users.total()), (1, 4, 5));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolled_back_user_can_move_again_and_both_examples_make_hybrids() -> Result<()> {
    let (world, cohort) = moved().await?;
    go_back(&world, &cohort, &["4"]).await?;
    assert_eq!(world.engine.tracking.retry(&cohort, RetryOf::RolledBack, None).await?, 1);
    world.drive(Kind::Move).await?;
    assert_eq!(world.state(REMINDERS, "4").await?, "completed");

    let settings = world.launched("invoice-settings", "settings", &["1", "4"]).await?;
    world.drive(Kind::Move).await?;
    assert_eq!(world.engine.tracking.status(&settings).await?.users.completed, 2);
    let hybrid = world.engine.identity.get(&["2".to_owned(), "4".to_owned()]).await?;
    let state = |nth: usize, migration| hybrid[nth].state(migration);
    assert_eq!((state(0, REMINDERS), state(0, "invoice-settings")), (State::Migrated, State::Legacy));
    assert_eq!((state(1, REMINDERS), state(1, "invoice-settings")), (State::Migrated, State::Migrated));
    go_back(&world, &settings, &["4"]).await?;
    assert_eq!(world.home("invoice-settings", "4").await?, State::Legacy);
    assert_eq!(world.home(REMINDERS, "4").await?, State::Migrated);
    Ok(())
}
