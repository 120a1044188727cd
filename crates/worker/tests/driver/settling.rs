//! What becomes of jobs, by what their step says of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use handover_engine::{Error, Job, Outcome, StageName};
use handover_queue::Entry;
use handover_worker::Limits;
use serde::Serialize;

use crate::support::*;

fn retry() -> Outcome {
    Outcome::Retry { reason: "the replica is away".to_owned() }
}

#[tokio::test]
async fn a_job_that_advances_is_on_the_next_list_with_its_trace_and_held_nowhere() {
    let redis = Redis::start();
    let queues = redis.queues();
    let trace = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
    let mut entry = Entry::new(job("invoices", 7), 1).with_traceparent(trace.clone());
    entry.tries = 2;
    queues.push(STAGE, &[entry]).await.unwrap();

    let (step, _runs) = Fake::new(|_| Outcome::Advance(StageName::Verify));
    let running = Running::start(&redis, step, limits());
    until_empty(&queues, STAGE).await;
    running.stop().await;

    let next = queues.claim::<Job>("verify", "test", 10, limits().lease).await.unwrap();
    assert_eq!(next.jobs.len(), 1);
    let entry = &next.jobs[0].entry;
    assert_eq!((&entry.job, entry.tries), (&job("invoices", 7), 0), "tries are a stage's own");
    assert_eq!(entry.traceparent, trace);
}

#[tokio::test]
async fn every_job_of_a_long_list_runs_once_and_in_batches() {
    let redis = Redis::start();
    let queues = redis.queues();
    push(&queues, &jobs(95)).await;
    let (step, mut runs) = Fake::new(|_| Outcome::Finished);
    let running = Running::start(&redis, step, limits());
    until_empty(&queues, STAGE).await;
    running.stop().await;
    let mut seen = Vec::new();
    while let Ok(batch) = runs.try_recv() {
        assert!(batch.len() <= limits().batch);
        seen.extend(batch.into_iter().map(|job| job.user.parse::<usize>().unwrap()));
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..95).collect::<Vec<_>>());
}

#[tokio::test]
async fn finished_and_stale_jobs_leave_nothing_behind() {
    let redis = Redis::start();
    let queues = redis.queues();
    push(&queues, &jobs(2)).await;
    let (step, _runs) = Fake::new(|job| if job.user == "0" { Outcome::Finished } else { Outcome::Stale });
    let running = Running::start(&redis, step, limits());
    until_empty(&queues, STAGE).await;
    running.stop().await;
    for stage in StageName::ALL {
        let depth = queues.depth(stage.as_str()).await.unwrap();
        assert_eq!((depth.waiting, depth.dead), (0, 0), "{stage}");
    }
}

