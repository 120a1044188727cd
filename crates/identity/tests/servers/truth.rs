//! What each operation of the truth does, alone.

use handover_identity::{Begin, BeginRollback, Enroll, Error, Flip, Raise, Release, Restore, State};

use crate::support::{Stage, at, names};

#[tokio::test]
async fn users_without_a_row_are_begun_and_a_repeat_changes_nothing() {
    let stage = Stage::new().await;
    let truth = stage.truth();
    let users = at(["b", "a"], 3);
    let first = truth.begin("m", &users).await.unwrap();
    assert_eq!(first.outcomes, vec![Begin::Begun; 2]);
    assert_eq!(first.outbox.len(), 1, "one outbox row a batch");
    let again = truth.begin("m", &users).await.unwrap();
    assert_eq!(again.outcomes, vec![Begin::AlreadyBegun; 2]);
    assert!(again.outbox.is_empty());
    assert_eq!(again.records, first.records);
    let open = first.records[0].open().unwrap();
    assert_eq!(
        (open.version, first.records[0].state("m"), first.records[0].revision()),
        (3, State::Migrating, 1)
    );
}

#[tokio::test]
async fn a_user_is_in_one_migration_at_a_time() {
    let stage = Stage::new().await;
    let truth = stage.truth();
    truth.begin("m", &at(["a"], 1)).await.unwrap();
    let busy = Begin::Busy { migration: "m".to_owned() };
    assert_eq!(truth.begin("other", &at(["a"], 1)).await.unwrap().outcomes, vec![busy.clone()]);
    assert_eq!(truth.begin("m", &at(["a"], 2)).await.unwrap().outcomes, vec![busy]);
    truth.flip("m", &at(["a"], 1)).await.unwrap();
    assert_eq!(truth.begin("other", &at(["a"], 1)).await.unwrap().outcomes, vec![Begin::Begun]);
    let refused = truth.begin_rollback("m", &at(["a"], 5)).await.unwrap().outcomes;
    assert_eq!(refused, vec![BeginRollback::Busy { migration: "other".to_owned() }]);
    assert_eq!(truth.begin("m", &at(["a"], 9)).await.unwrap().outcomes, vec![Begin::HomeIsNew]);
}

#[tokio::test]
async fn only_the_version_that_holds_the_user_can_flip() {
    let stage = Stage::new().await;
    let truth = stage.truth();
    truth.begin("m", &at(["a"], 4)).await.unwrap();
    for version in [3, 5] {
        assert_eq!(truth.flip("m", &at(["a"], version)).await.unwrap().outcomes, vec![Flip::NotOurs]);
    }
    assert_eq!(truth.flip("other", &at(["a"], 4)).await.unwrap().outcomes, vec![Flip::NotOurs]);
    assert_eq!(
        truth.flip("m", &at(["a", "nobody"], 4)).await.unwrap().outcomes,
        [Flip::Flipped, Flip::NotOurs]
    );
    assert_eq!(truth.flip("m", &at(["a"], 4)).await.unwrap().outcomes, vec![Flip::AlreadyFlipped]);
    assert_eq!(truth.get(&names(["a"])).await.unwrap()[0].flipped_by("m"), Some(4));
}

#[tokio::test]
async fn a_raised_attempt_can_no_longer_flip_and_ends_on_legacy() {
    let stage = Stage::new().await;
    let truth = stage.truth();
    truth.begin("m", &at(["a"], 4)).await.unwrap();
    let raised = vec![Raise::Raised { state: State::Migrating }];
    assert_eq!(truth.raise("m", &at(["a"], 5)).await.unwrap().outcomes, raised);
    assert_eq!(truth.raise("m", &at(["a"], 5)).await.unwrap().outcomes, raised, "repeated");
    assert_eq!(truth.raise("m", &at(["a"], 4)).await.unwrap().outcomes, vec![Raise::Superseded]);
    assert_eq!(truth.flip("m", &at(["a"], 4)).await.unwrap().outcomes, vec![Flip::NotOurs]);
    assert_eq!(truth.release("m", &at(["a"], 4)).await.unwrap().outcomes, vec![Release::NotOurs]);
    assert_eq!(truth.release("m", &at(["a"], 5)).await.unwrap().outcomes, vec![Release::Released]);
    assert_eq!(truth.release("m", &at(["a"], 5)).await.unwrap().outcomes, vec![Release::AlreadyLegacy]);
    assert_eq!(truth.begin("m", &at(["a"], 5)).await.unwrap().outcomes, vec![Begin::Superseded], "ended");
    assert_eq!(truth.begin("m", &at(["a"], 6)).await.unwrap().outcomes, vec![Begin::Begun]);
}

