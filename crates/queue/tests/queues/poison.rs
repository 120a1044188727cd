//! A job that kills its worker does not come back for ever, and takes nobody with it.

use std::collections::BTreeSet;

use crate::support::*;

#[tokio::test]
async fn a_job_that_kills_its_workers_is_set_aside_with_the_number_of_its_victims() {
    let server = Server::start().await;
    let queues = server.queues().await;
    queues.push("copy", &entries(1)).await.unwrap();
    for _ in 0..3 {
        assert_eq!(claim_and_die(&queues, 9).await.len(), 1);
        recover(&queues, 1, 2).await;
    }
    assert!(claim(&queues, 9).await.is_empty());
    let dead = queues.dead_list::<Job>("copy", 0, 10).await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].error, "killed its worker 3 times");
    assert_eq!(dead[0].entry.as_ref().unwrap().job, job(0));
}

#[tokio::test]
async fn the_innocent_jobs_of_a_killed_worker_are_all_done() {
    let server = Server::start().await;
    let queues = server.queues().await;
    queues.push("copy", &entries(64)).await.unwrap();
    let mut done = BTreeSet::new();
    let mut crashes = 0;
    while done.len() < 63 {
        let held = claim_and_die(&queues, 32).await;
        if held.iter().any(|held| held.entry.job == job(20)) {
            crashes += 1;
            recover(&queues, held.len(), 3).await;
            continue;
        }
        assert!(!held.is_empty(), "an innocent job is missing");
        done.extend(users(&held).into_iter().map(str::to_owned));
        queues.ack("copy", held, None).await.unwrap();
    }
    while crashes < 4 {
        assert_eq!(users(&claim_and_die(&queues, 32).await), ["20"]);
        crashes += 1;
        recover(&queues, 1, 3).await;
    }
    let dead = queues.dead_list::<Job>("copy", 0, 10).await.unwrap();
    assert_eq!(dead.iter().map(|dead| &dead.entry.as_ref().unwrap().job.user).collect::<Vec<_>>(), ["20"]);
    assert_eq!(queues.depth("copy").await.unwrap().waiting, 0);
}
