//! A take-back that was interrupted after any of its steps is finished by whoever comes next, at the user's home.

use anyhow::{Context, Result};
use handover_engine::{Job, Outcome, StageName};
use handover_identity::State;
use handover_sandbox::Server;
use handover_tests::{Setup, World};
use handover_tracking::{Claim, Closing, Ended, Kind};
use serde_json::json;

const REMINDERS: &str = "invoice-reminders";

/// Steps of a take-back, in their order.
const STEPS: usize = 4;

/// Does the first `steps` steps of taking an attempt back, as the engine does, and stops there.
async fn begin_to_take_back(world: &World, job: &Job, steps: usize) -> Result<()> {
    let engine = &world.engine;
    let raised = [(job.user.clone(), job.version + 1)];
    if steps >= 1 {
        engine.identity.raise(REMINDERS, &raised).await?;
    }
    if steps >= 2 {
        let reason = json!({ "kind": "test", "message": "interrupted on the way back" });
        assert!(engine.tracking.raise(1, &job.claim(), job.version + 1, &reason, None).await?);
    }
    if steps >= 3 {
        let remove = format!(
            "DELETE FROM reminders.recipient WHERE reminder_id IN (SELECT id FROM reminders.reminder WHERE owner_id = {0});
             DELETE FROM reminders.reminder WHERE owner_id = {0}",
            job.user
        );
        world.sql(Server::Destination, &remove).await?;
    }
    if steps >= STEPS {
        engine.identity.release(REMINDERS, &raised).await?;
    }
    Ok(())
}

/// Makes every pause and attempt an hour older, so that the reconciler finds them due.
async fn age(world: &World) -> Result<()> {
    let attempts = "UPDATE handover.open_attempt SET state_at = state_at - interval '1 hour',
                    admitted_at = admitted_at - interval '1 hour'";
    world.sql(Server::Destination, attempts).await?;
    let pauses = "UPDATE identity.users SET paused_at = paused_at - interval '1 hour'";
    world.sql(Server::Identity, pauses).await
}

async fn drawn(world: &World, users: &[&str]) -> Result<Vec<Job>> {
    world.launched(REMINDERS, "c", users).await?;
    let drawn = world.engine.tracking.draw(Kind::Move, 100).await?;
    let job = |drawn: handover_tracking::Drawn| Job {
        migration: drawn.migration,
        user: drawn.user,
        version: drawn.version,
    };
    Ok(drawn.into_iter().map(job).collect())
}

