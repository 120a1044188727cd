//! Looking takes nothing, and never asks for everything at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use handover_queue::{Depth, Entry};

use crate::support::*;

#[tokio::test]
async fn depth_counts_each_place_and_tells_how_old_the_oldest_job_is() {
    let server = Server::start().await;
    let queues = server.queues().await;
    assert_eq!(queues.depth("copy").await.unwrap(), Depth::default());
    let now = queues.now_ms().await.unwrap();
    let mut jobs = entries(6);
    for entry in &mut jobs {
        entry.at = now - 5_000;
    }
    jobs[3].at = now - 90_000;
    queues.push("copy", &jobs).await.unwrap();
    let mut held = claim(&queues, 3).await;
    queues.park("copy", held.split_off(2), "no").await.unwrap();
    queues.retry("copy", held.split_off(1), |_| LEASE).await.unwrap();
    let depth = queues.depth("copy").await.unwrap();
    assert_eq!((depth.waiting, depth.inflight, depth.delayed, depth.dead), (3, 1, 1, 1));
    let age = depth.oldest_age_ms.unwrap();
    assert!((90_000..100_000).contains(&age), "{age}");
}

#[tokio::test]
async fn an_age_is_not_told_for_an_entry_that_does_not_say() {
    let server = Server::start().await;
    let queues = server.queues().await;
    for raw in ["scribble", r#"{"user":"1","version":1}"#] {
        server.cli::<usize>(&["RPUSH", "handover:queue:copy", raw]).await;
        assert_eq!(queues.depth("copy").await.unwrap().oldest_age_ms, None);
    }
}

#[tokio::test]
async fn a_job_from_a_clock_that_runs_ahead_has_no_age() {
    let server = Server::start().await;
    let queues = server.queues().await;
    let ahead = queues.now_ms().await.unwrap() + 60_000;
    queues.push("copy", &[Entry::new(job(1), ahead)]).await.unwrap();
    assert_eq!(queues.depth("copy").await.unwrap().oldest_age_ms, Some(0));
}

#[tokio::test]
async fn a_snapshot_has_the_jobs_that_wait_that_are_held_and_that_are_delayed() {
    let server = Server::start().await;
    let queues = server.queues().await;
    queues.push("copy", &entries(3500)).await.unwrap();
    let held = claim(&queues, 400).await;
    let mut delayed = claim(&queues, 300).await;
    queues.park("copy", delayed.split_off(299), "no").await.unwrap();
    queues.retry("copy", delayed, |_| LEASE).await.unwrap();
    server.cli::<usize>(&["LPUSH", "handover:queue:copy", "scribble"]).await;

    assert_eq!(all_users(&queues).await.len(), 3499);
    let some = queues.snapshot::<Job>("copy", 1000).await.unwrap();
    assert!(some.truncated);
    assert_eq!(some.jobs.len(), 999, "the entry that is no job is left out");
    assert_eq!(queues.ack("copy", held, None).await.unwrap().settled, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_misses_no_job_that_is_claimed_meanwhile() {
    let server = Server::start().await;
    let queues = server.queues().await;
    queues.push("copy", &entries(20_000)).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let worker = tokio::spawn({
        let (queues, stop) = (queues.clone(), Arc::clone(&stop));
        async move { while !stop.load(Ordering::Relaxed) && !claim(&queues, 50).await.is_empty() {} }
    });
    let seen = all_users(&queues).await;
    stop.store(true, Ordering::Relaxed);
    worker.await.unwrap();
    assert_eq!(seen.len(), 20_000);
}

#[tokio::test]
async fn an_empty_stage_has_an_empty_snapshot() {
    let server = Server::start().await;
    let queues = server.queues().await;
    let snapshot = queues.snapshot::<Job>("copy", 10).await.unwrap();
    assert!(snapshot.jobs.is_empty() && !snapshot.truncated);
    assert_eq!(queues.promote("copy").await.unwrap(), 0);
    assert!(tokio::time::timeout(Duration::from_secs(5), queues.check()).await.unwrap().is_ok());
}
