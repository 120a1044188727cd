//! Hold, release, cancel, retry, rollback requests, and the counters under them.

use handover_tracking::{Cancelled, Limits, OpenState, RetryOf};

use crate::support::{Bench, named, users};

#[tokio::test]
async fn a_hold_takes_back_who_is_not_paused_and_a_release_lets_them_go_on_first() {
    let bench = Bench::new().await;
    let cohort = bench.launched("a", 6).await;
    let drawn = bench.draw(4).await;
    bench.bring(&drawn[..1], OpenState::Copying).await;
    assert_eq!(bench.tracking.hold(&cohort, "invoices look odd").await.unwrap(), 3);
    let status = bench.tracking.status(&bench.tracking.cohort("a").await.unwrap()).await.unwrap();
    assert_eq!((status.held, status.held_reason.as_deref()), (true, Some("invoices look odd")));
    assert_eq!((status.users.queued, status.users.copying), (5, 1));
    bench.assert_sound("a hold").await;
    assert_eq!(bench.tracking.hold(&cohort, "again").await.unwrap(), 0);
    assert!(bench.tracking.release(&cohort).await.unwrap());
    assert!(!bench.tracking.release(&cohort).await.unwrap(), "it was not held any more");
    let again = bench.draw(3).await;
    assert_eq!(users(&again), users(&drawn[1..]));
    bench.assert_sound("a release").await;
}

#[tokio::test]
async fn a_number_that_was_given_out_is_not_given_out_again_after_a_hold_or_a_cancel() {
    let bench = Bench::new().await;
    let cohort = bench.launched("a", 2).await;
    let first = bench.draw(9).await;
    bench.tracking.hold(&cohort, "a test").await.unwrap();
    bench.tracking.release(&cohort).await.unwrap();
    let second = bench.draw(9).await;
    assert!(second.iter().all(|claim| claim.version == first[0].version + 1), "{second:?}");
    bench.tracking.cancel(&cohort).await.unwrap();
    bench.tracking.launch(&cohort, None).await.unwrap();
    let third = bench.draw(9).await;
    assert!(third.iter().all(|claim| claim.version == first[0].version + 2), "{third:?}");
    // A job of the first drawing is stale.
    let admitted = bench.tracking.admit(1, handover_tracking::Kind::Move, &first, 9).await.unwrap();
    assert!(admitted.admitted.is_empty() && admitted.no_room.is_empty());
}

#[tokio::test]
async fn a_cancel_takes_everybody_who_is_queued_back_to_where_they_were() {
    let bench = Bench::new().await;
    let cohort = bench.launched("a", 8).await;
    let drawn = bench.draw(5).await;
    bench.fail(&drawn[..1]).await;
    bench.complete(&drawn[1..2]).await;
    bench.bring(&drawn[2..3], OpenState::Verifying).await;
    bench.tracking.retry(&cohort, RetryOf::Failed, None).await.unwrap();
    let cancelled = bench.tracking.cancel(&cohort).await.unwrap();
    // Of the window 2, of the requests 1, not drawn 3.
    assert_eq!(cancelled, Cancelled { withdrawn: 6, on_their_way: 1 });
    let status = bench.tracking.status(&cohort).await.unwrap().users;
    assert_eq!((status.not_started, status.failed, status.completed, status.verifying), (5, 1, 1, 1));
    assert_eq!(status.queued, 0);
    assert_eq!(bench.draw(9).await, []);
    bench.assert_sound("a cancel").await;
    assert_eq!(bench.tracking.cancel(&cohort).await.unwrap().withdrawn, 0);
    // Who was never launched can be launched again; those who had been drawn keep their order among themselves.
    assert_eq!(bench.tracking.launch(&cohort, None).await.unwrap().queued, 5);
    let again = bench.draw(9).await;
    let order: Vec<&str> = again.iter().map(|claim| claim.user.as_str()).collect();
    assert_eq!(order.iter().filter(|user| ["a4", "a5"].contains(user)).collect::<Vec<_>>(), [&"a4", &"a5"]);
    assert_eq!(users(&again), ["a4", "a5", "a6", "a7", "a8"]);
    bench.assert_sound("a launch after a cancel").await;
}

