//! The mirror's writes, its stream, its `!ready`, and how it is held against the truth.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use handover_identity::{DifferenceKind, Mirror, MirrorOptions, Renewal, Snapshot};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::{OwnRedis, Stage, Wire, at, mirror_at, names, port_of};

fn snapshot(user: &str, revision: i64) -> Snapshot {
    Snapshot { user: user.to_owned(), revision, text: format!("r{revision} m=migrated") }
}

#[test]
fn an_older_write_never_wins_in_any_order_or_batching() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stage = runtime.block_on(Stage::new());
    let mut runner = TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
    // One range a history, so that the highest is decided in each: where the length of the number changes,
    // around 2^53 (where a Lua number stops being exact), and at the end of int8.
    let writes_of = |revisions: std::ops::RangeInclusive<i64>| {
        prop::collection::vec((0..3_u8, revisions, any::<bool>()), 1..40)
    };
    let edge = 1_i64 << 53;
    let writes = prop_oneof![
        writes_of(7..=13),
        writes_of(95..=105),
        writes_of(edge - 3..=edge + 4),
        writes_of(i64::MAX - 3..=i64::MAX),
        writes_of(1..=i64::MAX),
    ];
    let result = runner.run(&writes, |writes| {
        runtime.block_on(async {
            stage.delete_keys().await;
            let mut highest = [None; 3];
            // Several at once on one connection, and some in one batch: the order is anybody's guess.
            let mut running = Vec::new();
            for batch in writes.chunk_by(|_, next| next.2) {
                let snapshots: Vec<Snapshot> = batch
                    .iter()
                    .map(|(user, revision, _)| snapshot(&format!("u{user}"), *revision))
                    .collect();
                let mirror = stage.mirror().clone();
                running.push(tokio::spawn(async move { mirror.write(&snapshots).await }));
                for (user, revision, _) in batch {
                    let highest = &mut highest[usize::from(*user)];
                    *highest = (*highest).max(Some(*revision));
                }
            }
            for write in running {
                write.await.unwrap().unwrap();
            }
            for (user, highest) in highest.into_iter().enumerate() {
                let expected = highest.map(|revision: i64| format!("r{revision} m=migrated"));
                assert_eq!(stage.field(&format!("u{user}")).await, expected);
            }
        });
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn numbers_are_unbroken_however_many_write_and_entries_are_bounded() {
    let stage = Arc::new(Stage::new().await);
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let stage = Arc::clone(&stage);
            tokio::spawn(async move {
                // A mirror of its own: another connection, another generation in hand.
                let prefix = stage.keys.identity().trim_end_matches(":identity").to_owned();
                let mirror = mirror_at(&stage.redis_url, &prefix);
                for round in 1..=10 {
                    let users: Vec<Snapshot> =
                        (0..120).map(|user| snapshot(&format!("{task}-{user}"), round)).collect();
                    mirror.write(&users).await.unwrap();
                    mirror.heartbeat().await.unwrap();
                }
                let many: Vec<Snapshot> =
                    (0..1201).map(|user| snapshot(&format!("{task}+{user}"), 1)).collect();
                mirror.write(&many).await.unwrap()
            })
        })
        .collect();
    let mut last = 0;
    for task in tasks {
        last = last.max(task.await.unwrap().unwrap().number);
    }
    let entries = stage.entries().await;
    assert_eq!(entries.len(), 8 * (10 + 10 + 3));
    assert_eq!(last, entries.len() as u64);
    for (entry, number) in entries.iter().zip(1..) {
        assert_eq!((entry.n, &entry.generation), (number, &entries[0].generation));
        assert!(entry.users.len() <= 500);
    }
    assert_eq!(entries.iter().filter(|entry| entry.users.is_empty()).count(), 80, "the heartbeats");
}

