//! Many workers at once, on the same jobs, some of them killed, with a reconciler that is far too impatient.

use std::time::Duration;

use anyhow::Result;
use handover_engine::{Engine, Job, Outcome, StageName};
use handover_sandbox::Server;
use handover_tracking::{CohortInfo, Kind, RetryOf};

use crate::world::{Setup, World, run};

const USERS: u64 = 12;
const WORKERS: u64 = 4;
const ROUNDS: usize = 30;

/// Works as several workers would whose jobs come twice, late and in any order, and who die in the middle.
async fn work(engine: Engine, cohort: CohortInfo, seed: u64) -> Result<()> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut remembered: Vec<(StageName, Job)> = Vec::new();
    for _ in 0..ROUNDS {
        match rng.u8(..10) {
            0 => drop(engine.tracking.hold(&cohort, "test").await?),
            1 => drop(engine.tracking.release(&cohort).await?),
            2 => drop(engine.tracking.retry(&cohort, RetryOf::Failed, None).await?),
            3 => drop(engine.tracking.retry(&cohort, RetryOf::RolledBack, None).await?),
            4 => drop(engine.tracking.request_rollback(&cohort, None).await?),
            5 => drop(engine.settle().await?),
            _ => {}
        }
        for kind in [Kind::Move, Kind::Rollback] {
            engine.tracking.draw(kind, 5).await?;
        }
        // Also jobs that were due some time ago.
        remembered.extend(engine.due_jobs(Duration::ZERO).await?);
        rng.shuffle(&mut remembered);
        remembered.truncate(60);
        let stage = StageName::ALL[rng.usize(..StageName::ALL.len())];
        let due = remembered.iter().filter(|(due, _)| *due == stage);
        let mut jobs: Vec<Job> = due.map(|(_, job)| job.clone()).collect();
        jobs.truncate(6);
        if rng.bool() {
            // Killed somewhere between two writes.
            let life = Duration::from_millis(rng.u64(1..25));
            drop(tokio::time::timeout(life, run(&engine, stage, &jobs)).await);
        } else {
            run(&engine, stage, &jobs).await;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_count_of_paused_users_never_drifts_and_every_user_is_whole_at_home() -> Result<()> {
    let max_pause = Duration::from_millis(300);
    let world = World::new(Setup { users: USERS, max_paused: 5, max_pause, ..Setup::default() }).await?;
    let cohort = world.launched(USERS).await?;
    let workers: Vec<_> = (0..WORKERS)
        .map(|seed| Ok(tokio::spawn(work(world.another()?, cohort.clone(), seed))))
        .collect::<Result<_>>()?;
    for worker in workers {
        worker.await??;
    }
    Box::pin(quiet(&world, &cohort)).await?;
    assert_eq!(world.counted().await?, 0);
    let admitted = "SELECT count(*) FROM handover.open_attempt";
    assert_eq!(world.number(Server::Destination, admitted).await?, 0);
    let paused = "SELECT count(*) FROM identity.users WHERE open_migration IS NOT NULL";
    assert_eq!(world.number(Server::Identity, paused).await?, 0);
    let status = world.engine.tracking.status(&cohort).await?;
    assert_eq!((status.users.total(), status.users.queued), (USERS as i64, 0), "{status:?}");
    for user in (1..=USERS).map(|user| user.to_string()) {
        let (home, rows) = (world.state(&user).await?, world.rows(&user).await?);
        let standing = world.standing(&user).await?;
        let expected = if home == handover_identity::State::Migrated { (3, true) } else { (0, false) };
        assert_eq!((rows, standing == "completed"), expected, "user {user} is {home:?} and {standing}");
    }
    Ok(())
}

/// Carries everything to its end: what moves is ended by the impatient reconciler or by the stages.
async fn quiet(world: &World, cohort: &CohortInfo) -> Result<()> {
    let mut patient = world.another()?;
    patient.options.max_pause = Duration::from_mins(1);
    world.engine.tracking.release(cohort).await?;
    let work = async {
        loop {
            let moved = patient.tracking.draw(Kind::Move, 100).await?.len();
            let back = patient.tracking.draw(Kind::Rollback, 100).await?.len();
            let due = patient.due_jobs(Duration::ZERO).await?;
            let open = "SELECT count(*) FROM handover.open_attempt";
            if moved + back + due.len() == 0 && world.number(Server::Destination, open).await? == 0 {
                return anyhow::Ok(());
            }
            for (stage, job) in due {
                let outcomes = run(&patient, stage, std::slice::from_ref(&job)).await;
                anyhow::ensure!(!matches!(outcomes[0], Outcome::Park { .. }), "{job:?}: {outcomes:?}");
            }
            world.age_pauses().await?;
            patient.settle().await?;
        }
    };
    tokio::time::timeout(Duration::from_mins(4), work).await?
}
