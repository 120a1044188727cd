//! A job runs until somebody acknowledged it, and nobody acknowledges for another.

use std::collections::BTreeSet;
use std::time::Duration;

use handover_queue::{Depth, Queues, Settled};

use crate::support::*;

async fn depth(queues: &Queues, stage: &str) -> (u64, u64, u64, u64) {
    let Depth { waiting, inflight, delayed, dead, .. } = queues.depth(stage).await.unwrap();
    (waiting, inflight, delayed, dead)
}

#[tokio::test]
async fn jobs_are_claimed_in_the_order_in_which_they_were_pushed() {
    let server = Server::start().await;
    let queues = server.queues().await;
    queues.push("copy", &entries(3)).await.unwrap();
    queues.push("copy", &entries(5)[3..]).await.unwrap();
    assert_eq!(users(&claim(&queues, 2).await), ["0", "1"]);
    assert_eq!(users(&claim(&queues, 9).await), ["2", "3", "4"]);
    assert!(claim(&queues, 9).await.is_empty());
    assert!(claim(&queues, 0).await.is_empty());
}

#[tokio::test]
async fn an_acknowledged_job_is_gone_and_what_follows_from_it_is_queued() {
    let server = Server::start().await;
    let queues = server.queues().await;
    let jobs = entries(3);
    queues.push("copy", &jobs).await.unwrap();
    let held = claim(&queues, 9).await;
    let settled = queues.ack("copy", held, Some(("verify", &jobs))).await.unwrap();
    assert_eq!(settled, Settled { settled: 3, lost: 0 });
    assert_eq!(depth(&queues, "copy").await, (0, 0, 0, 0));
    assert_eq!(depth(&queues, "verify").await, (3, 0, 0, 0));
    let next = queues.claim::<Job>("verify", "verify-a-1-ff", 9, LEASE).await.unwrap();
    assert_eq!(users(&next.jobs), ["0", "1", "2"]);
}

#[tokio::test]
async fn thousands_of_jobs_at_once_go_through_every_operation() {
    let server = Server::start().await;
    let queues = server.queues().await;
    let all = entries(2500);
    queues.push("copy", &all).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.append(&mut claim(&queues, 5000).await);
    }
    assert_eq!(held.len(), 2500);
    let tokens: Vec<_> = held.iter().map(|held| held.token().clone()).collect();
    assert!(queues.renew("copy", &tokens, LEASE).await.unwrap().is_empty());
    assert_eq!(queues.hand_back("copy", held).await.unwrap(), Settled { settled: 2500, lost: 0 });
    assert_eq!(queues.renew("copy", &tokens, LEASE).await.unwrap(), tokens);

    let mut held = Vec::new();
    for _ in 0..3 {
        held.append(&mut claim(&queues, 1000).await);
    }
    assert_eq!(users(&held), all.iter().map(|entry| entry.job.user.as_str()).collect::<Vec<_>>());
    queues.retry("copy", held, |_| Duration::ZERO).await.unwrap();
    redis_time_passes(&queues, Duration::from_millis(1)).await;
    assert_eq!(queues.promote("copy").await.unwrap(), 2500);

    let mut held = Vec::new();
    for _ in 0..3 {
        held.append(&mut claim(&queues, 1000).await);
    }
    let settled = queues.ack("copy", held, Some(("verify", &all))).await.unwrap();
    assert_eq!(settled, Settled { settled: 2500, lost: 0 });
    assert_eq!(depth(&queues, "copy").await, (0, 0, 0, 0));
    assert_eq!(depth(&queues, "verify").await, (2500, 0, 0, 0));
}