#[tokio::test]
async fn an_entry_tells_what_the_hash_holds_also_when_the_write_came_late() {
    let stage = Stage::new().await;
    let mirror = stage.mirror();
    let first = mirror.write(&[snapshot("a", 5), snapshot("b", 1)]).await.unwrap().unwrap();
    let second = mirror.write(&[snapshot("a", 4), snapshot("b", 2)]).await.unwrap().unwrap();
    assert_eq!((first.number, second.number), (1, 2));
    let told = |field: &str, text: &str| (field.to_owned(), text.to_owned());
    assert_eq!(stage.entries().await[1].users, [told("a", "r5 m=migrated"), told("b", "r2 m=migrated")]);
    assert_eq!(mirror.write(&[]).await.unwrap(), None);
}

#[tokio::test]
async fn filling_in_an_absent_field_tells_nobody_and_mending_one_does() {
    let stage = Stage::new().await;
    stage.mirror().fill(&[snapshot("a", 1), snapshot("b", 1)]).await.unwrap();
    assert!(stage.entries().await.is_empty());
    stage.mirror().fill(&[snapshot("a", 2), snapshot("b", 1)]).await.unwrap();
    let entries = stage.entries().await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].users, [("a".to_owned(), "r2 m=migrated".to_owned())]);
}

#[tokio::test]
async fn a_lost_stream_begins_again_under_another_generation() {
    let stage = Stage::new().await;
    let before = stage.mirror().heartbeat().await.unwrap();
    assert_eq!(before.number, 1);
    stage.delete_keys().await;
    let prefix = stage.keys.identity().trim_end_matches(":identity").to_owned();
    let other = mirror_at(&stage.redis_url, &prefix);
    let after = other.heartbeat().await.unwrap();
    assert_eq!(after.number, 1);
    assert_ne!(after.generation, before.generation);
    assert_eq!(stage.mirror().heartbeat().await.unwrap().generation, after.generation);
}

#[tokio::test]
async fn one_process_that_loses_its_stream_twice_uses_another_generation_each_time() {
    let stage = Stage::new().await;
    let mut generations = Vec::new();
    for _ in 0..3 {
        generations.push(stage.mirror().heartbeat().await.unwrap().generation);
        stage.delete_keys().await;
    }
    generations.sort();
    generations.dedup();
    assert_eq!(generations.len(), 3);
}

#[tokio::test]
async fn a_garbled_field_and_a_garbled_stream_are_overcome() {
    let stage = Stage::new().await;
    stage.set_field("a", "nonsense").await;
    let mut foreign = redis::cmd("XADD");
    foreign.arg(stage.keys.changes()).arg("*").arg("n").arg("many");
    foreign.exec_async(&mut stage.redis.clone()).await.unwrap();
    let position = stage.mirror().write(&[snapshot("a", 1)]).await.unwrap().unwrap();
    assert_eq!(position.number, 1);
    assert_eq!(stage.field("a").await.as_deref(), Some("r1 m=migrated"));
}

#[tokio::test]
async fn a_user_named_like_the_ready_field_stands_beside_it() {
    let stage = Stage::new().await;
    let run_id = stage.mirror().run_id().await.unwrap();
    stage.mirror().renew_ready(&run_id, SystemTime::now()).await.unwrap();
    let ready = stage.field("!ready").await;
    stage.mirror().write(&[snapshot("!ready", 1)]).await.unwrap();
    assert_eq!(stage.field("!ready").await, ready);
    assert_eq!(stage.field("!!ready").await.as_deref(), Some("r1 m=migrated"));
    let texts = stage.mirror().get(&names(["!ready", "nobody"])).await.unwrap();
    assert_eq!(texts, [Some("r1 m=migrated".to_owned()), None]);
}

