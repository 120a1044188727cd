//! `max_paused` is exact, whoever else is admitting, ending and requeueing at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use handover_tracking::{Claim, Closing, Ended, Kind, OpenState};

use crate::support::Bench;

#[tokio::test]
async fn as_many_are_admitted_as_there_is_room_for_and_the_others_are_told() {
    let bench = Bench::new().await;
    bench.launched("c", 5).await;
    let drawn = bench.draw(5).await;
    let first = bench.tracking.admit(1, Kind::Move, &drawn, 3).await.unwrap();
    assert_eq!((first.admitted.len(), first.no_room.len()), (3, 2));
    assert!(first.admitted.iter().all(|open| open.state == OpenState::Pausing && open.admitted_ms.is_some()));
    assert_eq!(bench.tracking.room(3).await.unwrap(), 0);
    // A second delivery of the same jobs admits nobody more, and is given those who are.
    let again = bench.tracking.admit(1, Kind::Move, &drawn, 3).await.unwrap();
    assert_eq!((again.admitted.len(), again.no_room.len(), bench.paused().await), (3, 2, 3));
    // A lower bound takes nobody's pause away, and leaves no negative room.
    let lower = bench.tracking.admit(1, Kind::Move, &drawn, 1).await.unwrap();
    assert_eq!((lower.admitted.len(), bench.tracking.room(1).await.unwrap()), (3, 0));
    bench.assert_sound("a lower bound").await;
}

#[tokio::test]
async fn moves_and_rollbacks_share_one_bound() {
    let bench = Bench::new().await;
    let cohort = bench.launched("c", 4).await;
    bench.complete(&bench.draw(2).await).await;
    bench.tracking.request_rollback(&cohort, None).await.unwrap();
    let back = crate::support::claims(&bench.tracking.draw(Kind::Rollback, 9).await.unwrap());
    let moves = bench.draw(9).await;
    assert_eq!(bench.tracking.admit(1, Kind::Rollback, &back, 3).await.unwrap().admitted.len(), 2);
    assert_eq!(bench.tracking.admit(1, Kind::Move, &moves, 3).await.unwrap().admitted.len(), 1);
    bench.assert_sound("both kinds").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bound_is_never_passed_while_many_admit_end_and_requeue_at_once() {
    const BOUND: u32 = 7;
    let bench = Arc::new(Bench::new().await);
    let cohort = bench.launched("c", 240).await;
    let drawn = Arc::new(bench.draw(240).await);
    let over = Arc::new(AtomicBool::new(false));
    let watching = tokio::spawn(watch(Arc::clone(&bench), Arc::clone(&over), i64::from(BOUND)));
    let workers: Vec<_> =
        (0..6).map(|nth| tokio::spawn(work(Arc::clone(&bench), Arc::clone(&drawn), nth, BOUND))).collect();
    for worker in workers {
        worker.await.unwrap();
    }
    over.store(true, Ordering::Relaxed);
    let samples = watching.await.unwrap();
    assert!(samples > 10, "{samples} samples prove little");
    let status = bench.tracking.status(&cohort).await.unwrap().users;
    assert_eq!((status.completed, status.total()), (240, 240));
    bench.assert_sound("the rush").await;
}

/// Carries all users through, some by the way of a requeue; every worker is given every job.
async fn work(bench: Arc<Bench>, drawn: Arc<Vec<Claim>>, nth: usize, bound: u32) {
    let t = &bench.tracking;
    loop {
        let mut left = false;
        for batch in drawn.rotate(nth * 40).chunks(10) {
            let admission = t.admit(1, Kind::Move, batch, bound).await.unwrap();
            left |= !admission.admitted.is_empty() || !admission.no_room.is_empty();
            let mine: Vec<Claim> =
                admission.admitted.iter().map(handover_tracking::OpenAttempt::claim).collect();
            let (odd, even): (Vec<Claim>, Vec<Claim>) =
                mine.into_iter().partition(|claim| claim.user.len() % 2 == 1 && nth == 0);
            t.requeue(1, &odd).await.unwrap();
            t.fenced(1, &even, "0/16", "s/1").await.unwrap();
            bench.copied(&even).await.unwrap();
            t.verified(1, &even).await.unwrap();
            let ended: Vec<Ended> = even.into_iter().map(Ended::of).collect();
            t.close(1, Closing::Completed, &ended).await.unwrap();
        }
        if !left {
            return;
        }
    }
}

trait Rotate {
    fn rotate(&self, by: usize) -> Vec<Claim>;
}

impl Rotate for Vec<Claim> {
    fn rotate(&self, by: usize) -> Vec<Claim> {
        let mut turned = self.clone();
        turned.rotate_left(by % self.len());
        turned
    }
}

async fn watch(bench: Arc<Bench>, over: Arc<AtomicBool>, bound: i64) -> usize {
    let session = bench.pool.get().await.unwrap();
    let sql = "SELECT count(*) FROM handover.open_attempt WHERE state <> 'queued'";
    let mut samples = 0;
    while !over.load(Ordering::Relaxed) {
        let paused: i64 = session.query_one(sql, &[]).await.unwrap().get(0);
        assert!(paused <= bound, "{paused} users are paused");
        samples += 1;
    }
    samples
}
