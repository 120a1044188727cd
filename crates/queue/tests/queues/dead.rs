//! Jobs that were given up stay to be looked at, within a bound, and come back when an operator says so.

use handover_queue::{Queues, RedisTarget};

use crate::support::*;

async fn park_all(queues: &Queues, count: usize) {
    queues.push("copy", &entries(count)).await.unwrap();
    for held in claim(queues, count).await {
        let error = format!("no {}", held.entry.job.user);
        assert_eq!(queues.park("copy", vec![held], &error).await.unwrap().settled, 1);
    }
}

#[tokio::test]
async fn the_dead_are_listed_newest_first_with_their_reason() {
    let server = Server::start().await;
    let queues = server.queues().await;
    park_all(&queues, 3).await;
    let dead = queues.dead_list::<Job>("copy", 1, 1).await.unwrap();
    assert_eq!((dead.len(), dead[0].error.as_str()), (1, "no 1"));
    assert_eq!(dead[0].entry.as_ref().unwrap().job, job(1));
    assert_eq!(queues.depth("copy").await.unwrap().inflight, 0);
}

#[tokio::test]
async fn the_dead_are_capped_and_the_newest_stay() {
    let server = Server::start().await;
    let queues = Queues::connect(&RedisTarget { dead_cap: 5, ..server.target() }).await.unwrap();
    park_all(&queues, 8).await;
    let dead = queues.dead_list::<Job>("copy", 0, 100).await.unwrap();
    let errors: Vec<_> = dead.iter().map(|dead| dead.error.as_str()).collect();
    assert_eq!(errors, ["no 7", "no 6", "no 5", "no 4", "no 3"]);
}

#[tokio::test]
async fn a_dead_job_can_be_queued_again_as_a_new_one() {
    let server = Server::start().await;
    let queues = server.queues().await;
    let raw = r#"{"user":"42","version":3,"tries":7,"recoveries":1,"from_the_future":1}"#;
    server.cli::<usize>(&["LPUSH", "handover:queue:copy", raw]).await;
    let held = claim(&queues, 1).await;
    queues.park("copy", held, "no").await.unwrap();

    let dead = queues.dead_list::<Job>("copy", 0, 9).await.unwrap();
    assert_eq!(queues.dead_requeue("copy", &dead).await.unwrap(), 1);
    assert_eq!(queues.dead_requeue("copy", &dead).await.unwrap(), 0, "once is enough");
    let waiting: Vec<String> = server.cli(&["LRANGE", "handover:queue:copy", "0", "-1"]).await;
    assert!(waiting[0].contains("from_the_future"));
    let again = claim(&queues, 1).await;
    assert_eq!((again[0].entry.tries, again[0].entry.recoveries), (0, 0));
    assert!(again[0].entry.at > 1_700_000_000_000);
    assert_eq!(queues.depth("copy").await.unwrap().dead, 0);
}

#[tokio::test]
async fn dropping_some_of_the_dead_leaves_the_others() {
    let server = Server::start().await;
    let queues = server.queues().await;
    park_all(&queues, 120).await;
    let dead = queues.dead_list::<Job>("copy", 0, 1000).await.unwrap();
    let (even, odd): (Vec<_>, Vec<_>) =
        dead.into_iter().partition(|dead| dead.entry.as_ref().unwrap().job.user.ends_with(['0', '2', '4']));
    assert_eq!(queues.dead_drop("copy", &even).await.unwrap(), even.len());
    assert_eq!(queues.dead_drop("copy", &even).await.unwrap(), 0);
    assert_eq!(queues.dead_requeue("copy", &odd).await.unwrap(), odd.len());
    let depth = queues.depth("copy").await.unwrap();
    assert_eq!((depth.dead, depth.waiting), (0, odd.len() as u64));
}

#[tokio::test]
async fn taking_the_dead_removes_the_oldest() {
    let server = Server::start().await;
    let queues = server.queues().await;
    park_all(&queues, 3).await;
    let taken = queues.dead_take::<Job>("copy", 2).await.unwrap();
    assert_eq!(taken.iter().map(|dead| dead.error.as_str()).collect::<Vec<_>>(), ["no 0", "no 1"]);
    assert_eq!(queues.dead_take::<Job>("copy", 9).await.unwrap().len(), 1);
    assert!(queues.dead_take::<Job>("copy", 9).await.unwrap().is_empty());
}
