//! Draws share a window equally and in turn, and give every number out once.

use std::collections::{BTreeMap, BTreeSet};

use handover_tracking::{Claim, Kind, RetryOf};

use crate::support::{Bench, named, users};

/// Drawn users by the first letter of their names, which is their cohort's.
fn by_cohort(claims: &[Claim]) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for claim in claims {
        *shares.entry(claim.user.trim_end_matches(char::is_numeric).to_owned()).or_default() += 1;
    }
    shares
}

fn shares<const N: usize>(shares: [(&str, usize); N]) -> BTreeMap<String, usize> {
    shares.into_iter().map(|(name, users)| (name.to_owned(), users)).collect()
}

#[tokio::test]
async fn cohorts_get_equal_shares_and_what_a_small_one_leaves_goes_to_the_others() {
    let bench = Bench::new().await;
    bench.launched("a", 100).await;
    bench.launched("b", 100).await;
    bench.launched("c", 4).await;
    assert_eq!(by_cohort(&bench.draw(30).await), shares([("a", 10), ("b", 10), ("c", 4)]));
    assert_eq!(by_cohort(&bench.draw(30).await), shares([("a", 15), ("b", 15)]));
    assert_eq!(bench.tracking.window(Kind::Move).await.unwrap(), 54);
    bench.assert_sound("draws").await;
}

#[tokio::test]
async fn cohorts_take_turns_where_a_draw_is_smaller_than_they_are_many() {
    let bench = Bench::new().await;
    for name in ["a", "b", "c"] {
        bench.launched(name, 10).await;
    }
    let mut order = Vec::new();
    for _ in 0..6 {
        order.extend(by_cohort(&bench.draw(1).await).into_keys());
    }
    assert_eq!(order[..3].iter().collect::<BTreeSet<_>>().len(), 3, "{order:?}");
    assert_eq!(order[..3], order[3..], "{order:?}");
}

#[tokio::test]
async fn a_cohort_of_users_who_go_again_takes_turns_like_any_other() {
    let bench = Bench::new().await;
    let again = bench.launched("a", 20).await;
    bench.fail(&bench.draw(20).await).await;
    assert_eq!(bench.tracking.retry(&again, RetryOf::Failed, None).await.unwrap(), 20);
    bench.launched("b", 20).await;
    let mut drawn = Vec::new();
    for _ in 0..10 {
        drawn.extend(bench.draw(1).await);
    }
    assert_eq!(by_cohort(&drawn), shares([("a", 5), ("b", 5)]));
}

#[tokio::test]
async fn a_cohort_of_fifty_is_drawn_whole_beside_a_large_one_within_a_hundred() {
    let bench = Bench::new().await;
    bench.launched("large", 5_000).await;
    bench.launched("small", 50).await;
    let mut drawn = Vec::new();
    while drawn.len() < 110 {
        drawn.extend(bench.draw(10).await);
    }
    assert_eq!(by_cohort(&drawn)["small"], 50);
}

#[tokio::test]
async fn who_goes_again_comes_before_those_who_never_went() {
    let bench = Bench::new().await;
    let cohort = bench.launched("a", 6).await;
    let first = bench.draw(2).await;
    bench.fail(&first).await;
    bench.tracking.retry(&cohort, RetryOf::Failed, None).await.unwrap();
    let again = bench.draw(2).await;
    assert_eq!(users(&again), users(&first));
    assert!(again.iter().all(|claim| claim.version == 3), "1 was tried, 2 took it back: {again:?}");
}

#[tokio::test]
async fn draws_at_once_open_each_user_once() {
    let bench = Bench::new().await;
    bench.launched("a", 300).await;
    bench.launched("b", 300).await;
    let mut all = Vec::new();
    while all.len() < 600 {
        let (one, two, three) = tokio::join!(bench.draw(40), bench.draw(40), bench.draw(40));
        all.extend([one, two, three].concat());
    }
    assert_eq!(all.iter().map(|claim| &claim.user).collect::<BTreeSet<_>>().len(), 600);
    assert_eq!(bench.draw(10).await, []);
    bench.assert_sound("draws at once").await;
}

#[tokio::test]
async fn nothing_is_drawn_of_a_held_cohort_but_its_rollbacks() {
    let bench = Bench::new().await;
    let cohort = bench.launched("a", 3).await;
    bench.complete(&bench.draw(1).await).await;
    bench.tracking.hold(&cohort, "a test").await.unwrap();
    assert_eq!(bench.draw(9).await, []);
    assert_eq!(bench.tracking.request_rollback(&cohort, Some(&named(&["a1", "a2"]))).await.unwrap(), 1);
    let status = bench.tracking.status(&cohort).await.unwrap();
    assert_eq!((status.rollback_requested, status.users.completed), (1, 1));
    assert_eq!(bench.tracking.draw(Kind::Rollback, 9).await.unwrap().len(), 1);
    let status = bench.tracking.status(&cohort).await.unwrap();
    assert_eq!((status.rollback_requested, status.users.completed), (1, 1), "drawn, and not begun");
    assert_eq!(status.users.paused(), 0, "nobody waits for a rollback that has not begun");
    bench.assert_sound("a rollback of a held cohort").await;
}

#[tokio::test]
async fn a_draw_of_none_opens_nobody() {
    let bench = Bench::new().await;
    bench.launched("a", 1).await;
    assert_eq!(bench.draw(0).await, []);
    assert_eq!(bench.tracking.window(Kind::Move).await.unwrap(), 0);
}
