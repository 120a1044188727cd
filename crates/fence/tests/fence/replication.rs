//! Writes that come by replication, and the fence as a replica shows it.

use std::time::Duration;

use handover_fence::{PAUSED, Raise, raise, visible_in};
use handover_sandbox::{Server, example};

use crate::support::{FEW_USERS, REMINDERS, Stage, code, connect, new_reminder, raising, row_of, users_of};

#[tokio::test]
async fn a_session_that_replays_as_a_replica_is_refused_too() {
    let stage = Stage::fenced().await;
    stage.pause(REMINDERS, &[("2", 1)]).await;
    let writer = stage.connect().await;
    writer.batch_execute("SET session_replication_role = replica").await.unwrap();
    assert_eq!(code(&writer, &new_reminder(2)).await, PAUSED);
    assert_eq!(code(&writer, "TRUNCATE shop.reminder_recipient").await, handover_fence::TRUNCATE);
    assert_eq!(code(&writer, &new_reminder(1)).await, "ok");
}

/// Another system that publishes to legacy: its table on the server of Identity, subscribed to by legacy.
#[tokio::test]
async fn the_apply_of_logical_replication_is_refused_until_the_fence_is_lifted() {
    let stage = Stage::fenced().await;
    let upstream = stage.sandbox.create_database(Server::Identity, &stage.name).await.unwrap();
    let publisher = connect(&upstream).await;
    publisher.batch_execute(example::LEGACY_SCHEMA).await.unwrap();
    publisher.batch_execute(FEW_USERS).await.unwrap();
    let publication = "CREATE PUBLICATION feed FOR TABLE shop.reminder_recipient";
    publisher.batch_execute(publication).await.unwrap();
    let legacy = stage.connect().await;
    let address = upstream.replace('\'', "");
    let slot = format!("feed_{}", stage.name);
    let subscription = format!(
        "CREATE SUBSCRIPTION {slot} CONNECTION '{address}' PUBLICATION feed WITH (copy_data = false)"
    );
    legacy.batch_execute(&subscription).await.unwrap();

    stage.pause(REMINDERS, &[("2", 1)]).await;
    publisher
        .batch_execute("INSERT INTO shop.reminder_recipient (id, reminder_id, email) VALUES (100, 1, 'a')")
        .await
        .unwrap();
    wait_for(&legacy, "SELECT EXISTS (SELECT FROM shop.reminder_recipient WHERE id = 100)").await;
    publisher
        .batch_execute("INSERT INTO shop.reminder_recipient (id, reminder_id, email) VALUES (101, 2, 'b')")
        .await
        .unwrap();
    let failed = "SELECT apply_error_count > 0 FROM pg_stat_subscription_stats";
    wait_for(&legacy, failed).await;
    let there = "SELECT EXISTS (SELECT FROM shop.reminder_recipient WHERE id = 101)";
    assert!(!legacy.query_one(there, &[]).await.unwrap().get::<_, bool>(0));

    let mut fence = stage.connect().await;
    handover_fence::lift(&mut fence, REMINDERS, &users_of(&[("2", 1)])).await.unwrap();
    wait_for(&legacy, there).await;
    legacy.batch_execute(&format!("DROP SUBSCRIPTION {slot}")).await.unwrap();
}

async fn wait_for(connection: &handover_postgres::Connection, sql: &str) {
    let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
    let mut looks = tokio::time::interval(Duration::from_millis(50));
    while !connection.query_one(sql, &[]).await.expect("a look").get::<_, bool>(0) {
        assert!(tokio::time::Instant::now() < deadline, "never: {sql}");
        looks.tick().await;
    }
}

#[tokio::test]
async fn a_snapshot_of_the_replica_shows_the_fence_only_once_it_shows_all_that_was_waited_for() {
    let stage = Stage::fenced().await;
    let cluster = connect(&stage.sandbox.replica_url()).await;
    let here = format!("SELECT EXISTS (SELECT FROM pg_database WHERE datname = '{}')", stage.name);
    wait_for(&cluster, &here).await;
    let replica = connect(&stage.sandbox.url_of(Server::Replica, &stage.name).unwrap()).await;
    wait_for(&replica, "SELECT to_regclass('handover_fence.fenced') IS NOT NULL").await;
    let users = users_of(&[("2", 1)]);
    let writer = stage.connect().await;
    writer.batch_execute(&format!("BEGIN; {}", new_reminder(2))).await.unwrap();
    let raising = raising(&stage, &[("2", 1)], Duration::from_secs(20)).await;
    row_of(&stage, "2").await;
    wait_for(&replica, "SELECT EXISTS (SELECT FROM handover_fence.fenced)").await;
    // The row is there, and the write behind it is not.
    assert_eq!(visible_in(&*replica, REMINDERS, &users).await.unwrap(), [false]);
    writer.batch_execute("COMMIT").await.unwrap();
    assert_eq!(raising.await.unwrap(), [Raise::Raised]);
    wait_for(&replica, "SELECT EXISTS (SELECT FROM handover_fence.fenced WHERE drained)").await;
    replica.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.unwrap();
    let asked = users_of(&[("3", 1), ("2", 1), ("2", 2)]);
    assert_eq!(visible_in(&*replica, REMINDERS, &asked).await.unwrap(), [false, true, false]);
    let sql = "SELECT count(*) FROM shop.invoice_reminder WHERE invoice_id = 2";
    assert_eq!(replica.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 2);
    // A newer attempt's fence is not this snapshot's.
    let newer = raise(&mut stage.connect().await, REMINDERS, &users_of(&[("2", 2)]), Duration::ZERO).await;
    assert_eq!(newer.unwrap(), [Raise::Raised]);
    assert_eq!(visible_in(&*replica, REMINDERS, &asked).await.unwrap(), [false, true, false]);
}
