//! Several programs at once. Each test counts, so that a lost or a doubled change shows.

use std::collections::BTreeMap;
use std::sync::Arc;

use handover_identity::{Begin, Error, Flip, Raise, State};
use tokio::sync::Barrier;

use crate::support::{Stage, at};

fn batch(users: usize, version: i64, reversed: bool) -> Vec<(String, i64)> {
    let mut batch: Vec<(String, i64)> = (0..users).map(|n| (format!("u{n:04}"), version)).collect();
    if reversed {
        batch.reverse();
    }
    batch
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_batches_in_opposite_orders_do_not_deadlock_and_one_migration_wins_each_user() {
    let stage = Arc::new(Stage::new().await);
    let migrations = ["m0", "m1", "m2", "m3"];
    for round in 1..=5 {
        let barrier = Arc::new(Barrier::new(migrations.len()));
        let tasks = migrations.map(|migration| {
            let (stage, barrier) = (Arc::clone(&stage), Arc::clone(&barrier));
            tokio::spawn(async move {
                barrier.wait().await;
                let users = batch(300, round, migration >= "m2");
                stage
                    .truth()
                    .begin(migration, &users)
                    .await
                    .unwrap()
                    .outcomes
                    .into_iter()
                    .zip(users)
                    .collect()
            })
        });
        let mut won: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (task, migration) in tasks.into_iter().zip(migrations) {
            let outcomes: Vec<(Begin, (String, i64))> = task.await.unwrap();
            for (outcome, (user, _)) in outcomes {
                if outcome == Begin::Begun {
                    won.entry(user).or_default().push(migration);
                }
            }
        }
        assert_eq!(won.len(), 300, "round {round}: every user is won");
        assert!(won.values().all(|winners| winners.len() == 1), "round {round}: by one");
        for migration in migrations {
            stage.truth().release(migration, &batch(300, round, false)).await.unwrap();
        }
        assert!(stage.truth().paused().await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_programs_that_begin_the_same_attempt_share_it() {
    let stage = Arc::new(Stage::new().await);
    for version in 1..=10 {
        let tasks = [false, true].map(|reversed| {
            let stage = Arc::clone(&stage);
            tokio::spawn(
                async move { stage.truth().begin("m", &batch(200, version, reversed)).await.unwrap() },
            )
        });
        let mut begun = 0;
        for task in tasks {
            for outcome in task.await.unwrap().outcomes {
                match outcome {
                    Begin::Begun => begun += 1,
                    Begin::AlreadyBegun => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(begun, 200);
        let records = stage.truth().paused().await.unwrap();
        assert!(records.iter().all(|record| record.revision() == 2 * version - 1), "changed once each");
        stage.truth().release("m", &batch(200, version, false)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_flip_and_a_raise_that_race_have_one_winner() {
    let stage = Arc::new(Stage::new().await);
    stage.truth().begin("m", &batch(400, 1, false)).await.unwrap();
    let flip = {
        let stage = Arc::clone(&stage);
        tokio::spawn(async move {
            let mut outcomes = Vec::new();
            for chunk in batch(400, 1, false).chunks(7) {
                outcomes.extend(stage.truth().flip("m", chunk).await.unwrap().outcomes);
            }
            outcomes
        })
    };
    let raise = {
        let stage = Arc::clone(&stage);
        tokio::spawn(async move {
            let mut outcomes = Vec::new();
            for chunk in batch(400, 2, true).chunks(7) {
                outcomes.extend(stage.truth().raise("m", chunk).await.unwrap().outcomes);
            }
            outcomes
        })
    };
    let flips = flip.await.unwrap();
    let raises = raise.await.unwrap();
    for (flip, raise) in flips.into_iter().zip(raises.into_iter().rev()) {
        let pair = (flip, raise);
        let one_won = matches!(
            pair,
            (Flip::Flipped, Raise::HomeIsNew) | (Flip::NotOurs, Raise::Raised { state: State::Migrating })
        );
        assert!(one_won, "{pair:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_sign_up_and_a_begin_that_race_have_one_winner() {
    let stage = Arc::new(Stage::new().await);
    let (mut enrolled, mut begun) = (0, 0);
    for n in 0..100 {
        let user = format!("u{n}");
        let barrier = Arc::new(Barrier::new(2));
        let enroll = {
            let (stage, barrier, user) = (Arc::clone(&stage), Arc::clone(&barrier), user.clone());
            tokio::spawn(async move {
                barrier.wait().await;
                stage.truth().enroll(&user, &["m".to_owned()]).await
            })
        };
        let begin = {
            let (stage, user) = (Arc::clone(&stage), user.clone());
            tokio::spawn(async move {
                barrier.wait().await;
                stage.truth().begin("m", &at([user.as_str()], 1)).await.unwrap().outcomes.remove(0)
            })
        };
        match (enroll.await.unwrap(), begin.await.unwrap()) {
            (Ok(_), Begin::HomeIsNew) => enrolled += 1,
            (Err(Error::Paused { .. }), Begin::Begun) => begun += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(enrolled + begun, 100);
}

#[tokio::test]
async fn a_batch_that_waited_for_another_sees_what_it_did() {
    let stage = Stage::new().await;
    stage.truth().begin("m", &at(["a"], 1)).await.unwrap();
    // A transaction that has raised the row and not committed yet: the flip must wait, and then refuse.
    let mut other = stage.pool.get().await.unwrap();
    let transaction = other.transaction().await.unwrap();
    let sql = "UPDATE identity.users SET open_version = 2, revision = revision + 1 WHERE user_key = 'a'";
    assert_eq!(transaction.execute(sql, &[]).await.unwrap(), 1);
    let flip = {
        let truth = stage.truth().clone();
        tokio::spawn(async move { truth.flip("m", &at(["a"], 1)).await.unwrap().outcomes.remove(0) })
    };
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    let watcher = stage.pool.get().await.unwrap();
    while watcher.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        tokio::task::yield_now().await;
    }
    transaction.commit().await.unwrap();
    assert_eq!(flip.await.unwrap(), Flip::NotOurs);
}