/// Nobody is paused, in tracking, in Identity's truth or in its mirror.
async fn assert_quiet(world: &World) -> Result<()> {
    assert_eq!(world.number(Server::Destination, "SELECT paused::int8 FROM handover.admission").await?, 0);
    assert_eq!(world.number(Server::Destination, "SELECT count(*) FROM handover.open_attempt").await?, 0);
    assert!(world.engine.identity.paused().await?.is_empty());
    assert!(world.engine.identity.verify_mirror().await?.is_equal());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_take_back_interrupted_after_any_step_is_finished_on_legacy_and_the_reason_kept() -> Result<()> {
    let world = World::new(Setup { users: 10, rows_per_user: Some(3), ..Setup::default() }).await?;
    let users: Vec<String> = (1..=10).map(|user| user.to_string()).collect();
    let jobs = drawn(&world, &users.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    assert_eq!(jobs.len(), 2 * (STEPS + 1));
    world.run(StageName::Pause, &jobs).await;
    // The first half has committed its copy.
    world.run(StageName::Copy, &jobs[..=STEPS]).await;
    for half in jobs.chunks(STEPS + 1) {
        for (steps, job) in half.iter().enumerate() {
            begin_to_take_back(&world, job, steps).await?;
        }
    }
    age(&world).await?;
    let settled = world.engine.settle().await?;
    assert_eq!(settled.overdue + settled.failing, jobs.len(), "{settled:?}");
    for (nth, job) in jobs.iter().enumerate() {
        let steps = nth % (STEPS + 1);
        assert_eq!(world.state(REMINDERS, &job.user).await?, "failed", "after {steps} steps");
        assert_eq!(world.home(REMINDERS, &job.user).await?, State::Legacy, "after {steps} steps");
        assert_eq!(world.moved_reminders(&job.user).await?, 0, "after {steps} steps");
        let kind = if steps < 2 { "max_pause" } else { "test" };
        assert_eq!(world.reason(REMINDERS, &job.user).await?["kind"], kind, "after {steps} steps");
    }
    assert_quiet(&world).await?;
    // The worker that was on its way wakes up late, at each stage.
    for stage in [StageName::Pause, StageName::Copy, StageName::Verify, StageName::Complete] {
        let late = world.run(stage, &jobs).await;
        assert!(late.iter().all(|outcome| *outcome == Outcome::Stale), "{stage}: {late:?}");
    }
    assert_eq!(world.engine.settle().await?, handover_engine::Settled::default(), "nothing is left to do");
    assert_quiet(&world).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_was_flipped_is_rolled_forward_and_never_back() -> Result<()> {
    let world = World::new(Setup { rows_per_user: Some(3), ..Setup::default() }).await?;
    let jobs = drawn(&world, &["1", "2"]).await?;
    for stage in [StageName::Pause, StageName::Copy, StageName::Verify] {
        world.run(stage, &jobs).await;
    }
    // The complete worker dies between Identity's flip and tracking.
    let claims: Vec<(String, i64)> = jobs.iter().map(|job| (job.user.clone(), job.version)).collect();
    world.engine.identity.flip(REMINDERS, &claims).await?;
    // One of the two is found by its job, delivered again, the other by the reconciler.
    assert_eq!(world.run(StageName::Complete, &jobs[..1]).await, [Outcome::Finished]);
    age(&world).await?;
    assert_eq!(world.engine.settle().await?.overdue, 1);
    for job in &jobs {
        assert_eq!(world.state(REMINDERS, &job.user).await?, "completed");
        assert_eq!(world.home(REMINDERS, &job.user).await?, State::Migrated);
        assert_eq!(world.moved_reminders(&job.user).await?, 3);
    }
    assert_quiet(&world).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_refused_by_a_worker_that_died_before_it_told_identity_is_unpaused_at_home() -> Result<()>
{
    let world = World::new(Setup { rows_per_user: Some(3), ..Setup::default() }).await?;
    let cohort = world.launched(REMINDERS, "c", &["1"]).await?;
    world.drive(Kind::Move).await?;
    world.engine.tracking.request_rollback(&cohort, None).await?;
    let drawn = world.engine.tracking.draw(Kind::Rollback, 1).await?.remove(0);
    let claim = Claim { user: drawn.user.clone(), version: drawn.version };
    world.engine.tracking.admit(1, Kind::Rollback, std::slice::from_ref(&claim), 9).await?;
    world.engine.identity.begin_rollback(REMINDERS, &[(drawn.user, drawn.version)]).await?;
    let closed = world.engine.tracking.close(1, Closing::Refused, &[Ended::of(claim)]).await?;
    assert_eq!(closed.len(), 1);
    assert!(world.home(REMINDERS, "1").await.is_err(), "still paused");
    age(&world).await?;
    assert_eq!(world.engine.settle().await?.orphans, 1);
    assert_eq!(world.home(REMINDERS, "1").await?, State::Migrated);
    assert_eq!(world.state(REMINDERS, "1").await?, "completed");
    assert_eq!(world.moved_reminders("1").await?, 3);
    assert_quiet(&world).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_ends_although_its_plan_no_longer_fits_the_destination() -> Result<()> {
    let mut world = World::new(Setup { rows_per_user: Some(3), ..Setup::default() }).await?;
    let jobs = drawn(&world, &["1", "2"]).await?;
    world.run(StageName::Pause, &jobs).await;
    world.run(StageName::Copy, &jobs[..1]).await;
    world.sql(Server::Destination, "ALTER TABLE reminders.reminder RENAME subject TO heading").await?;
    // A process that starts anew, and has bound no plan yet.
    world.engine.plans = handover_engine::Plans::new(handover_transform::Registry::new());
    age(&world).await?;
    world.engine.settle().await?;
    for user in ["1", "2"] {
        assert_eq!(world.state(REMINDERS, user).await?, "failed", "{user}");
        assert_eq!(world.home(REMINDERS, user).await?, State::Legacy, "{user}");
    }
    // What cannot be proven to be ours is left, and said to be.
    assert_eq!(world.moved_reminders("1").await?, 3);
    let reason = world.reason(REMINDERS, "1").await?;
    let message = reason["message"].as_str().context("a message")?;
    assert!(message.contains("left at the destination"), "{message}");
    assert_quiet(&world).await
}
