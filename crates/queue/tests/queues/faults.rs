//! Redis full, emptied, frozen, restarted, or scribbled on: no job is lost by it, and errors say what is wrong.

use std::time::{Duration, Instant};

use handover_queue::{Error, Queues, RedisTarget, Rejected, Settled, WorkerId};

use crate::support::*;

/// Lets the server be full from now on.
async fn fill(server: &Server) {
    server.cli::<()>(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    server.cli::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
}

#[tokio::test]
async fn a_full_redis_refuses_a_push_and_loses_nothing() {
    let server = Server::start().await;
    let queues = server.queues().await;
    queues.push("copy", &entries(3)).await.unwrap();
    fill(&server).await;
    let error = queues.push("copy", &entries(5)[3..]).await.unwrap_err();
    assert!(matches!(error, Error::Full) && error.is_transient(), "{error}");
    assert_eq!(all_users(&queues).await.len(), 3);
    server.cli::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    queues.push("copy", &entries(5)[3..]).await.unwrap();
    assert_eq!(users(&claim(&queues, 9).await), ["0", "1", "2", "3", "4"]);
}

#[tokio::test]
async fn a_full_redis_can_still_be_drained() {
    let server = Server::start().await;
    let queues = server.queues().await;
    let jobs = entries(7);
    queues.push("copy", &jobs).await.unwrap();
    fill(&server).await;
    let mut held = claim(&queues, 6).await;
    let tokens: Vec<_> = held.iter().map(|held| held.token().clone()).collect();
    assert!(queues.renew("copy", &tokens, LEASE).await.unwrap().is_empty());
    let one = Settled { settled: 1, lost: 0 };
    assert_eq!(queues.park("copy", held.split_off(5), "no").await.unwrap(), one);
    assert_eq!(queues.hand_back("copy", held.split_off(4)).await.unwrap(), one);
    assert_eq!(queues.retry("copy", held.split_off(3), |_| Duration::ZERO).await.unwrap(), one);
    assert_eq!(queues.ack("copy", held, Some(("verify", &jobs[..3]))).await.unwrap().settled, 3);
    redis_time_passes(&queues, Duration::from_millis(1)).await;
    assert_eq!(queues.promote("copy").await.unwrap(), 1);
    drop(claim_and_die(&queues, 9).await);
    recover(&queues, 3, 5).await;
    queues.heartbeat(&WorkerId::new("copy"), "copy", &[], LEASE).await.unwrap();
    let depth = queues.depth("copy").await.unwrap();
    assert_eq!((depth.waiting, depth.inflight, depth.delayed, depth.dead), (3, 0, 0, 1));
    assert_eq!(queues.depth("verify").await.unwrap().waiting, 3);
}

#[tokio::test]
async fn an_emptied_redis_loses_leases_but_not_what_follows_from_work_that_is_done() {
    let server = Server::start().await;
    let queues = server.queues().await;
    let jobs = entries(4);
    queues.push("copy", &jobs).await.unwrap();
    let mut held = claim(&queues, 9).await;
    server.cli::<()>(&["FLUSHALL"]).await;
    let tokens: Vec<_> = held.iter().map(|held| held.token().clone()).collect();
    assert_eq!(queues.renew("copy", &tokens, LEASE).await.unwrap(), tokens);
    let lost = Settled { settled: 0, lost: 1 };
    assert_eq!(queues.retry("copy", held.split_off(3), |_| LEASE).await.unwrap(), lost);
    assert_eq!(queues.hand_back("copy", held.split_off(2)).await.unwrap(), lost);
    let settled = queues.ack("copy", held, Some(("verify", &jobs[..2]))).await.unwrap();
    assert_eq!(settled, Settled { settled: 0, lost: 2 });
    assert_eq!(queues.depth("verify").await.unwrap().waiting, 2);
    // And it goes on at once with whatever is queued anew.
    queues.push("copy", &jobs).await.unwrap();
    assert_eq!(claim(&queues, 9).await.len(), 4);
}

#[tokio::test]
async fn a_flushed_script_cache_is_filled_again() {
    let server = Server::start().await;
    let queues = server.queues().await;
    queues.push("copy", &entries(2)).await.unwrap();
    let held = claim(&queues, 1).await;
    server.cli::<()>(&["SCRIPT", "FLUSH"]).await;
    assert_eq!(queues.ack("copy", held, None).await.unwrap().settled, 1);
    assert_eq!(claim(&queues, 1).await.len(), 1);
    assert_eq!(queues.depth("copy").await.unwrap().inflight, 1);
}

#[tokio::test]
async fn a_restarted_server_is_used_again_by_the_same_handle() {
    let mut server = Server::start().await;
    let queues = server.queues().await;
    queues.push("copy", &entries(2)).await.unwrap();
    let held = claim(&queues, 2).await;
    assert_eq!(queues.depth("copy").await.unwrap().inflight, 2);
    server.restart().await;
    let Rejected { error, deliveries } = queues.ack("copy", held, None).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(users(&deliveries), ["0", "1"]);
    assert_eq!(queues.ack("copy", deliveries, None).await.unwrap(), Settled { settled: 0, lost: 2 });
    assert_eq!(queues.depth("copy").await.unwrap().inflight, 0, "the pool has a new connection too");
}

#[tokio::test]
async fn a_server_that_does_not_answer_gives_the_deliveries_back_in_time() {
    let server = Server::start().await;
    let target = RedisTarget { response_timeout: Duration::from_millis(100), ..server.target() };
    let queues = Queues::connect(&target).await.unwrap();
    queues.push("copy", &entries(3)).await.unwrap();
    let held = claim(&queues, 9).await;
    server.freeze();
    let begun = Instant::now();
    let Rejected { error, deliveries } = queues.ack("copy", held, None).await.unwrap_err();
    assert!(matches!(error, Error::Silent(_)), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    server.thaw();
    // It may have been done after all; settling again does no harm.
    let settled = queues.ack("copy", deliveries, None).await.unwrap();
    assert_eq!(settled.settled + settled.lost, 3);
    assert_eq!(queues.depth("copy").await.unwrap().inflight, 0);
}

#[tokio::test]
async fn callers_in_an_outage_fail_together_and_not_one_after_the_other() {
    let server = Server::start().await;
    let queues = Queues::new(&server.target()).unwrap();
    server.freeze();
    let begun = Instant::now();
    let calls: Vec<_> = (0..40)
        .map(|_| {
            let queues = queues.clone();
            tokio::spawn(async move { queues.now_ms().await })
        })
        .collect();
    for call in calls {
        assert!(matches!(call.await.unwrap(), Err(Error::Silent(_) | Error::Unreachable(_))));
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    server.thaw();
    assert!(queues.now_ms().await.unwrap() > 0);
}

#[tokio::test]
async fn a_handle_can_be_made_before_redis_is_there() {
    let mut server = Server::start().await;
    let queues = Queues::new(&RedisTarget::new("redis://127.0.0.1:1/".into())).unwrap();
    let error = queues.check().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)), "{error}");
    server.restart().await;
    assert!(Queues::new(&server.target()).unwrap().check().await.is_ok());
}