#[tokio::test]
async fn a_failing_job_is_tried_max_tries_times_then_given_up_and_dead_with_its_reason() {
    let redis = Redis::start();
    let queues = redis.queues();
    push(&queues, &jobs(2)).await;
    let given_up = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&given_up);
    let (step, mut runs) = Fake::new(|job| if job.user == "0" { retry() } else { Outcome::Finished });
    let step = step.giving_up(move |job| {
        assert_eq!(job.user, "0");
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let running = Running::start(&redis, step, limits());
    until("the job is dead", async || queues.depth(STAGE).await.unwrap().dead == 1).await;
    running.stop().await;

    let mut tries = 0;
    while let Ok(batch) = runs.try_recv() {
        tries += batch.iter().filter(|job| job.user == "0").count();
    }
    assert_eq!(tries, limits().max_tries as usize);
    assert_eq!(given_up.load(Ordering::SeqCst), 1);
    assert!(redis.cli(&["LINDEX", "handover:dead:copy", "0"]).contains("the replica is away"));
}

#[tokio::test]
async fn a_job_whose_attempt_cannot_be_taken_back_yet_is_not_dead_but_comes_again() {
    let redis = Redis::start();
    let queues = redis.queues();
    push(&queues, &jobs(1)).await;
    let refusals = Arc::new(AtomicUsize::new(2));
    let left = Arc::clone(&refusals);
    let (step, _runs) = Fake::new(|_| retry());
    let step = step.giving_up(move |_| {
        let refuse = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if refuse.is_ok() { Err(Error::Replica("the destination is away".to_owned())) } else { Ok(()) }
    });
    let running = Running::start(&redis, step, limits());
    until("the job is dead", async || queues.depth(STAGE).await.unwrap().dead == 1).await;
    assert_eq!(refusals.load(Ordering::SeqCst), 0);
    running.stop().await;
}

#[tokio::test]
async fn a_parked_job_is_dead_at_once_and_not_given_up_a_second_time() {
    let redis = Redis::start();
    let queues = redis.queues();
    push(&queues, &jobs(1)).await;
    let (step, mut runs) = Fake::new(|_| Outcome::Park { reason: "constraint fk_1".to_owned() });
    let step = step.giving_up(|_| panic!("the step has taken the attempt back itself"));
    let running = Running::start(&redis, step, limits());
    until("the job is dead", async || queues.depth(STAGE).await.unwrap().dead == 1).await;
    running.stop().await;
    assert_eq!(next(&mut runs).await.len(), 1);
    assert!(runs.try_recv().is_err());
}

#[tokio::test]
async fn a_job_that_cannot_be_begun_goes_back_with_no_try_counted() {
    let redis = Redis::start();
    let queues = redis.queues();
    push(&queues, &jobs(3)).await;
    let (step, mut runs) = Fake::new(|_| Outcome::NotNow);
    let one_slot = Limits { concurrency: 1, ..limits() };
    let running = Running::start(&redis, step, one_slot);
    let first = next(&mut runs).await;
    let second = next(&mut runs).await;
    running.stop().await;
    assert_eq!(first, second, "the same jobs, in the same order");
    let left = take(&queues, STAGE).await;
    assert_eq!(left, jobs(3).into_iter().map(|job| (job, 0)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_panic_costs_its_own_batch_a_try_and_nobody_else_anything() {
    let redis = Redis::start();
    let queues = redis.queues();
    push(&queues, &[job("bad", 1), job("good", 2)]).await;
    let panicked = AtomicBool::new(false);
    let (step, _runs) = Fake::new(move |job| {
        assert!(job.migration != "bad" || panicked.swap(true, Ordering::SeqCst), "a bug in the step");
        Outcome::Advance(StageName::Verify)
    });
    let running = Running::start(&redis, step, limits());
    until_empty(&queues, STAGE).await;
    running.stop().await;
    assert_eq!(queues.depth("verify").await.unwrap().waiting, 2);
}

#[tokio::test]
async fn a_garbled_entry_is_set_aside_and_the_others_run() {
    #[derive(Serialize)]
    struct Nonsense {
        nonsense: u8,
    }
    let redis = Redis::start();
    let queues = redis.queues();
    queues.push(STAGE, &[Entry::new(Nonsense { nonsense: 1 }, 1)]).await.unwrap();
    push(&queues, &jobs(1)).await;
    let (step, mut runs) = Fake::new(|_| Outcome::Finished);
    let running = Running::start(&redis, step, limits());
    assert_eq!(next(&mut runs).await, jobs(1));
    until_empty(&queues, STAGE).await;
    assert_eq!(queues.depth(STAGE).await.unwrap().dead, 1);
    running.stop().await;
}

#[tokio::test]
async fn no_more_jobs_are_claimed_than_there_is_room_for() {
    let redis = Redis::start();
    let queues = redis.queues();
    push(&queues, &jobs(9)).await;
    let (step, mut runs) = Fake::new(|_| Outcome::Finished);
    let (step, hold) = step.held();
    let room = Arc::clone(&step.room);
    room.store(0, Ordering::SeqCst);
    let running = Running::start(&redis, step, Limits { concurrency: 1, ..limits() });
    until("the worker is listed", async || !queues.workers().await.unwrap().is_empty()).await;
    assert_eq!(queues.depth(STAGE).await.unwrap().waiting, 9);

    room.store(4, Ordering::SeqCst);
    assert_eq!(next(&mut runs).await.len(), 4);
    assert_eq!(queues.depth(STAGE).await.unwrap().waiting, 5);
    room.store(100, Ordering::SeqCst);
    hold.add_permits(2);
    assert_eq!(next(&mut runs).await.len(), 5);
    running.stop().await;
}

#[tokio::test]
async fn a_worker_is_listed_while_it_lives_and_not_after() {
    let redis = Redis::start();
    let queues = redis.queues();
    let (step, _runs) = Fake::new(|_| Outcome::Finished);
    let running = Running::start(&redis, step, limits());
    let id = running.worker.id.to_string();
    until("the worker is listed", async || {
        queues.workers().await.unwrap().iter().any(|worker| worker.id == id && worker.facts["stage"] == STAGE)
    })
    .await;
    running.stop().await;
    assert!(queues.workers().await.unwrap().is_empty());
}
