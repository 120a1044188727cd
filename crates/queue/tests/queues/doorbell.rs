//! Waiting for a job takes no job, whatever happens to the one who waits.

use std::time::{Duration, Instant};

use handover_queue::Error;

use crate::support::*;

const LONG: Duration = Duration::from_mins(1);

/// How many clients the server keeps blocked.
async fn blocked(server: &Server) -> usize {
    let info: String = server.cli(&["INFO", "clients"]).await;
    let line = info.lines().find_map(|line| line.strip_prefix("blocked_clients:")).unwrap();
    line.trim().parse().unwrap()
}

async fn until_blocked(server: &Server, count: usize) {
    until("the clients are blocked", || async { (blocked(server).await == count).then_some(()) }).await;
}

#[tokio::test]
async fn a_doorbell_rings_at_once_when_a_job_waits_already() {
    let server = Server::start().await;
    let queues = server.queues().await;
    queues.push("copy", &entries(1)).await.unwrap();
    let mut doorbell = queues.doorbell();
    assert!(doorbell.wait("copy", LONG).await.unwrap());
    assert!(doorbell.wait("copy", LONG).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doorbell_rings_for_everyone_who_waits_and_takes_nothing() {
    let server = Server::start().await;
    let queues = server.queues().await;
    let waiting: Vec<_> = (0..5)
        .map(|_| {
            let mut doorbell = queues.doorbell();
            tokio::spawn(async move { doorbell.wait("copy", LONG).await.unwrap() })
        })
        .collect();
    until_blocked(&server, 5).await;
    let pushed = Instant::now();
    queues.push("copy", &entries(3)).await.unwrap();
    for waits in waiting {
        assert!(waits.await.unwrap());
    }
    assert!(pushed.elapsed() < Duration::from_secs(2), "{:?}", pushed.elapsed());
    assert_eq!(users(&claim(&queues, 9).await), ["0", "1", "2"]);
}

#[tokio::test]
async fn a_doorbell_stays_silent_when_nothing_comes() {
    let server = Server::start().await;
    let mut doorbell = server.queues().await.doorbell();
    assert!(!doorbell.wait("copy", Duration::from_millis(30)).await.unwrap());
    assert!(!doorbell.wait("copy", Duration::ZERO).await.unwrap());
}

#[tokio::test]
async fn a_client_that_gave_up_closes_its_connection_and_loses_no_job() {
    let server = Server::start().await;
    let queues = server.queues().await;
    let mut doorbell = queues.doorbell();
    tokio::select! {
        _ = doorbell.wait("copy", LONG) => panic!("nothing was pushed"),
        () = until_blocked(&server, 1) => {}
    }
    until_blocked(&server, 0).await;
    queues.push("copy", &entries(2)).await.unwrap();
    assert!(doorbell.wait("copy", LONG).await.unwrap(), "it can be used again");
    assert_eq!(users(&claim(&queues, 9).await), ["0", "1"]);
}

#[tokio::test]
async fn a_client_that_vanished_while_the_server_was_frozen_loses_no_job() {
    let server = Server::start().await;
    let queues = server.queues().await;
    let mut doorbell = queues.doorbell();
    assert!(!doorbell.wait("copy", Duration::ZERO).await.unwrap());
    server.freeze();
    // The command is on its way when the client goes: the server will serve it, to nobody.
    assert!(tokio::time::timeout(Duration::from_millis(50), doorbell.wait("copy", LONG)).await.is_err());
    drop(doorbell);
    server.thaw();
    queues.push("copy", &entries(2)).await.unwrap();
    until_blocked(&server, 0).await;
    assert_eq!(users(&claim(&queues, 9).await), ["0", "1"]);
}

#[tokio::test]
async fn a_server_that_fell_silent_is_an_error_and_the_next_wait_connects_anew() {
    let server = Server::start().await;
    let queues = server.queues().await;
    let mut doorbell = queues.doorbell();
    assert!(!doorbell.wait("copy", Duration::ZERO).await.unwrap());
    server.freeze();
    let error = doorbell.wait("copy", Duration::from_millis(30)).await.unwrap_err();
    assert!(matches!(error, Error::Silent(_)) && error.is_transient(), "{error}");
    server.thaw();
    queues.push("copy", &entries(1)).await.unwrap();
    assert!(doorbell.wait("copy", LONG).await.unwrap());
}

#[tokio::test]
async fn a_doorbell_rings_again_after_a_restart() {
    let mut server = Server::start().await;
    let queues = server.queues().await;
    let mut doorbell = queues.doorbell();
    assert!(!doorbell.wait("copy", Duration::ZERO).await.unwrap());
    server.restart().await;
    let error = doorbell.wait("copy", LONG).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    server.cli::<usize>(&["LPUSH", "handover:queue:copy", "{}"]).await;
    assert!(doorbell.wait("copy", LONG).await.unwrap());
}

#[tokio::test]
async fn a_queue_of_the_wrong_type_is_named() {
    let server = Server::start().await;
    let mut doorbell = server.queues().await.doorbell();
    server.cli::<()>(&["SET", "handover:queue:copy", "x"]).await;
    let error = doorbell.wait("copy", LONG).await.unwrap_err();
    assert!(error.to_string().contains("handover:queue:copy holds a string"), "{error}");
}