#[tokio::test]
async fn a_replica_is_named_as_such() {
    let (server, master) = (Server::start().await, Server::start().await);
    let queues = server.queues().await;
    server.cli::<()>(&["REPLICAOF", "127.0.0.1", &master.port.to_string()]).await;
    let error = queues.push("copy", &entries(1)).await.unwrap_err();
    assert!(matches!(error, Error::ReadOnly) && error.is_transient(), "{error}");
    let error = queues.claim::<Job>("copy", "copy-a-1-ff", 1, LEASE).await.unwrap_err();
    assert!(matches!(error, Error::ReadOnly), "{error}");
}

/// Sets `key` to a string, and returns the error of `run`, which must name the key.
async fn scribbled(server: &Server, key: &str, error: Option<Error>) {
    let error = error.expect("a key of the wrong type is an error");
    assert!(!error.is_transient());
    let text = error.to_string();
    assert!(text.contains(&format!("{key} holds a string where handover keeps a ")), "{text}");
    server.cli::<usize>(&["DEL", key]).await;
}

#[tokio::test]
async fn a_key_of_the_wrong_type_is_named_and_no_job_is_lost_by_it() {
    let server = Server::start().await;
    let queues = server.queues().await;
    let scribble = async |key: &str| server.cli::<()>(&["SET", key, "x"]).await;
    let (queue, inflight) = ("handover:queue:copy", "handover:inflight:copy");

    scribble(queue).await;
    scribbled(&server, queue, queues.push("copy", &entries(1)).await.err()).await;
    queues.push("copy", &entries(4)).await.unwrap();
    scribble(inflight).await;
    scribbled(&server, inflight, queues.claim::<Job>("copy", "w", 9, LEASE).await.err()).await;
    assert_eq!(all_users(&queues).await.len(), 4);

    let held = claim(&queues, 9).await;
    let verify = "handover:queue:verify";
    scribble(verify).await;
    let rejected = queues.ack("copy", held, Some(("verify", &entries(4)))).await.unwrap_err();
    scribbled(&server, verify, Some(rejected.error)).await;
    scribble("handover:delayed:copy").await;
    let rejected = queues.retry("copy", rejected.deliveries, |_| LEASE).await.unwrap_err();
    scribbled(&server, "handover:delayed:copy", Some(rejected.error)).await;
    scribble("handover:dead:copy").await;
    let rejected = queues.park("copy", rejected.deliveries, "no").await.unwrap_err();
    scribbled(&server, "handover:dead:copy", Some(rejected.error)).await;
    scribble(queue).await;
    let rejected = queues.hand_back("copy", rejected.deliveries).await.unwrap_err();
    scribbled(&server, queue, Some(rejected.error)).await;
    assert_eq!(queues.ack("copy", rejected.deliveries, None).await.unwrap().settled, 4);
}

#[tokio::test]
async fn recovery_and_promotion_stop_before_a_key_of_the_wrong_type() {
    let server = Server::start().await;
    let queues = server.queues().await;
    queues.push("copy", &entries(2)).await.unwrap();
    let mut held = claim_and_die(&queues, 9).await;
    queues.retry("copy", held.split_off(1), |_| Duration::ZERO).await.unwrap();
    redis_time_passes(&queues, SHORT_LEASE * 2).await;
    server.cli::<()>(&["SET", "handover:queue:copy", "x"]).await;
    assert!(queues.promote("copy").await.is_err());
    scribbled(&server, "handover:queue:copy", queues.recover("copy", 5).await.err()).await;
    server.cli::<()>(&["SET", "handover:dead:copy", "x"]).await;
    scribbled(&server, "handover:dead:copy", queues.recover("copy", 5).await.err()).await;
    assert_eq!(all_users(&queues).await.len(), 2);
    assert_eq!(queues.promote("copy").await.unwrap(), 1);
    recover(&queues, 1, 5).await;
}
