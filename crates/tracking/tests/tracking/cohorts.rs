//! Cohorts: adding, removing, launching, and the installation's key type.

use std::collections::BTreeMap;

use handover_tracking::ClashKind::{AlreadyHere, Duplicate, OtherCohort};
use handover_tracking::{ClashKind, Error, Kind, Tracking};

use crate::support::{Bench, named, users};

#[tokio::test]
async fn a_name_that_no_shell_or_key_can_bear_is_refused() {
    let bench = Bench::new().await;
    let long = "a".repeat(64);
    for bad in ["", "-a", ".a", "a b", "a/b", "a'b", "ä", "a\nb", "a\0b", long.as_str()] {
        let refused = bench.tracking.create_cohort("m", bad).await;
        assert!(matches!(refused, Err(Error::BadCohortName(_))), "{bad:?}: {refused:?}");
    }
    for good in ["a", "7", "pilot-2.b_C", &long[..63]] {
        assert_eq!(bench.tracking.create_cohort("m", good).await.unwrap().name, good);
    }
    let twice = bench.tracking.create_cohort("n", "a").await;
    assert!(matches!(twice, Err(Error::CohortExists(name, migration)) if name == "a" && migration == "m"));
    assert!(matches!(bench.tracking.create_cohort("x", "b").await, Err(Error::NoSuchMigration(_))));
    assert!(matches!(bench.tracking.cohort("x").await, Err(Error::NoSuchCohort(_))));
}

#[tokio::test]
async fn every_line_that_adds_nobody_is_told_with_its_reason() {
    let bench = Bench::new().await;
    bench.cohort("other", &["7", "8"]).await;
    let cohort = bench.cohort("pilot", &["1", "2"]).await;
    let report = bench.add(&cohort, &["2", "3", "7", "3", "4", "7", "2", "3"]).await;
    assert_eq!((report.added, report.duplicates, report.already_here, report.other_cohort), (2, 4, 1, 1));
    let clashes: Vec<(i64, &str, ClashKind, Option<&str>)> =
        report.clashes.iter().map(|c| (c.line, c.user.as_str(), c.kind, c.cohort.as_deref())).collect();
    assert_eq!(
        clashes,
        [
            (1, "2", AlreadyHere, None),
            (3, "7", OtherCohort, Some("other")),
            (4, "3", Duplicate, None),
            (6, "7", Duplicate, None),
            (7, "2", Duplicate, None),
            (8, "3", Duplicate, None),
        ]
    );
    assert_eq!(bench.tracking.cohort("pilot").await.unwrap().users, 4);
    bench.assert_sound("an addition").await;
}

#[tokio::test]
async fn users_named_without_lines_keep_the_order_they_were_named_in() {
    let bench = Bench::new().await;
    let cohort = bench.cohort("pilot", &[]).await;
    let mut adding = bench.tracking.add_users(&cohort).await.unwrap();
    for user in ["5", "3", "9", "3", "1"] {
        adding.push(0, user).await.unwrap();
    }
    assert_eq!(adding.finish().await.unwrap().added, 4);
    bench.tracking.launch(&cohort, Some(3)).await.unwrap();
    let order = bench.tracking.draw(Kind::Move, 9).await.unwrap();
    assert_eq!(order.iter().map(|drawn| drawn.user.as_str()).collect::<Vec<_>>(), ["5", "3", "9"]);
}

#[tokio::test]
async fn a_user_may_be_in_one_cohort_of_each_migration() {
    let bench = Bench::new().await;
    bench.cohort("of-m", &["1"]).await;
    let of_n = bench.tracking.create_cohort("n", "of-n").await.unwrap();
    assert_eq!(bench.add(&of_n, &["1"]).await.added, 1);
    let records = bench.tracking.user("1").await.unwrap();
    assert_eq!(records.iter().map(|r| r.cohort.as_str()).collect::<Vec<_>>(), ["of-m", "of-n"]);
}

#[tokio::test]
async fn an_addition_that_is_dropped_or_cut_adds_nobody() {
    let bench = Bench::new().await;
    let cohort = bench.cohort("pilot", &[]).await;
    let mut adding = bench.tracking.add_users(&cohort).await.unwrap();
    for line in 1..=50_000 {
        adding.push(line, &format!("user-{line}")).await.unwrap();
    }
    drop(adding);
    assert_eq!(bench.add(&cohort, &["1"]).await.added, 1);
    assert_eq!(bench.tracking.cohort("pilot").await.unwrap().users, 1);
}

