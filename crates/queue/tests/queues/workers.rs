//! The list of workers heals itself, and tells no stories of the dead.

use handover_queue::WorkerId;

use crate::support::*;

#[tokio::test]
async fn a_worker_is_listed_with_what_it_says_until_it_takes_itself_off() {
    let server = Server::start().await;
    let queues = server.queues().await;
    let (a, b) = (WorkerId::new("copy"), WorkerId::new("copy"));
    for (id, doing) in [(&a, "idle"), (&b, "idle"), (&a, "256 jobs")] {
        queues.heartbeat(id, "copy", &[("doing", doing.to_owned())], LEASE).await.unwrap();
    }
    let workers = queues.workers().await.unwrap();
    assert_eq!(workers.len(), 2);
    let listed = workers.iter().find(|worker| worker.id == a.as_str()).unwrap();
    assert_eq!((listed.facts["stage"].as_str(), listed.facts["doing"].as_str()), ("copy", "256 jobs"));
    assert!(listed.heartbeat_at > 1_700_000_000_000);
    queues.remove_worker(&a).await.unwrap();
    let left: Vec<_> = queues.workers().await.unwrap().into_iter().map(|worker| worker.id).collect();
    assert_eq!(left, [b.as_str()]);
    assert_eq!(server.cli::<usize>(&["EXISTS", &format!("handover:worker:{a}")]).await, 0);
}

#[tokio::test]
async fn a_worker_that_fell_silent_is_forgotten() {
    let server = Server::start().await;
    let queues = server.queues().await;
    let (silent, alive) = (WorkerId::new("copy"), WorkerId::new("copy"));
    queues.heartbeat(&silent, "copy", &[], SHORT_LEASE).await.unwrap();
    redis_time_passes(&queues, SHORT_LEASE * 2).await;
    queues.heartbeat(&alive, "copy", &[], SHORT_LEASE).await.unwrap();
    let left: Vec<_> = queues.workers().await.unwrap().into_iter().map(|worker| worker.id).collect();
    assert_eq!(left, [alive.as_str()]);
    until("the hash has expired", || async {
        (server.cli::<usize>(&["EXISTS", &format!("handover:worker:{silent}")]).await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_worker_whose_hash_was_deleted_is_whole_after_its_next_heartbeat() {
    let server = Server::start().await;
    let queues = server.queues().await;
    let id = WorkerId::new("copy");
    queues.heartbeat(&id, "copy", &[], LEASE).await.unwrap();
    server.cli::<usize>(&["DEL", &format!("handover:worker:{id}")]).await;
    assert!(queues.workers().await.unwrap()[0].facts.is_empty());
    queues.heartbeat(&id, "copy", &[], LEASE).await.unwrap();
    assert_eq!(queues.workers().await.unwrap()[0].facts["stage"], "copy");
}
