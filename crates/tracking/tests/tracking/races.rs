//! Operators and the producer at once: who asks twice is queued once.

use std::sync::Arc;

use handover_tracking::{Kind, RetryOf};

use crate::support::Bench;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_operators_who_launch_at_once_queue_each_user_once() {
    let bench = Bench::new().await;
    let names: Vec<String> = (0..500).map(|n| format!("u{n}")).collect();
    let cohort = bench.cohort("a", &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let t = &bench.tracking;
    let (one, two, three) =
        tokio::join!(t.launch(&cohort, None), t.launch(&cohort, Some(200)), t.launch(&cohort, None));
    assert_eq!(one.unwrap().queued + two.unwrap().queued + three.unwrap().queued, 500);
    assert_eq!(bench.draw(1_000).await.len(), 500);
    bench.assert_sound("launches at once").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_who_are_retried_and_rolled_back_while_they_are_drawn_are_opened_once() {
    let bench = Arc::new(Bench::new().await);
    let cohort = bench.launched("a", 40).await;
    bench.fail(&bench.draw(20).await).await;
    bench.complete(&bench.draw(20).await).await;
    for _ in 0..15 {
        let t = &bench.tracking;
        let (one, two, moves, more, backs) = tokio::join!(
            t.retry(&cohort, RetryOf::Failed, None),
            t.retry(&cohort, RetryOf::Failed, None),
            t.draw(Kind::Move, 7),
            t.request_rollback(&cohort, None),
            t.draw(Kind::Rollback, 7),
        );
        let _counts = (one.unwrap(), two.unwrap(), more.unwrap());
        let (moves, backs) =
            (crate::support::claims(&moves.unwrap()), crate::support::claims(&backs.unwrap()));
        bench.assert_sound("a round").await;
        bench.fail(&moves).await;
        bench.close(handover_tracking::Closing::Refused, &backs).await;
        bench.assert_sound("its end").await;
    }
    let status = bench.tracking.status(&cohort).await.unwrap().users;
    assert_eq!(status.total(), 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_cancels_launches_and_draws_at_once_leave_nobody_behind() {
    let bench = Arc::new(Bench::new().await);
    let cohort = bench.launched("a", 60).await;
    for round in 0..12 {
        let t = &bench.tracking;
        let (drawn, more, held, cancelled, launched) = tokio::join!(
            t.draw(Kind::Move, 5),
            t.draw(Kind::Move, 5),
            async { if round % 3 == 0 { t.hold(&cohort, "a test").await.map(|_| ()) } else { Ok(()) } },
            async { if round % 4 == 1 { t.cancel(&cohort).await.map(|_| ()) } else { Ok(()) } },
            t.launch(&cohort, None),
        );
        held.unwrap();
        cancelled.unwrap();
        launched.unwrap();
        bench.assert_sound("a round").await;
        let drawn = crate::support::claims(&[drawn.unwrap(), more.unwrap()].concat());
        // Those who were withdrawn meanwhile are stale by now.
        let admitted = t.admit(1, Kind::Move, &drawn, 1_000).await.unwrap().admitted;
        let claims: Vec<_> = admitted.iter().map(handover_tracking::OpenAttempt::claim).collect();
        bench.fail(&claims).await;
        t.retry(&cohort, RetryOf::Failed, None).await.unwrap();
        t.release(&cohort).await.unwrap();
    }
    bench.tracking.launch(&cohort, None).await.unwrap();
    while let claims @ [_, ..] = bench.draw(20).await.as_slice() {
        bench.complete(claims).await;
    }
    let status = bench.tracking.status(&cohort).await.unwrap().users;
    // Whoever stood drawn and was never admitted above is drawn already.
    let left = bench.tracking.standing(0, 1_000).await.unwrap();
    assert_eq!(status.completed + left.len() as i64, 60, "{status:?}");
    bench.assert_sound("the end").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_and_a_launch_at_once_agree_on_every_user() {
    let bench = Bench::new().await;
    for round in 0..10 {
        let names: Vec<String> = (0..50).map(|n| format!("r{round}u{n}")).collect();
        let users: Vec<&str> = names.iter().map(String::as_str).collect();
        let cohort = bench.cohort(&format!("c{round}"), &users).await;
        let t = &bench.tracking;
        let (launched, removed) = tokio::join!(t.launch(&cohort, Some(25)), t.remove_users(&cohort, &names));
        let (launched, removed) = (launched.unwrap(), removed.unwrap());
        assert_eq!(launched.queued as usize + removed.removed.len(), 50);
        assert_eq!(bench.draw(100).await.len(), launched.queued as usize);
        bench.assert_sound("both").await;
    }
}
