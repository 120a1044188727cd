//! Workers that are told to stop: what they have begun is finished or handed back, and costs the user no attempt.

use anyhow::{Context, Result};
use handover_sandbox::Server;
use handover_tests::{Fleet, Setup, World, until};
use handover_tracking::{Claim, CohortInfo};
use nix::sys::signal::Signal;
use tokio_postgres::Transaction;

const REMINDERS: &str = "invoice-reminders";

/// The copy worker's number in a fleet of all.
const COPY: usize = 1;

async fn world() -> Result<(World, CohortInfo)> {
    let world = World::new(Setup { rows_per_user: Some(3), ..Setup::default() }).await?;
    let cohort = world.launched(REMINDERS, "c", &["1", "2", "3"]).await?;
    Ok((world, cohort))
}

/// Keeps every copy from going on until the transaction ends.
async fn hold_up(session: &mut handover_postgres::Connection) -> Result<Transaction<'_>> {
    let transaction = session.transaction().await?;
    transaction.batch_execute("LOCK TABLE reminders.reminder IN ACCESS EXCLUSIVE MODE").await?;
    Ok(transaction)
}

/// Resolves once a session of handover waits for that lock: a copy is under way.
async fn in_mid_copy(world: &World, fleet: &Fleet<'_>) -> Result<()> {
    let session = world.client(Server::Destination).await?;
    let sql = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                WHERE NOT l.granted AND l.relation = 'reminders.reminder'::regclass AND d.datname = current_database()";
    let waiting = || async { Ok(session.query_one(sql, &[]).await?.get::<_, i64>(0) > 0) };
    fleet.until("a copy waits for the lock", waiting).await
}

async fn all_completed_at_once(world: &World, fleet: &Fleet<'_>, cohort: &CohortInfo) -> Result<()> {
    let tracking = &world.engine.tracking;
    let done = || async { Ok(tracking.status(cohort).await?.users.completed == 3) };
    fleet.until("everybody has completed", done).await?;
    for user in ["1", "2", "3"] {
        let record = tracking.user(user).await?.remove(0);
        assert_eq!((record.attempts.len(), record.version), (1, 1), "no second attempt for user {user}");
        assert_eq!(world.moved_reminders(user).await?, 3);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_has_time_finishes_the_copy_it_has_begun() -> Result<()> {
    let (world, cohort) = world().await?;
    let mut session = world.client(Server::Destination).await?;
    let lock = hold_up(&mut session).await?;
    let mut fleet = Fleet::of_all(&world)?;
    in_mid_copy(&world, &fleet).await?;
    fleet.signal(COPY, Signal::SIGTERM)?;
    until("it says that it stops", || async { Ok(fleet.log(COPY).contains("stopping")) }).await?;
    lock.rollback().await?;
    assert_eq!(fleet.ended(COPY).await?.code(), Some(0));
    // Nobody copies any more, so this is its work.
    let copied = || async { Ok(world.engine.tracking.status(&cohort).await?.users.completed >= 1) };
    fleet.until("what it had begun is done", copied).await?;
    fleet.start("handover-copy")?;
    all_completed_at_once(&world, &fleet, &cohort).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_time_is_up_hands_back_what_it_has_begun_and_no_try_is_counted() -> Result<()> {
    let (world, cohort) = world().await?;
    let mut session = world.client(Server::Destination).await?;
    let lock = hold_up(&mut session).await?;
    let mut fleet = Fleet::new(&world)?;
    for program in ["handover-pause", "handover-verify", "handover-complete", "handover-reconcile"] {
        fleet.start(program)?;
    }
    let copy = fleet.start_with("handover-copy", &[("WORKER__SHUTDOWN", "200ms")])?;
    in_mid_copy(&world, &fleet).await?;
    fleet.signal(copy, Signal::SIGTERM)?;
    assert_eq!(fleet.ended(copy).await?.code(), Some(0));
    fleet.until("all wait again", || async { Ok(world.waiting("copy").await?.len() == 3) }).await?;
    for job in world.waiting("copy").await? {
        assert_eq!(
            (&job["tries"], &job["recoveries"], &job["version"]),
            (&0.into(), &0.into(), &1.into()),
            "{job}"
        );
    }
    lock.rollback().await?;
    fleet.start("handover-copy")?;
    all_completed_at_once(&world, &fleet, &cohort).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_stops_at_once_and_the_lease_gives_the_job_back() -> Result<()> {
    let (world, cohort) = world().await?;
    let mut session = world.client(Server::Destination).await?;
    let lock = hold_up(&mut session).await?;
    let mut fleet = Fleet::of_all(&world)?;
    in_mid_copy(&world, &fleet).await?;
    fleet.signal(COPY, Signal::SIGTERM)?;
    until("it says that it stops", || async { Ok(fleet.log(COPY).contains("stopping")) }).await?;
    fleet.signal(COPY, Signal::SIGTERM)?;
    assert_eq!(fleet.ended(COPY).await?.code(), Some(143), "128 and the signal's number");
    lock.rollback().await?;
    fleet.start("handover-copy")?;
    all_completed_at_once(&world, &fleet, &cohort).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_slept_past_its_lease_and_wakes_undoes_and_doubles_nothing() -> Result<()> {
    let (world, cohort) = world().await?;
    let mut session = world.client(Server::Destination).await?;
    let lock = hold_up(&mut session).await?;
    let mut fleet = Fleet::of_all(&world)?;
    in_mid_copy(&world, &fleet).await?;
    fleet.signal(COPY, Signal::SIGSTOP)?;
    lock.rollback().await?;
    fleet.start("handover-copy")?;
    let tracking = &world.engine.tracking;
    // The sleeper's transaction may hold rows until its server ends it; then the other goes on.
    let done = || async { Ok(tracking.status(&cohort).await?.users.completed == 3) };
    fleet.until("another has done its work", done).await?;
    fleet.signal(COPY, Signal::SIGCONT)?;
    fleet.stop(COPY).await?;
    for user in ["1", "2", "3"] {
        let claim = Claim { user: user.to_owned(), version: 1 };
        assert!(tracking.open(1, &[claim]).await?.is_empty());
        assert_eq!(world.state(REMINDERS, user).await?, "completed");
        assert_eq!(world.moved_reminders(user).await?, 3, "user {user}");
    }
    let attempts = "SELECT count(*) FROM handover.attempt";
    assert_eq!(world.number(Server::Destination, attempts).await?, 3, "each moved by one attempt");
    assert!(fleet.log(COPY).contains("stopped"), "{}", fleet.log(COPY));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_reconciler_takes_over_when_the_leading_one_is_killed() -> Result<()> {
    let (world, cohort) = world().await?;
    let mut fleet = Fleet::new(&world)?;
    let first = fleet.start("handover-reconcile")?;
    until("one leads", || async { Ok(fleet.log(first).contains("leading")) }).await?;
    let second = fleet.start("handover-reconcile")?;
    let drawn = || async { Ok(world.waiting("pause").await?.len() == 3) };
    fleet.until("the window is filled", drawn).await?;
    fleet.kill(first).await?;
    until("the other leads", || async { Ok(fleet.log(second).contains("leading")) }).await?;
    let mut deleted = redis::cmd("DEL");
    deleted.arg(world.key("queue:pause"));
    deleted.exec_async(&mut world.redis().await?).await.context("redis answers")?;
    // The new leader finds that their jobs are gone.
    for program in ["handover-pause", "handover-copy", "handover-verify", "handover-complete"] {
        fleet.start(program)?;
    }
    all_completed_at_once(&world, &fleet, &cohort).await
}