#[tokio::test]
async fn ready_is_renewed_on_the_verified_server_only_and_never_moves_back() {
    let stage = Stage::new().await;
    let mirror = stage.mirror();
    let run_id = mirror.run_id().await.unwrap();
    let until = SystemTime::UNIX_EPOCH + Duration::from_millis(1_900_000_000_123);
    assert_eq!(mirror.renew_ready(&run_id, until).await.unwrap(), Renewal::First);
    let text = format!("until 1900000000123 run {run_id}");
    assert_eq!(stage.field("!ready").await, Some(text.clone()));
    assert_eq!(mirror.renew_ready(&run_id, until - Duration::from_secs(9)).await.unwrap(), Renewal::Renewed);
    assert_eq!(stage.field("!ready").await, Some(text));
    assert_eq!(mirror.ready_until().await.unwrap(), Some(until));
    let other = mirror.renew_ready("0000", until + Duration::from_secs(9)).await.unwrap();
    assert_eq!(other, Renewal::OtherServer { run_id: run_id.clone() });
    assert_eq!(mirror.ready_until().await.unwrap(), Some(until));
    mirror.clear_ready().await.unwrap();
    assert_eq!(mirror.ready_until().await.unwrap(), None);
    assert_eq!(mirror.renew_ready(&run_id, until).await.unwrap(), Renewal::First);
}

#[tokio::test]
async fn a_server_that_took_over_is_not_believed_until_it_has_been_rebuilt() {
    let stage = Stage::new().await;
    let (other, wire) = (OwnRedis::start().await, Wire::to(port_of(&stage.redis_url)).await);
    let mirror = mirror_at(&format!("redis://127.0.0.1:{}", wire.port), "p");
    let first = mirror.run_id().await.unwrap();
    let until = SystemTime::now() + Duration::from_secs(5);
    mirror.renew_ready(&first, until).await.unwrap();
    stage.truth().begin("m", &at(["a"], 1)).await.unwrap();
    wire.lead_to(other.port);
    let renewal = loop {
        // The broken connection is noticed by the first command, and made again by the next.
        if let Ok(renewal) = mirror.renew_ready(&first, until).await {
            break renewal;
        }
    };
    let Renewal::OtherServer { run_id } = renewal else { panic!("{renewal:?}") };
    let rebuilt = mirror.rebuild(stage.truth()).await.unwrap();
    assert_eq!((rebuilt.run_id.as_str(), rebuilt.users, rebuilt.written), (run_id.as_str(), 1, 1));
    assert_eq!(mirror.renew_ready(&run_id, until).await.unwrap(), Renewal::First);
}

#[tokio::test]
async fn an_emptied_mirror_is_rebuilt_and_verifies_equal() {
    let stage = Stage::new().await;
    let users: Vec<(String, i64)> = (0..2300).map(|n| (format!("u{n}"), 1)).collect();
    stage.identity.begin("m", &users).await.unwrap();
    stage.identity.flip("m", &users[..1500]).await.unwrap();
    assert!(stage.identity.verify_mirror().await.unwrap().is_equal());
    stage.delete_keys().await;
    let emptied = stage.identity.verify_mirror().await.unwrap();
    assert_eq!((emptied.missing, emptied.stale, emptied.wrong), (2300, 0, 0));
    assert_eq!(emptied.differences.len(), 1000, "the list is bounded, the count is not");
    let rebuilt = stage.identity.rebuild_mirror().await.unwrap();
    assert_eq!((rebuilt.users, rebuilt.written, rebuilt.newer), (2300, 2300, 0));
    assert!(stage.identity.verify_mirror().await.unwrap().is_equal());
    assert_eq!(stage.field("u0").await.as_deref(), Some("r2 m=migrated"));
    assert_eq!(stage.field("u1500").await.as_deref(), Some("r1 m=migrating"));
}