#[tokio::test]
async fn a_cancel_of_a_held_cohort_and_of_one_never_launched_is_whole() {
    let bench = Bench::new().await;
    let idle = bench.cohort("idle", &["x"]).await;
    assert_eq!(bench.tracking.cancel(&idle).await.unwrap(), Cancelled { withdrawn: 0, on_their_way: 0 });
    let cohort = bench.launched("a", 3).await;
    bench.draw(2).await;
    bench.tracking.hold(&cohort, "a test").await.unwrap();
    assert_eq!(bench.tracking.cancel(&cohort).await.unwrap().withdrawn, 3);
    bench.assert_sound("a cancel of a held cohort").await;
    bench.tracking.release(&cohort).await.unwrap();
    bench.tracking.launch(&cohort, None).await.unwrap();
    assert_eq!(bench.draw(9).await.len(), 3);
}

#[tokio::test]
async fn a_retry_queues_those_who_failed_once_and_nobody_else() {
    let bench = Bench::new().await;
    let cohort = bench.launched("a", 5).await;
    let drawn = bench.draw(4).await;
    bench.fail(&drawn[..2]).await;
    bench.complete(&drawn[2..3]).await;
    let t = &bench.tracking;
    assert_eq!(t.retry(&cohort, RetryOf::Failed, Some(&named(&["a3", "a9"]))).await.unwrap(), 0);
    assert_eq!(t.retry(&cohort, RetryOf::Failed, Some(&named(&["a1"]))).await.unwrap(), 1);
    assert_eq!(t.retry(&cohort, RetryOf::Failed, None).await.unwrap(), 1);
    assert_eq!(t.retry(&cohort, RetryOf::Failed, None).await.unwrap(), 0);
    assert_eq!(t.retry(&cohort, RetryOf::RolledBack, None).await.unwrap(), 0);
    bench.assert_sound("retries").await;
    assert_eq!(t.user("a1").await.unwrap()[0].state, "queued");
}

#[tokio::test]
async fn a_rollback_is_asked_for_once_and_of_completed_users_alone() {
    let bench = Bench::new().await;
    let cohort = bench.launched("a", 4).await;
    let drawn = bench.draw(3).await;
    bench.complete(&drawn[..2]).await;
    bench.fail(&drawn[2..]).await;
    let t = &bench.tracking;
    assert_eq!(t.request_rollback(&cohort, Some(&named(&["a3", "a4", "x"]))).await.unwrap(), 0);
    assert_eq!(t.request_rollback(&cohort, Some(&named(&["a1"]))).await.unwrap(), 1);
    assert_eq!(t.request_rollback(&cohort, None).await.unwrap(), 1);
    assert_eq!(t.request_rollback(&cohort, None).await.unwrap(), 0);
    let status = t.status(&cohort).await.unwrap();
    assert_eq!((status.users.completed, status.rollback_requested), (2, 2));
    bench.assert_sound("rollback requests").await;
}

#[tokio::test]
async fn a_rollback_that_has_not_begun_can_be_forgotten_and_its_user_stays_completed() {
    let bench = Bench::new().await;
    let cohort = bench.launched("a", 3).await;
    let drawn = bench.draw(3).await;
    bench.complete(&drawn[..2]).await;
    bench.fail(&drawn[2..]).await;
    let t = &bench.tracking;
    t.request_rollback(&cohort, None).await.unwrap();
    assert!(t.user("a1").await.unwrap()[0].rollback_requested);
    assert_eq!(t.cancel_rollbacks(&cohort).await.unwrap(), 2);
    assert_eq!(t.cancel_rollbacks(&cohort).await.unwrap(), 0);
    let status = t.status(&cohort).await.unwrap();
    assert_eq!((status.users.completed, status.rollback_requested), (2, 0));
    let mut places = t.whereabouts(cohort.migration_id, &named(&["a1", "a3", "x"])).await.unwrap();
    places.sort_by(|one, other| one.user.cmp(&other.user));
    let places: Vec<(&str, &str)> = places.iter().map(|place| (&*place.user, &*place.state)).collect();
    assert_eq!(places, [("a1", "completed"), ("a3", "failed")]);
    bench.assert_sound("rollbacks forgotten").await;
}

#[tokio::test]
async fn folding_counters_keeps_every_sum() {
    let bench = Bench::new().await;
    let cohort = bench.launched("a", 60).await;
    let other = bench.launched("b", 3).await;
    while let claims @ [_, ..] = bench.draw(2).await.as_slice() {
        bench.complete(claims).await;
    }
    let before = (
        bench.tracking.status(&cohort).await.unwrap().users,
        bench.tracking.status(&other).await.unwrap().users,
    );
    let (one, two) = tokio::join!(bench.tracking.fold_counters(), bench.tracking.fold_counters());
    assert!(one.unwrap() + two.unwrap() > 30);
    let after = (
        bench.tracking.status(&cohort).await.unwrap().users,
        bench.tracking.status(&other).await.unwrap().users,
    );
    assert_eq!(before, after);
    bench.tracking.fold_counters().await.unwrap();
    let rows = "SELECT count(*) FROM handover.counter";
    let rows: i64 = bench.pool.get().await.unwrap().query_one(rows, &[]).await.unwrap().get(0);
    assert!(rows <= 6, "{rows} rows are left of two cohorts with three states");
    bench.assert_sound("folding").await;
}