#[tokio::test]
async fn a_begin_that_arrives_after_its_take_back_is_refused() {
    let stage = Stage::new().await;
    let truth = stage.truth();
    assert_eq!(truth.raise("m", &at(["never seen"], 8)).await.unwrap().outcomes, vec![Raise::HomeIsLegacy]);
    assert_eq!(truth.begin("m", &at(["never seen"], 7)).await.unwrap().outcomes, vec![Begin::Superseded]);
    assert!(truth.paused().await.unwrap().is_empty());
    assert_eq!(truth.begin("m", &at(["never seen"], 8)).await.unwrap().outcomes, vec![Begin::Begun]);
}

#[tokio::test]
async fn raise_finds_a_flipped_user_at_home_on_new() {
    let stage = Stage::new().await;
    let truth = stage.truth();
    truth.begin("m", &at(["a"], 1)).await.unwrap();
    truth.flip("m", &at(["a"], 1)).await.unwrap();
    assert_eq!(truth.raise("m", &at(["a"], 2)).await.unwrap().outcomes, vec![Raise::HomeIsNew]);
    assert_eq!(truth.begin_rollback("m", &at(["a"], 2)).await.unwrap().outcomes, vec![BeginRollback::Begun]);
}

#[tokio::test]
async fn a_rollback_ends_on_legacy_or_is_given_up_on_new() {
    let stage = Stage::new().await;
    let truth = stage.truth();
    let users = ["a", "b"];
    truth.begin("m", &at(users, 1)).await.unwrap();
    assert_eq!(
        truth.begin_rollback("m", &at(["c"], 2)).await.unwrap().outcomes,
        [BeginRollback::HomeIsLegacy]
    );
    truth.flip("m", &at(users, 1)).await.unwrap();
    assert_eq!(
        truth.begin_rollback("m", &at(users, 1)).await.unwrap().outcomes,
        vec![BeginRollback::Superseded; 2]
    );
    assert_eq!(
        truth.begin_rollback("m", &at(users, 2)).await.unwrap().outcomes,
        vec![BeginRollback::Begun; 2]
    );
    assert_eq!(
        truth.begin_rollback("m", &at(users, 2)).await.unwrap().outcomes,
        vec![BeginRollback::AlreadyBegun; 2]
    );
    assert_eq!(truth.flip("m", &at(users, 2)).await.unwrap().outcomes, vec![Flip::NotOurs; 2]);
    assert_eq!(truth.release("m", &at(["a"], 2)).await.unwrap().outcomes, vec![Release::Released]);
    assert_eq!(
        truth.restore("m", &at(users, 2)).await.unwrap().outcomes,
        [Restore::HomeIsLegacy, Restore::Restored]
    );
    assert_eq!(truth.restore("m", &at(["b"], 2)).await.unwrap().outcomes, vec![Restore::AlreadyMigrated]);
    assert_eq!(truth.release("m", &at(["b"], 2)).await.unwrap().outcomes, vec![Release::HomeIsNew]);
    let records = truth.get(&names(users)).await.unwrap();
    assert_eq!(records.iter().map(|r| r.state("m")).collect::<Vec<_>>(), [State::Legacy, State::Migrated]);
    assert_eq!(records[1].flipped_by("m"), Some(1), "the data is still what version 1 wrote");
}

#[tokio::test]
async fn outcomes_are_in_input_order_and_repeats_in_a_batch_are_tolerated() {
    let stage = Stage::new().await;
    let truth = stage.truth();
    truth.begin("other", &at(["b"], 1)).await.unwrap();
    let batch: Vec<(String, i64)> = [("c", 2), ("b", 2), ("a", 2), ("c", 2), ("a", 1)]
        .map(|(user, version)| (user.to_owned(), version))
        .into();
    let busy = Begin::Busy { migration: "other".to_owned() };
    let expected = vec![Begin::Begun, busy, Begin::Begun, Begin::AlreadyBegun, Begin::Superseded];
    assert_eq!(truth.begin("m", &batch).await.unwrap().outcomes, expected);
    assert!(truth.begin("m", &[]).await.unwrap().outcomes.is_empty());
}

#[tokio::test]
async fn a_batch_larger_than_a_statement_is_carried_out_whole() {
    let stage = Stage::new().await;
    let users: Vec<(String, i64)> = (0..2500).map(|n| (format!("u{n}"), 1)).collect();
    let begun = stage.truth().begin("m", &users).await.unwrap();
    assert!(begun.outcomes.iter().all(|outcome| *outcome == Begin::Begun));
    assert_eq!((begun.outcomes.len(), begun.records.len(), begun.outbox.len()), (2500, 2500, 3));
    assert_eq!(stage.truth().paused().await.unwrap().len(), 2500);
}