#[tokio::test]
async fn stale_and_wrong_fields_are_told_apart_and_repaired() {
    let stage = Stage::new().await;
    let users = ["fine", "stale", "gone", "ahead", "twisted", "garbled"];
    stage.identity.begin("m", &at(users, 1)).await.unwrap();
    stage.identity.flip("m", &at(users, 1)).await.unwrap();
    stage.set_field("stale", "r1 m=migrating").await;
    stage.set_field("ahead", "r99").await;
    stage.set_field("twisted", "r2").await;
    stage.set_field("garbled", "migrated").await;
    stage.set_field("stranger", "r1 m=migrated").await;
    stage.set_field("asked before", "r0").await;
    let mut delete = redis::cmd("HDEL");
    delete.arg(stage.keys.identity()).arg("gone").exec_async(&mut stage.redis.clone()).await.unwrap();

    let found = stage.identity.verify_mirror().await.unwrap();
    assert_eq!((found.missing, found.stale, found.wrong), (1, 1, 4));
    let wrong = found.differences.iter().filter(|difference| difference.kind == DifferenceKind::Wrong);
    let mut wrong: Vec<&str> = wrong.map(|difference| difference.truth.user.as_str()).collect();
    wrong.sort_unstable();
    assert_eq!(wrong, ["ahead", "garbled", "stranger", "twisted"]);

    let repaired = stage.mirror().repair(stage.truth(), &found.differences).await.unwrap();
    assert_eq!(repaired, 6);
    assert!(stage.identity.verify_mirror().await.unwrap().is_equal());
    assert_eq!(stage.field("ahead").await.as_deref(), Some("r2 m=migrated"));
    assert_eq!(stage.field("stranger").await.as_deref(), Some("r0"));
    let entries = stage.entries().await;
    let forced: Vec<_> = entries.iter().filter(|entry| entry.forced).collect();
    assert_eq!((forced.len(), forced[0].users.len()), (1, 4), "gates are told to take a lower revision");
}

#[tokio::test]
async fn a_repair_leaves_a_field_that_has_changed_since_it_was_found_wrong() {
    let stage = Stage::new().await;
    stage.identity.begin("m", &at(["a"], 1)).await.unwrap();
    stage.set_field("a", "nonsense").await;
    let found = stage.identity.verify_mirror().await.unwrap();
    stage.identity.flip("m", &at(["a"], 1)).await.unwrap();
    assert_eq!(stage.mirror().repair(stage.truth(), &found.differences).await.unwrap(), 0);
    assert_eq!(stage.field("a").await.as_deref(), Some("r2 m=migrated"));
}

#[tokio::test]
async fn a_rebuild_leaves_what_is_newer_than_the_row_it_read() {
    let stage = Stage::new().await;
    stage.truth().begin("m", &at(["a"], 1)).await.unwrap();
    stage.mirror().write(&[snapshot("a", 7)]).await.unwrap();
    let rebuilt = stage.identity.rebuild_mirror().await.unwrap();
    assert_eq!((rebuilt.written, rebuilt.newer), (0, 1));
    assert_eq!(stage.field("a").await.as_deref(), Some("r7 m=migrated"));
}

#[tokio::test]
async fn a_copy_that_takes_over_begins_a_generation_of_its_own() {
    let (one, two) = (OwnRedis::start().await, OwnRedis::start().await);
    let before = mirror_at(&format!("redis://127.0.0.1:{}", one.port), "p").heartbeat().await.unwrap();
    // What a replica holds that lags by some entries.
    let client = redis::Client::open(format!("redis://127.0.0.1:{}", two.port)).unwrap();
    let mut copy = client.get_multiplexed_async_connection().await.unwrap();
    let mut entry = redis::cmd("XADD");
    entry.arg("p:changes").arg("*").arg("n").arg(40).arg("gen").arg(&before.generation);
    entry.exec_async(&mut copy).await.unwrap();
    let mirror = mirror_at(&format!("redis://127.0.0.1:{}", two.port), "p");
    let after = mirror.heartbeat().await.unwrap();
    assert_ne!(after.generation, before.generation, "numbers would be given out twice");
    assert_eq!(after.number, 1);
    let next = mirror.heartbeat().await.unwrap();
    assert_eq!((next.number, next.generation), (2, after.generation));
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_left_for_another() {
    let stage = Stage::new().await;
    let target = port_of(&stage.redis_url);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        // The first is a master that a failover has cut off: it takes everything and answers nothing.
        let _silent = listener.accept().await.unwrap();
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = tokio::net::TcpStream::connect(("127.0.0.1", target)).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
    });
    let mut options = MirrorOptions::new(format!("redis://127.0.0.1:{port}").into());
    options.response_timeout = Duration::from_millis(300);
    let mirror = Mirror::new(&options).unwrap();
    assert!(mirror.heartbeat().await.is_err());
    mirror.heartbeat().await.unwrap();
}