#[tokio::test]
async fn a_status_tells_a_rate_and_when_those_queued_will_be_done() {
    let bench = Bench::new().await;
    let cohort = bench.launched("a", 20).await;
    assert_eq!(bench.tracking.status(&cohort).await.unwrap().eta_seconds, None, "nobody has ended yet");
    bench.complete(&bench.draw(10).await).await;
    let status = bench.tracking.status(&cohort).await.unwrap();
    assert!(status.users_per_second > 0.0 && status.eta_seconds.unwrap() > 0.0, "{status:?}");
}

const LIMITS: Limits = Limits { min_attempts: 4, failure_rate: 0.5, max_mismatches: 1 };

#[tokio::test]
async fn a_cohort_is_held_once_its_newest_moves_fail_too_often_and_not_before_there_are_enough() {
    let bench = Bench::new().await;
    let cohort = bench.launched("a", 20).await;
    bench.launched("other", 2).await;
    let t = &bench.tracking;
    let drawn: Vec<_> =
        bench.draw(22).await.into_iter().filter(|claim| claim.user.starts_with('a')).collect();
    bench.fail(&drawn[..3]).await;
    assert_eq!(t.trip_breakers(&LIMITS).await.unwrap(), [], "three are not enough to judge by");
    bench.complete(&drawn[3..6]).await;
    bench.fail(&drawn[6..7]).await;
    // Of the newest four, three are completed: what failed before them does not count.
    assert_eq!(t.trip_breakers(&LIMITS).await.unwrap(), []);
    bench.fail(&drawn[7..9]).await;
    bench.bring(&drawn[9..10], OpenState::Copying).await;
    let tripped = t.trip_breakers(&LIMITS).await.unwrap();
    assert_eq!(tripped.len(), 1, "{tripped:?}");
    assert_eq!(tripped[0].cohort, "a");
    assert!(tripped[0].reason.contains("3 of the last 4 moves failed"), "{tripped:?}");
    assert_eq!(t.trip_breakers(&LIMITS).await.unwrap(), [], "it is held already");
    let status = t.status(&cohort).await.unwrap();
    assert_eq!((status.held, status.held_reason.as_ref()), (true, Some(&tripped[0].reason)));
    assert_eq!((status.users.queued, status.users.copying), (10, 1), "who is paused goes on");
    bench.assert_sound("a tripped breaker").await;
}

#[tokio::test]
async fn a_release_and_a_retry_let_the_breaker_count_anew() {
    let bench = Bench::new().await;
    let cohort = bench.launched("a", 12).await;
    let t = &bench.tracking;
    let drawn = bench.draw(9).await;
    bench.fail(&drawn[..4]).await;
    assert_eq!(t.trip_breakers(&LIMITS).await.unwrap().len(), 1);
    assert!(t.release(&cohort).await.unwrap());
    assert_eq!(t.trip_breakers(&LIMITS).await.unwrap(), [], "it was released in spite of them");
    let drawn = bench.draw(9).await;
    bench.fail(&drawn[..4]).await;
    t.retry(&cohort, RetryOf::Failed, None).await.unwrap();
    assert_eq!(t.trip_breakers(&LIMITS).await.unwrap(), [], "they were ordered to go again");
    let drawn = bench.draw(9).await;
    bench.fail(&drawn[..4]).await;
    assert_eq!(t.trip_breakers(&LIMITS).await.unwrap().len(), 1);
    bench.assert_sound("a release and a retry").await;
}

#[tokio::test]
async fn mismatches_hold_a_cohort_however_many_others_complete() {
    let bench = Bench::new().await;
    bench.launched("a", 12).await;
    let t = &bench.tracking;
    let drawn = bench.draw(12).await;
    bench.complete(&drawn[..9]).await;
    bench.fail_by(&drawn[9..10], "mismatch").await;
    assert_eq!(t.trip_breakers(&LIMITS).await.unwrap(), [], "one is allowed");
    bench.fail_by(&drawn[10..11], "mismatch").await;
    let tripped = t.trip_breakers(&LIMITS).await.unwrap();
    assert!(tripped[0].reason.contains("more than 1 moves failed by a mismatch"), "{tripped:?}");
}