#[tokio::test]
async fn a_sign_up_is_at_home_on_new_and_a_known_user_is_refused() {
    let stage = Stage::new().await;
    let truth = stage.truth();
    let both = names(["m", "n"]);
    assert_eq!(truth.enroll("new", &both).await.unwrap().outcomes, vec![Enroll::Enrolled]);
    assert_eq!(truth.enroll("new", &both).await.unwrap().outcomes, vec![Enroll::AlreadyEnrolled]);
    assert_eq!(truth.get(&names(["new"])).await.unwrap()[0].flipped_by("n"), Some(0));
    assert_eq!(truth.begin("m", &at(["new"], 1)).await.unwrap().outcomes, vec![Begin::HomeIsNew]);
    truth.begin("m", &at(["old"], 1)).await.unwrap();
    let paused = truth.enroll("old", &both).await.unwrap_err();
    assert!(matches!(paused, Error::Paused { migration } if migration == "m"));
    truth.flip("m", &at(["old"], 1)).await.unwrap();
    let known = truth.enroll("old", &both).await.unwrap_err();
    assert!(matches!(known, Error::KnownOnLegacy { migration } if migration == "n"));
    assert_eq!(truth.enroll("old", &names(["m"])).await.unwrap().outcomes, vec![Enroll::AlreadyEnrolled]);
}

#[tokio::test]
async fn who_was_born_in_a_migration_is_told_from_who_moved_and_who_is_unknown() {
    let stage = Stage::new().await;
    let truth = stage.truth();
    truth.enroll("new", &names(["m"])).await.unwrap();
    truth.enroll("elsewhere", &names(["other"])).await.unwrap();
    truth.begin("m", &at(["moved"], 1)).await.unwrap();
    truth.flip("m", &at(["moved"], 1)).await.unwrap();
    let asked = names(["moved", "unknown", "new", "elsewhere"]);
    assert_eq!(truth.born("m", &asked).await.unwrap(), ["new"]);
    assert!(truth.born("m", &[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn every_change_and_only_a_change_raises_the_revision() {
    let stage = Stage::new().await;
    let truth = stage.truth();
    let revision = async || truth.get(&names(["a"])).await.unwrap()[0].revision();
    for expected in [1, 1] {
        truth.begin("m", &at(["a"], 1)).await.unwrap();
        assert_eq!(revision().await, expected);
    }
    for expected in [2, 2] {
        truth.raise("m", &at(["a"], 2)).await.unwrap();
        assert_eq!(revision().await, expected);
    }
    for expected in [3, 3] {
        truth.flip("m", &at(["a"], 2)).await.unwrap();
        assert_eq!(revision().await, expected);
    }
}

#[tokio::test]
async fn counts_pages_and_the_paused_tell_what_is_there() {
    let stage = Stage::new().await;
    let truth = stage.truth();
    truth.begin("m", &at(["a", "b", "c", "d"], 1)).await.unwrap();
    truth.flip("m", &at(["a", "b"], 1)).await.unwrap();
    truth.release("m", &at(["d"], 1)).await.unwrap();
    truth.begin_rollback("m", &at(["b"], 2)).await.unwrap();
    let counts = truth.count_by_state("m").await.unwrap();
    assert_eq!((counts.migrating, counts.migrated, counts.rolling_back, counts.known), (1, 1, 1, 4));
    let counts = truth.count_by_state("other").await.unwrap();
    assert_eq!((counts.migrating, counts.migrated, counts.rolling_back, counts.known), (0, 0, 0, 4));
    let users = |records: Vec<handover_identity::Record>| {
        records.iter().map(|record| record.user().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(users(truth.paused().await.unwrap()), ["b", "c"]);
    assert_eq!(users(truth.page("", 3).await.unwrap()), ["a", "b", "c"]);
    assert_eq!(users(truth.page("c", 3).await.unwrap()), ["d"]);
    assert_eq!(users(truth.get(&names(["z", "a"])).await.unwrap()), ["z", "a"]);
}

#[tokio::test]
async fn what_the_truth_cannot_hold_is_refused_before_anything_is_changed() {
    let stage = Stage::new().await;
    let truth = stage.truth();
    let long = "x".repeat(256);
    for user in ["", "a\0b", long.as_str()] {
        let refused = truth.begin("m", &at(["good", user], 1)).await.unwrap_err();
        assert!(matches!(refused, Error::UserKey(_)));
    }
    assert!(matches!(truth.begin("a b", &at(["good"], 1)).await, Err(Error::Migration(_))));
    assert!(matches!(truth.begin("m", &at(["good"], 0)).await, Err(Error::Version)));
    assert!(truth.paused().await.unwrap().is_empty());
}

#[tokio::test]
async fn migrating_the_schema_again_does_nothing() {
    let stage = Stage::new().await;
    assert!(stage.truth().migrate().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_commit_is_flushed_before_it_is_acknowledged_whatever_the_database_is_set_to() {
    let stage = Stage::new().await;
    let session = stage.pool.get().await.unwrap();
    let name: String = session.query_one("SELECT current_database()::text", &[]).await.unwrap().get(0);
    session.batch_execute(&format!("ALTER DATABASE {name} SET synchronous_commit = off")).await.unwrap();
    let fresh = stage.pool.database().connect().await.unwrap();
    let set: String = fresh.query_one("SHOW synchronous_commit", &[]).await.unwrap().get(0);
    assert_eq!(set, "on");
}
