//! What is not a job is set aside as it was found, and stops nobody.

use crate::support::*;

async fn push_raw(server: &Server, raw: &[u8]) {
    let client = redis::Client::open(format!("redis://127.0.0.1:{}/", server.port)).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let cmd = redis::cmd("LPUSH").arg("handover:queue:copy").arg(raw).clone();
    cmd.exec_async(&mut connection).await.unwrap();
}

#[tokio::test]
async fn a_garbled_entry_goes_to_the_dead_as_it_was_and_the_jobs_around_it_are_claimed() {
    let server = Server::start().await;
    let queues = server.queues().await;
    queues.push("copy", &entries(1)).await.unwrap();
    for raw in [&b"no json"[..], br#"["42",3]"#, br#"{"user":42}"#, b"\xff\xfe"] {
        push_raw(&server, raw).await;
    }
    queues.push("copy", &entries(2)[1..]).await.unwrap();

    let claimed = queues.claim::<Job>("copy", "copy-a-1-ff", 99, LEASE).await.unwrap();
    assert_eq!(users(&claimed.jobs), ["0", "1"]);
    assert_eq!(claimed.garbled, 4);
    let depth = queues.depth("copy").await.unwrap();
    assert_eq!((depth.inflight, depth.dead), (2, 4));

    let dead = queues.dead_list::<Job>("copy", 0, 9).await.unwrap();
    let records: Vec<serde_json::Value> =
        dead.iter().rev().map(|dead| serde_json::from_str(&dead.record()).unwrap()).collect();
    assert_eq!(records[0]["entry"], "no json");
    assert_eq!(records[1]["entry"], r#"["42",3]"#);
    assert_eq!(records[2]["entry"]["user"], 42);
    assert_eq!(records[3]["entry_hex"], "fffe");
    assert!(dead.iter().all(|dead| dead.stage == "copy" && dead.at > 1_700_000_000_000));
    assert_eq!(dead[3].error, "the entry is not a json object");
    assert!(dead[1].error.starts_with("the entry is not a job at column"), "{}", dead[1].error);
}

#[tokio::test]
async fn a_garbled_entry_alone_does_not_stop_the_next_claim() {
    let server = Server::start().await;
    let queues = server.queues().await;
    push_raw(&server, b"no json").await;
    queues.push("copy", &entries(1)).await.unwrap();
    let first = queues.claim::<Job>("copy", "copy-a-1-ff", 1, LEASE).await.unwrap();
    assert_eq!((first.jobs.len(), first.garbled), (0, 1));
    assert_eq!(users(&claim(&queues, 1).await), ["0"]);
}

#[tokio::test]
async fn what_somebody_scribbled_into_the_inflight_set_is_recovered_to_the_dead() {
    let server = Server::start().await;
    let queues = server.queues().await;
    server.cli::<usize>(&["ZADD", "handover:inflight:copy", "1", "scribble", "2", "id.1 no json"]).await;
    let recovered = queues.recover("copy", 5).await.unwrap();
    assert_eq!((recovered.requeued, recovered.poisoned), (0, 2));
    let dead = queues.dead_list::<Job>("copy", 0, 9).await.unwrap();
    let raw: Vec<bool> = dead.iter().map(|dead| dead.record().contains(r#""entry":"scribble""#)).collect();
    assert_eq!(raw.iter().filter(|is| **is).count(), 1);
    assert!(dead.iter().any(|dead| dead.record().contains(r#""entry":"no json""#)));
}

#[tokio::test]
async fn what_somebody_scribbled_into_the_delayed_set_is_set_aside_by_the_claim_after_it() {
    let server = Server::start().await;
    let queues = server.queues().await;
    server.cli::<usize>(&["ZADD", "handover:delayed:copy", "1", "scribble"]).await;
    assert_eq!(queues.promote("copy").await.unwrap(), 1);
    let claimed = queues.claim::<Job>("copy", "copy-a-1-ff", 9, LEASE).await.unwrap();
    assert_eq!((claimed.jobs.len(), claimed.garbled), (0, 1));
}
