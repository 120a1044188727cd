//! Redis that is emptied, frozen or away, and leases that run out.

use std::time::Duration;

use handover_engine::{Outcome, StageName};
use handover_worker::Limits;

use crate::support::*;

#[tokio::test]
async fn leases_are_renewed_for_as_long_as_a_batch_runs() {
    let redis = Redis::start();
    let queues = redis.queues();
    push(&queues, &jobs(3)).await;
    let (step, mut runs) = Fake::new(|_| Outcome::Finished);
    let (step, hold) = step.held();
    let lease = Duration::from_millis(600);
    let running = Running::start(&redis, step, Limits { lease, ..limits() });
    next(&mut runs).await;
    let begun = tokio::time::Instant::now();
    until("three leases have passed", async || begun.elapsed() > lease * 3).await;
    // The driver's own upkeep recovers too, many times in a lease: nothing may have come back.
    assert_eq!(queues.recover(STAGE, 5).await.unwrap().requeued, 0);
    assert_eq!(queues.depth(STAGE).await.unwrap().inflight, 3);
    assert!(runs.try_recv().is_err(), "no job was delivered twice");
    hold.add_permits(1);
    until_empty(&queues, STAGE).await;
    running.stop().await;
}

#[tokio::test]
async fn a_vanished_workers_jobs_are_taken_over() {
    let redis = Redis::start();
    let queues = redis.queues();
    push(&queues, &jobs(2)).await;
    let vanished =
        queues.claim::<handover_engine::Job>(STAGE, "vanished", 10, Duration::from_millis(50)).await;
    assert_eq!(vanished.unwrap().jobs.len(), 2);
    let (step, mut runs) = Fake::new(|_| Outcome::Finished);
    let running = Running::start(&redis, step, limits());
    let mut seen = next(&mut runs).await;
    while seen.len() < 2 {
        seen.extend(next(&mut runs).await);
    }
    until_empty(&queues, STAGE).await;
    running.stop().await;
}

#[tokio::test]
async fn redis_emptied_in_the_middle_of_a_batch_loses_no_step_that_was_done() {
    let redis = Redis::start();
    let queues = redis.queues();
    push(&queues, &jobs(3)).await;
    let (step, mut runs) = Fake::new(|_| Outcome::Advance(StageName::Verify));
    let (step, hold) = step.held();
    let running = Running::start(&redis, step, limits());
    assert_eq!(next(&mut runs).await.len(), 3);
    redis.cli(&["FLUSHALL"]);
    hold.add_permits(1);
    until("what follows is queued", async || queues.depth("verify").await.unwrap().waiting == 3).await;
    running.stop().await;
}

#[tokio::test]
async fn a_frozen_redis_shows_in_readiness_is_dialled_anew_and_work_goes_on() {
    let redis = Redis::start();
    let queues = redis.queues();
    let (step, mut runs) = Fake::new(|_| Outcome::Finished);
    let watchdog = Duration::from_millis(800);
    let idle_wait = Duration::from_millis(50);
    let running = Running::start(&redis, step, Limits { watchdog, idle_wait, ..limits() });
    let vitals = &running.worker.vitals;
    until("the first claim is answered", async || vitals.complaint().is_none()).await;
    redis.freeze();
    until("the connection is rebuilt", async || {
        vitals.complaint().is_some_and(|text| text.contains("rebuilt") && !text.contains("rebuilt 0 times"))
    })
    .await;
    redis.thaw();
    push(&queues, &jobs(1)).await;
    assert_eq!(next(&mut runs).await, jobs(1));
    until("it is ready again", async || vitals.complaint().is_none()).await;
    running.stop().await;
}

#[tokio::test]
async fn an_outcome_waits_for_a_redis_that_is_away_for_a_moment() {
    let redis = Redis::start();
    let queues = redis.queues();
    push(&queues, &jobs(2)).await;
    let (step, mut runs) = Fake::new(|_| Outcome::Advance(StageName::Verify));
    let (step, hold) = step.held();
    let running = Running::start(&redis, step, Limits { concurrency: 1, ..limits() });
    assert_eq!(next(&mut runs).await.len(), 2);
    redis.freeze();
    hold.add_permits(1);
    let frozen = tokio::time::Instant::now();
    until("a call has run into its time-out", async || frozen.elapsed() > Duration::from_secs(1)).await;
    redis.thaw();
    until_empty(&queues, STAGE).await;
    let mut users: Vec<String> = take(&queues, "verify").await.into_iter().map(|(job, _)| job.user).collect();
    users.sort();
    users.dedup();
    assert_eq!(users, ["0", "1"], "queued at least once");
    running.stop().await;
}

#[tokio::test]
async fn a_stopping_driver_finishes_what_runs_and_hands_back_what_is_not_begun() {
    let redis = Redis::start();
    let queues = redis.queues();
    // One claim, two migrations: the second group begins when the first has ended.
    push(&queues, &[job("a", 1), job("a", 2), job("b", 3)]).await;
    let (step, mut runs) = Fake::new(|_| Outcome::Advance(StageName::Verify));
    let (step, hold) = step.held();
    let running = Running::start(&redis, step, limits());
    assert_eq!(next(&mut runs).await, [job("a", 1), job("a", 2)]);
    running.worker.lifecycle.stop();
    hold.add_permits(2);
    running.stop().await;
    assert!(runs.try_recv().is_err());
    assert_eq!(take(&queues, STAGE).await, [(job("b", 3), 0)]);
    assert_eq!(queues.depth("verify").await.unwrap().waiting, 2);
}