#[tokio::test]
async fn keys_of_every_character_are_kept_as_they_are() {
    let bench = Bench::new().await;
    let long = "ü".repeat(127);
    let odd =
        ["o'brien", "a\"b", "{1,2}", "back\\slash", "%s", "NULL", " ", "тест", "\u{1f4a9}", "a\tb", &long];
    let cohort = bench.cohort("odd", &odd).await;
    assert_eq!(cohort.users, 0, "the record is of before the addition");
    bench.tracking.launch(&cohort, None).await.unwrap();
    let mut want = odd.to_vec();
    want.sort_unstable();
    let drawn = bench.draw(20).await;
    assert_eq!(users(&drawn), want);
    bench.complete(&drawn).await;
    for user in odd {
        assert_eq!(bench.tracking.user(user).await.unwrap()[0].state, "completed", "{user:?}");
    }
}

#[tokio::test]
async fn two_additions_of_the_same_users_at_once_add_each_once() {
    let bench = Bench::new().await;
    let (a, b) = (bench.cohort("a", &[]).await, bench.cohort("b", &[]).await);
    let names: Vec<String> = (0..2_000).map(|n| format!("u{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (in_a, in_b, again) =
        tokio::join!(bench.add(&a, &names), bench.add(&b, &names), bench.add(&a, &names));
    assert_eq!(in_a.added + in_b.added + again.added, 2_000);
    assert_eq!(in_b.added + in_b.other_cohort, 2_000);
    assert_eq!(in_a.added + in_a.already_here + in_a.other_cohort, 2_000);
    bench.assert_sound("three additions").await;
}

#[tokio::test]
async fn only_users_who_were_never_launched_nor_tried_are_removed() {
    let bench = Bench::new().await;
    let cohort = bench.cohort("pilot", &["1", "2", "3", "4"]).await;
    bench.cohort("other", &["9"]).await;
    bench.tracking.launch(&cohort, Some(2)).await.unwrap();
    let removed = bench.tracking.remove_users(&cohort, &named(&["1", "3", "9", "x"])).await.unwrap();
    assert_eq!(removed.removed, ["3"]);
    assert_eq!(removed.launched, ["1"]);
    assert_eq!(removed.unknown, ["9", "x"]);
    bench.assert_sound("a removal").await;
    // A removed user can be added again, and to another cohort; the launch passes over the gap.
    assert_eq!(bench.add(&bench.tracking.cohort("other").await.unwrap(), &["3"]).await.added, 1);
    assert_eq!(bench.tracking.launch(&cohort, None).await.unwrap().queued, 1);
    assert_eq!(users(&bench.draw(9).await), ["1", "2", "4"]);
    bench.assert_sound("a launch over a gap").await;
}

#[tokio::test]
async fn a_launch_queues_each_user_once_in_the_order_they_were_added() {
    let bench = Bench::new().await;
    let cohort = bench.cohort("pilot", &["5", "3", "9", "1"]).await;
    let first = bench.tracking.launch(&cohort, Some(3)).await.unwrap();
    assert_eq!((first.queued, first.not_started), (3, 1));
    assert_eq!(
        bench.tracking.draw(Kind::Move, 2).await.unwrap().iter().map(|d| d.user.as_str()).collect::<Vec<_>>(),
        ["5", "3"]
    );
    let rest = bench.tracking.launch(&cohort, None).await.unwrap();
    assert_eq!((rest.queued, rest.not_started), (1, 0));
    let again = bench.tracking.launch(&cohort, None).await.unwrap();
    assert_eq!((again.queued, again.not_started), (0, 0));
    assert_eq!(users(&bench.draw(9).await), ["1", "9"]);
    assert_eq!(bench.draw(9).await, []);
    bench.add(&cohort, &["6"]).await;
    assert_eq!(bench.tracking.launch(&cohort, Some(7)).await.unwrap().queued, 1, "who was added later");
    bench.assert_sound("launches").await;
}

#[tokio::test]
async fn an_empty_cohort_can_be_launched_and_nothing_comes_of_it() {
    let bench = Bench::new().await;
    let cohort = bench.cohort("pilot", &[]).await;
    let launched = bench.tracking.launch(&cohort, None).await.unwrap();
    assert_eq!((launched.queued, launched.not_started), (0, 0));
    assert_eq!(bench.draw(9).await, []);
    bench.assert_sound("nothing").await;
}

#[tokio::test]
async fn a_plan_is_stored_once_and_attempts_keep_the_one_they_began_with() {
    let bench = Bench::new().await;
    bench.launched("c", 2).await;
    let old = bench.draw(1).await;
    let files = BTreeMap::from([("plan.toml".to_owned(), "new".to_owned())]);
    let stored = bench.tracking.register("m", &[9; 32], &files).await.unwrap();
    assert_eq!(bench.tracking.register("m", &[9; 32], &files).await.unwrap().id, stored.id);
    let new = bench.draw(1).await;
    let plan_of = async |claims| bench.tracking.open(1, claims).await.unwrap()[0].plan_id;
    assert_eq!(plan_of(&new).await, stored.id);
    assert_ne!(plan_of(&old).await, stored.id);
    assert_eq!(bench.tracking.plan(stored.id).await.unwrap().files, files);
    assert_eq!(bench.tracking.current_plan("m").await.unwrap().id, stored.id);
    // An older plan that is registered again is the current one again.
    let first = BTreeMap::from([("plan.toml".to_owned(), "m".to_owned())]);
    assert_ne!(bench.tracking.register("m", &[0; 32], &first).await.unwrap().id, stored.id);
    assert_ne!(bench.tracking.current_plan("m").await.unwrap().id, stored.id);
}

#[tokio::test]
async fn an_installation_has_one_key_type_for_ever() {
    let bench = Bench::new().await;
    assert_eq!(bench.tracking.key_type().await.unwrap(), None);
    bench.tracking.fix_key_type("int8").await.unwrap();
    bench.tracking.fix_key_type("int8").await.unwrap();
    let refused = bench.tracking.fix_key_type("uuid").await;
    assert!(
        matches!(refused, Err(Error::KeyTypeDiffers { installed, plan }) if installed == "int8" && plan == "uuid")
    );
    assert_eq!(bench.tracking.key_type().await.unwrap().as_deref(), Some("int8"));
}

#[tokio::test]
async fn a_destination_without_the_schema_says_what_to_run() {
    let bench = Bench::new().await;
    bench.pool.get().await.unwrap().batch_execute("DROP SCHEMA handover CASCADE").await.unwrap();
    let error = bench.tracking.cohorts().await.unwrap_err();
    assert!(matches!(error, Error::NotInstalled) && error.to_string().contains("handover init"));
}

const LEASE: std::time::Duration = std::time::Duration::from_secs(30);

#[tokio::test]
async fn a_leader_that_falls_silent_for_its_lease_leads_no_longer() {
    let bench = Bench::new().await;
    let short = std::time::Duration::from_millis(300);
    let first = bench.tracking.try_lead(short).await.unwrap().expect("nobody leads");
    let second = until_leading(&bench.tracking).await;
    assert!(!first.still_leads().await && second.still_leads().await);
}

#[tokio::test]
async fn one_leads_until_its_session_ends() {
    let bench = Bench::new().await;
    let first = bench.tracking.try_lead(LEASE).await.unwrap().expect("nobody leads");
    assert!(bench.tracking.try_lead(LEASE).await.unwrap().is_none() && first.still_leads().await);
    let kill = "SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                 WHERE l.locktype = 'advisory' AND d.datname = current_database()";
    bench.pool.get().await.unwrap().execute(kill, &[]).await.unwrap();
    assert!(!first.still_leads().await, "a leader whose session was ended knows it");
    let second = until_leading(&bench.tracking).await;
    drop(second);
    until_leading(&bench.tracking).await;
}

/// The server notices a closed socket a moment later.
async fn until_leading(tracking: &Tracking) -> handover_tracking::Leader {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        if let Some(leader) = tracking.try_lead(LEASE).await.unwrap() {
            return leader;
        }
        assert!(std::time::Instant::now() < deadline, "the lead stays taken");
        tokio::task::yield_now().await;
    }
}
