//! What `docs/redis.md` promises to people with redis-cli and to autoscalers.

use std::time::Duration;

use handover_queue::WorkerId;
use serde_json::Value;

use crate::support::*;

#[tokio::test]
async fn redis_cli_sees_what_the_contract_says() {
    let server = Server::start().await;
    let queues = server.queues().await;
    let worker = WorkerId::new("copy");
    queues.push("copy", &entries(6)).await.unwrap();
    let mut held = queues.claim::<Job>("copy", &worker, 4, LEASE).await.unwrap().jobs;
    queues.park("copy", held.split_off(3), "refused").await.unwrap();
    queues.retry("copy", held.split_off(2), |_| LEASE).await.unwrap();
    queues.heartbeat(&worker, "copy", &[("phase", "claiming".to_owned())], LEASE).await.unwrap();

    for (key, kind) in [
        ("handover:queue:copy", "list"),
        ("handover:inflight:copy", "zset"),
        ("handover:delayed:copy", "zset"),
        ("handover:dead:copy", "list"),
        ("handover:workers", "zset"),
        (format!("handover:worker:{worker}").as_str(), "hash"),
    ] {
        assert_eq!(server.cli::<String>(&["TYPE", key]).await, kind, "{key}");
    }
    let next: String = server.cli(&["LINDEX", "handover:queue:copy", "-1"]).await;
    assert_eq!(next, r#"{"user":"4","version":1,"tries":0,"recoveries":0,"at":1700000000000}"#);
    let deliveries: Vec<String> = server.cli(&["ZRANGE", "handover:inflight:copy", "0", "-1"]).await;
    let (id, entry) = deliveries[0].split_once(' ').unwrap();
    let (holder, place) = id.split_once(':').unwrap();
    assert_eq!(holder, worker.as_str());
    assert!(place.ends_with(".01"), "{place}");
    assert_eq!(entry, r#"{"user":"0","version":1,"tries":0,"recoveries":0,"at":1700000000000}"#);
    let dead: String = server.cli(&["LINDEX", "handover:dead:copy", "0"]).await;
    let dead: Value = serde_json::from_str(&dead).unwrap();
    assert_eq!((&dead["stage"], &dead["error"]), (&"copy".into(), &"refused".into()));
    assert_eq!(dead["entry"]["user"], "3");
    assert!(dead["at"].as_u64().unwrap() > 1_700_000_000_000);
}

#[tokio::test]
async fn scores_are_redis_time() {
    let server = Server::start().await;
    let queues = server.queues().await;
    queues.push("copy", &entries(2)).await.unwrap();
    let before = queues.now_ms().await.unwrap();
    let mut held = claim(&queues, 2).await;
    queues.retry("copy", held.split_off(1), |_| Duration::from_secs(7)).await.unwrap();
    let after = queues.now_ms().await.unwrap();
    for (key, from_now) in [("handover:inflight:copy", 60_000), ("handover:delayed:copy", 7_000)] {
        let scored: Vec<(String, u64)> = server.cli(&["ZRANGE", key, "0", "-1", "WITHSCORES"]).await;
        assert!((before + from_now..=after + from_now).contains(&scored[0].1), "{key}: {scored:?}");
    }
}

#[tokio::test]
async fn a_retry_can_be_made_due_by_hand() {
    let server = Server::start().await;
    let queues = server.queues().await;
    queues.push("copy", &entries(1)).await.unwrap();
    let held = claim(&queues, 1).await;
    queues.retry("copy", held, |_| LEASE).await.unwrap();
    let delayed: Vec<String> = server.cli(&["ZRANGE", "handover:delayed:copy", "0", "-1"]).await;
    server.cli::<()>(&["ZADD", "handover:delayed:copy", "XX", "0", &delayed[0]]).await;
    assert_eq!(queues.promote("copy").await.unwrap(), 1);
    assert_eq!(claim(&queues, 1).await[0].entry.tries, 1);
}

#[tokio::test]
async fn any_key_can_be_deleted_while_jobs_are_held_and_new_jobs_go_through() {
    let server = Server::start().await;
    let queues = server.queues().await;
    let worker = WorkerId::new("copy");
    for key in ["queue:copy", "inflight:copy", "delayed:copy", "dead:copy", "workers", "queue:verify"] {
        queues.push("copy", &entries(4)).await.unwrap();
        let mut held = claim(&queues, 3).await;
        queues.retry("copy", held.split_off(2), |_| LEASE).await.unwrap();
        queues.park("copy", held.split_off(1), "no").await.unwrap();
        queues.heartbeat(&worker, "copy", &[], LEASE).await.unwrap();
        server.cli::<usize>(&["DEL", &format!("handover:{key}")]).await;

        queues.ack("copy", held, Some(("verify", &entries(1)))).await.unwrap();
        assert!(queues.depth("verify").await.unwrap().waiting > 0, "{key}");
        queues.heartbeat(&worker, "copy", &[], LEASE).await.unwrap();
        assert_eq!(queues.workers().await.unwrap().len(), 1, "{key}");
        server.cli::<()>(&["FLUSHALL"]).await;
    }
}

#[tokio::test]
async fn the_rights_that_the_contract_names_are_enough() {
    let server = Server::start().await;
    let rules = "+@connection +@scripting +@list +@sortedset +@hash +@stream +del +type +time +info +pexpire";
    let mut command = vec!["ACL", "SETUSER", "worker", "on", ">secret", "~handover:*"];
    command.extend(rules.split(' '));
    server.cli::<()>(&command).await;
    let url = format!("redis://worker:secret@127.0.0.1:{}/", server.port);
    let target = handover_queue::RedisTarget { url: url.into(), ..server.target() };
    let queues = handover_queue::Queues::connect(&target).await.unwrap();

    queues.push("copy", &entries(5)).await.unwrap();
    assert!(queues.doorbell().wait("copy", LEASE).await.unwrap());
    let mut held = claim(&queues, 4).await;
    let tokens = [held[0].token().clone()];
    assert!(queues.renew("copy", &tokens, LEASE).await.unwrap().is_empty());
    queues.park("copy", held.split_off(3), "no").await.unwrap();
    queues.retry("copy", held.split_off(2), |_| LEASE).await.unwrap();
    queues.hand_back("copy", held.split_off(1)).await.unwrap();
    queues.ack("copy", held, Some(("verify", &entries(1)))).await.unwrap();
    drop(claim_and_die(&queues, 1).await);
    recover(&queues, 1, 5).await;
    queues.promote("copy").await.unwrap();
    let worker = WorkerId::new("copy");
    queues.heartbeat(&worker, "copy", &[], LEASE).await.unwrap();
    assert_eq!(queues.workers().await.unwrap().len(), 1);
    queues.remove_worker(&worker).await.unwrap();
    assert_eq!(all_users(&queues).await.len(), 3);
    let dead = queues.dead_list::<Job>("copy", 0, 9).await.unwrap();
    assert_eq!(queues.dead_requeue("copy", &dead).await.unwrap(), 1);
    assert_eq!(queues.depth("copy").await.unwrap().waiting, 3);
}
