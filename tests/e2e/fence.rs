//! The position fence, and the order of launching, enrolling and moving.

use std::time::Duration;

use anyhow::Result;
use handover_engine::{Job, Outcome, StageName};
use handover_identity::State;
use handover_sandbox::Server;
use handover_tests::{Setup, World};
use handover_tracking::Kind;

const REMINDERS: &str = "invoice-reminders";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_read_before_the_replica_is_past_the_fence() -> Result<()> {
    // Its replay stands still for every database.
    let setup = Setup { rows_per_user: Some(2), own_servers: true, ..Setup::default() };
    let mut world = World::new(setup).await?;
    world.engine.options.replica_wait = Duration::from_millis(300);
    world.launched(REMINDERS, "c", &["1"]).await?;
    let replica = world.client(Server::Replica).await?;
    replica.batch_execute("SELECT pg_wal_replay_pause()").await?;
    // Acknowledged before the pause, and not on the replica.
    world.sql(Server::Legacy, "UPDATE shop.invoice_reminder SET subject = 'the last write'").await?;
    let drawn = world.engine.tracking.draw(Kind::Move, 1).await?.remove(0);
    let job = [Job { migration: drawn.migration, user: drawn.user, version: drawn.version }];
    assert_eq!(world.run(StageName::Pause, &job).await, [Outcome::Advance(StageName::Copy)]);
    let behind = world.run(StageName::Copy, &job).await;
    replica.batch_execute("SELECT pg_wal_replay_resume()").await?;
    assert!(
        matches!(&behind[0], Outcome::Retry { reason } if reason.contains("has not replayed")),
        "{behind:?}"
    );
    assert_eq!(world.moved_reminders("1").await?, 0);
    world.engine.options.replica_wait = Duration::from_secs(10);
    assert_eq!(world.run(StageName::Copy, &job).await, [Outcome::Advance(StageName::Verify)]);
    let fresh = "SELECT count(*) FROM reminders.reminder WHERE subject = 'the last write'";
    assert_eq!(world.number(Server::Destination, fresh).await?, 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_during_the_pause_is_found_by_the_second_look_at_the_source() -> Result<()> {
    let world = World::new(Setup { rows_per_user: Some(2), ..Setup::default() }).await?;
    world.launched(REMINDERS, "c", &["1"]).await?;
    let drawn = world.engine.tracking.draw(Kind::Move, 1).await?.remove(0);
    let job = [Job { migration: drawn.migration, user: drawn.user, version: drawn.version }];
    world.run(StageName::Pause, &job).await;
    world.run(StageName::Copy, &job).await;
    let escaped = "UPDATE shop.invoice_reminder SET subject = 'escaped' WHERE invoice_id IN
                   (SELECT id FROM shop.invoice WHERE owner_id = 1)";
    world.sql(Server::Legacy, escaped).await?;
    let verified = world.run(StageName::Verify, &job).await;
    assert!(matches!(verified[0], Outcome::Park { .. }), "{verified:?}");
    assert_eq!(world.reason(REMINDERS, "1").await?["kind"], "source_changed");
    assert_eq!(world.home(REMINDERS, "1").await?, State::Legacy);
    assert_eq!(world.moved_reminders("1").await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_up_that_is_enrolled_after_it_was_put_into_a_cohort_is_skipped() -> Result<()> {
    let world = World::new(Setup::default()).await?;
    let cohort = world.launched(REMINDERS, "c", &["1", "90001"]).await?;
    world.engine.identity.enroll("90001", &[REMINDERS.to_owned()]).await?;
    world.drive(Kind::Move).await?;
    let users = world.engine.tracking.status(&cohort).await?.users;
    assert_eq!((users.completed, users.skipped, users.total()), (1, 1, 2));
    assert_eq!(world.home(REMINDERS, "90001").await?, State::Migrated);
    assert_eq!(world.reason(REMINDERS, "90001").await?["kind"], "born_on_new");
    assert_eq!(world.number(Server::Destination, "SELECT paused::int8 FROM handover.admission").await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_launch_does_nothing_and_two_at_once_queue_each_user_once() -> Result<()> {
    let world = World::new(Setup::default()).await?;
    let cohort = world.cohort(REMINDERS, "c", &["1", "2", "3", "4", "5"]).await?;
    let tracking = &world.engine.tracking;
    let (one, other) = tokio::join!(tracking.launch(&cohort, None), tracking.launch(&cohort, None));
    assert_eq!(one?.queued + other?.queued, 5);
    assert_eq!(world.drive(Kind::Move).await?.len(), 5);
    assert_eq!(tracking.launch(&cohort, None).await?.queued, 0);
    assert!(world.drive(Kind::Move).await?.is_empty());
    assert_eq!(tracking.status(&cohort).await?.users.completed, 5);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_outlasts_its_bound_ends_on_legacy_with_the_reason_kept() -> Result<()> {
    let setup = Setup { rows_per_user: Some(2), max_pause: Duration::ZERO, ..Setup::default() };
    let world = World::new(setup).await?;
    world.launched(REMINDERS, "c", &["1", "2"]).await?;
    let drawn = world.engine.tracking.draw(Kind::Move, 2).await?;
    let job = |nth: usize| Job {
        migration: drawn[nth].migration.clone(),
        user: drawn[nth].user.clone(),
        version: drawn[nth].version,
    };
    let jobs = [job(0), job(1)];
    world.run(StageName::Pause, &jobs).await;
    world.run(StageName::Copy, &jobs[..1]).await;
    let settled = world.engine.settle().await?;
    assert_eq!(settled.overdue, 2, "{settled:?}");
    for user in ["1", "2"] {
        assert_eq!(world.state(REMINDERS, user).await?, "failed");
        assert_eq!(world.home(REMINDERS, user).await?, State::Legacy);
        assert_eq!(world.moved_reminders(user).await?, 0);
        assert_eq!(world.reason(REMINDERS, user).await?["kind"], "max_pause");
    }
    // What comes late finds nothing to do.
    let late = [world.run(StageName::Copy, &jobs).await, world.run(StageName::Verify, &jobs).await].concat();
    assert!(late.iter().all(|outcome| *outcome == Outcome::Stale), "{late:?}");
    Ok(())
}