#[tokio::test]
async fn an_acknowledgement_of_nothing_still_queues_what_follows() {
    let server = Server::start().await;
    let queues = server.queues().await;
    let settled = queues.ack("copy", Vec::new(), Some(("verify", &entries(1200)))).await.unwrap();
    assert_eq!(settled, Settled::default());
    assert_eq!(depth(&queues, "verify").await, (1200, 0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_workers_at_once_claim_each_job_once() {
    let server = Server::start().await;
    let queues = server.queues().await;
    queues.push("copy", &entries(5000)).await.unwrap();
    let workers: Vec<_> = (0..8)
        .map(|number| {
            let queues = queues.clone();
            tokio::spawn(async move {
                let (worker, mut done) = (format!("copy-{number}"), Vec::new());
                loop {
                    let jobs = queues.claim::<Job>("copy", &worker, 17, LEASE).await.unwrap().jobs;
                    if jobs.is_empty() {
                        return done;
                    }
                    done.extend(jobs.iter().map(|held| held.entry.job.user.clone()));
                    queues.ack("copy", jobs, None).await.unwrap();
                }
            })
        })
        .collect();
    let mut done = Vec::new();
    for worker in workers {
        done.append(&mut worker.await.unwrap());
    }
    assert_eq!(done.len(), 5000);
    assert_eq!(done.into_iter().collect::<BTreeSet<_>>().len(), 5000);
    assert_eq!(depth(&queues, "copy").await, (0, 0, 0, 0));
}

#[tokio::test]
async fn a_killed_workers_jobs_run_again_once_its_lease_has_run_out() {
    let server = Server::start().await;
    let queues = server.queues().await;
    queues.push("copy", &entries(3)).await.unwrap();
    drop(claim_and_die(&queues, 9).await);
    recover(&queues, 3, 5).await;
    let again = claim(&queues, 1).await;
    assert_eq!(users(&again), ["0"]);
    assert_eq!((again[0].entry.recoveries, again[0].entry.tries), (1, 0));
    assert_eq!(all_users(&queues).await.len(), 3);
}

#[tokio::test]
async fn a_claim_that_was_dropped_half_way_loses_no_job() {
    let server = Server::start().await;
    let queues = server.queues().await;
    queues.push("copy", &entries(3)).await.unwrap();
    server.freeze();
    let claim = queues.claim::<Job>("copy", "copy-a-1-ff", 9, SHORT_LEASE);
    assert!(tokio::time::timeout(Duration::from_millis(50), claim).await.is_err());
    server.thaw();
    // The server may or may not have done it; either way all jobs come back.
    until("all jobs wait again", || async {
        queues.recover("copy", 5).await.unwrap();
        let depth = queues.depth("copy").await.unwrap();
        (depth.waiting == 3 && depth.inflight == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn nothing_is_recovered_before_its_lease_has_run_out() {
    let server = Server::start().await;
    let queues = server.queues().await;
    queues.push("copy", &entries(3)).await.unwrap();
    let held = claim(&queues, 9).await;
    assert_eq!(queues.recover("copy", 5).await.unwrap(), handover_queue::Recovered::default());
    assert_eq!(queues.ack("copy", held, None).await.unwrap().settled, 3);
}

#[tokio::test]
async fn a_renewed_lease_is_kept() {
    let server = Server::start().await;
    let queues = server.queues().await;
    queues.push("copy", &entries(2)).await.unwrap();
    let held = claim_and_die(&queues, 9).await;
    let renewed = [held[0].token().clone()];
    assert!(queues.renew("copy", &renewed, LEASE).await.unwrap().is_empty());
    recover(&queues, 1, 5).await;
    redis_time_passes(&queues, SHORT_LEASE * 2).await;
    assert_eq!(queues.recover("copy", 5).await.unwrap().requeued, 0);
    assert_eq!(users(&claim(&queues, 9).await), ["1"]);
    assert_eq!(queues.ack("copy", held, None).await.unwrap(), Settled { settled: 1, lost: 1 });
}

#[tokio::test]
async fn a_lease_that_ran_out_can_be_renewed_until_somebody_took_the_job_back() {
    let server = Server::start().await;
    let queues = server.queues().await;
    queues.push("copy", &entries(1)).await.unwrap();
    let held = claim_and_die(&queues, 9).await;
    let tokens = [held[0].token().clone()];
    redis_time_passes(&queues, SHORT_LEASE * 2).await;
    assert!(queues.renew("copy", &tokens, SHORT_LEASE).await.unwrap().is_empty());
    recover(&queues, 1, 5).await;
    assert_eq!(queues.renew("copy", &tokens, LEASE).await.unwrap(), tokens);
}

#[tokio::test]
async fn a_losers_acknowledgement_does_not_remove_the_winners_delivery() {
    let server = Server::start().await;
    let queues = server.queues().await;
    queues.push("copy", &entries(1)).await.unwrap();
    let loser = claim_and_die(&queues, 9).await;
    recover(&queues, 1, 5).await;
    let winner = claim(&queues, 9).await;
    let loser_token = loser[0].token().clone();
    assert_eq!(queues.ack("copy", loser, None).await.unwrap(), Settled { settled: 0, lost: 1 });
    assert_eq!(depth(&queues, "copy").await, (0, 1, 0, 0));
    assert_eq!(queues.renew("copy", std::slice::from_ref(&loser_token), LEASE).await.unwrap(), [loser_token]);
    assert_eq!(queues.ack("copy", winner, None).await.unwrap(), Settled { settled: 1, lost: 0 });
}

#[tokio::test]
async fn a_losers_retry_hand_back_or_parking_adds_no_second_copy() {
    let server = Server::start().await;
    let queues = server.queues().await;
    queues.push("copy", &entries(3)).await.unwrap();
    let mut losers = claim_and_die(&queues, 9).await;
    recover(&queues, 3, 5).await;
    let lost = Settled { settled: 0, lost: 1 };
    let one = losers.split_off(2);
    assert_eq!(queues.retry("copy", one, |_| Duration::ZERO).await.unwrap(), lost);
    assert_eq!(queues.hand_back("copy", losers.split_off(1)).await.unwrap(), lost);
    assert_eq!(queues.park("copy", losers, "too late").await.unwrap(), lost);
    assert_eq!(depth(&queues, "copy").await, (3, 0, 0, 0));
}

#[tokio::test]
async fn workers_that_share_a_name_do_not_share_deliveries() {
    let server = Server::start().await;
    let (one, other) = (server.queues().await, server.queues().await);
    // Twice the same job, byte for byte, by hand.
    let raw = r#"{"user":"42","version":3}"#;
    server.cli::<usize>(&["LPUSH", "handover:queue:copy", raw, raw]).await;
    let first = claim(&one, 1).await;
    let second = claim(&other, 1).await;
    assert_eq!(depth(&one, "copy").await, (0, 2, 0, 0));
    assert_eq!(one.ack("copy", first, None).await.unwrap().settled, 1);
    assert_eq!(depth(&one, "copy").await, (0, 1, 0, 0));
    assert_eq!(other.ack("copy", second, None).await.unwrap().settled, 1);
}

#[tokio::test]
async fn an_interrupted_job_is_the_next_with_its_tries_unchanged() {
    let server = Server::start().await;
    let queues = server.queues().await;
    queues.push("copy", &entries(4)).await.unwrap();
    let held = claim(&queues, 2).await;
    assert_eq!(queues.hand_back("copy", held).await.unwrap(), Settled { settled: 2, lost: 0 });
    let again = claim(&queues, 9).await;
    assert_eq!(users(&again), ["0", "1", "2", "3"]);
    assert!(again.iter().all(|held| (held.entry.tries, held.entry.recoveries) == (0, 0)));
}

#[tokio::test]
async fn a_retried_job_waits_until_it_is_due_with_one_more_try() {
    let server = Server::start().await;
    let queues = server.queues().await;
    queues.push("copy", &entries(2)).await.unwrap();
    let held = claim(&queues, 9).await;
    let delay = |entry: &handover_queue::Entry<Job>| match entry.job.user.as_str() {
        "0" => LEASE,
        _ => SHORT_LEASE,
    };
    assert_eq!(queues.retry("copy", held, delay).await.unwrap(), Settled { settled: 2, lost: 0 });
    assert_eq!(depth(&queues, "copy").await, (0, 0, 2, 0));
    until("the job is due", || async { (queues.promote("copy").await.unwrap() == 1).then_some(()) }).await;
    let again = claim(&queues, 9).await;
    assert_eq!(users(&again), ["1"]);
    assert_eq!(again[0].entry.tries, 1);
    assert_eq!(depth(&queues, "copy").await, (0, 1, 1, 0));
}

#[tokio::test]
async fn a_retry_keeps_the_trace_and_fields_that_this_version_does_not_know() {
    let server = Server::start().await;
    let queues = server.queues().await;
    let raw = r#"{"user":"42","version":3,"traceparent":"00-aa-bb-01","from_the_future":{"x":[]}}"#;
    server.cli::<usize>(&["LPUSH", "handover:queue:copy", raw]).await;
    let held = claim(&queues, 1).await;
    assert_eq!(held[0].entry.traceparent.as_deref(), Some("00-aa-bb-01"));
    queues.retry("copy", held, |_| LEASE).await.unwrap();
    let kept: Vec<String> = server.cli(&["ZRANGE", "handover:delayed:copy", "0", "-1"]).await;
    let kept: serde_json::Value = serde_json::from_str(&kept[0]).unwrap();
    assert_eq!(kept["from_the_future"]["x"], serde_json::json!([]));
    assert_eq!((&kept["tries"], &kept["traceparent"]), (&1.into(), &"00-aa-bb-01".into()));
}

#[tokio::test]
async fn another_prefix_is_another_installation() {
    let server = Server::start().await;
    let queues = server.queues().await;
    let tagged = Queues::connect(&server.target().with_prefix("{other}")).await.unwrap();
    queues.push("copy", &entries(1)).await.unwrap();
    assert!(claim(&tagged, 1).await.is_empty());
    tagged.push("copy", &entries(2)).await.unwrap();
    assert_eq!(server.cli::<usize>(&["LLEN", "{other}:queue:copy"]).await, 2);
}
