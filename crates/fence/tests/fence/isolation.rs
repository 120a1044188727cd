//! Transactions that began before a pause and write after it, under every isolation level.

use handover_fence::{PAUSED, Raise, install};

use crate::support::{
    PATIENCE, REMINDERS, SETTINGS, Stage, code, new_reminder, plan, raising, refusal, row_of,
};

const STALE: &str = "40001";

/// One write of user 2's for each way in which a table's rows reach him.
fn writes_of_user_two() -> [String; 4] {
    [
        "UPDATE shop.invoice_settings SET footer = 'x' WHERE user_id = 2".to_owned(),
        new_reminder(2),
        "INSERT INTO shop.reminder_recipient (reminder_id, email) VALUES (2, '')".to_owned(),
        "DELETE FROM shop.reminder_recipient WHERE id = 2".to_owned(),
    ]
}

#[tokio::test]
async fn a_transaction_that_began_before_the_pause_cannot_write_after_it() {
    let levels = [
        ("READ UNCOMMITTED", PAUSED),
        ("READ COMMITTED", PAUSED),
        ("REPEATABLE READ", STALE),
        ("SERIALIZABLE", STALE),
    ];
    let stage = Stage::fenced().await;
    install(&mut stage.connect().await, &plan(SETTINGS)).await.unwrap();
    let mut version = 0;
    for (level, expected) in levels {
        for sql in writes_of_user_two() {
            version += 1;
            let writer = stage.connect().await;
            // The first query takes the snapshot.
            writer
                .batch_execute(&format!("BEGIN ISOLATION LEVEL {level}; SELECT FROM shop.invoice"))
                .await
                .unwrap();
            for migration in [REMINDERS, SETTINGS] {
                stage.pause(migration, &[("2", version)]).await;
            }
            let (code, text) = refusal(&writer, &sql).await;
            assert_eq!(code, expected, "{level}: {sql}: {text}");
            writer.batch_execute("ROLLBACK").await.unwrap();
            // Begun again, it is told the truth.
            writer.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}")).await.unwrap();
            assert_eq!(refusal(&writer, &sql).await.0, PAUSED, "{level}: {sql}");
            for migration in [REMINDERS, SETTINGS] {
                let users = [("2".to_owned(), version)];
                let mut connection = stage.connect().await;
                handover_fence::lift(&mut connection, migration, &users).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn an_old_snapshot_may_write_for_users_who_were_not_paused_since() {
    let stage = Stage::fenced().await;
    install(&mut stage.connect().await, &plan(SETTINGS)).await.unwrap();
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let writer = stage.connect().await;
        writer
            .batch_execute(&format!("BEGIN ISOLATION LEVEL {level}; SELECT FROM shop.invoice"))
            .await
            .unwrap();
        for migration in [REMINDERS, SETTINGS] {
            stage.pause(migration, &[("3", 1)]).await;
        }
        for sql in writes_of_user_two() {
            assert_eq!(code(&writer, &sql).await, "ok", "{level}: {sql}");
        }
        assert_eq!(code(&writer, "ROLLBACK").await, "ok");
    }
    // What asked leaves no trace.
    let rows: i64 = stage
        .connect()
        .await
        .query_one("SELECT count(*) FROM handover_fence.fenced WHERE user_key = '2'", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn an_old_snapshot_that_does_not_see_whose_the_parent_is_now_cannot_write() {
    let stage = Stage::fenced().await;
    let writer = stage.connect().await;
    writer.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM shop.invoice").await.unwrap();
    // To the snapshot invoice 1 is user 1's; it is user 2's now, who is then paused.
    let mover = stage.connect().await;
    mover.batch_execute("UPDATE shop.invoice SET owner_id = 2 WHERE id = 1").await.unwrap();
    stage.pause(REMINDERS, &[("2", 1)]).await;
    let recipient = "INSERT INTO shop.reminder_recipient (reminder_id, email) VALUES (1, '')";
    assert_eq!(code(&writer, recipient).await, STALE);
}

#[tokio::test]
async fn a_snapshot_taken_while_the_pause_waits_cannot_write_by_way_of_a_parent_it_takes_for_anothers() {
    let stage = Stage::fenced().await;
    let mover = stage.connect().await;
    mover.batch_execute("BEGIN; UPDATE shop.invoice SET owner_id = 2 WHERE id = 1").await.unwrap();
    let raising = raising(&stage, &[("2", 1)], PATIENCE).await;
    row_of(&stage, "2").await;
    // Its snapshot shows the fence, and invoice 1 as user 1's.
    let writers = [stage.connect().await, stage.connect().await];
    for (writer, level) in writers.iter().zip(["REPEATABLE READ", "SERIALIZABLE"]) {
        let sql = format!("BEGIN ISOLATION LEVEL {level}; SELECT FROM shop.invoice");
        writer.batch_execute(&sql).await.unwrap();
    }
    mover.batch_execute("COMMIT").await.unwrap();
    assert_eq!(raising.await.unwrap(), [Raise::Raised]);
    for writer in &writers {
        let recipient = "INSERT INTO shop.reminder_recipient (reminder_id, email) VALUES (1, '')";
        assert_eq!(code(writer, recipient).await, STALE);
    }
}

#[tokio::test]
async fn an_old_snapshot_cannot_truncate_behind_a_pause() {
    let stage = Stage::fenced().await;
    let writer = stage.connect().await;
    writer.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM shop.auth_user").await.unwrap();
    stage.pause(REMINDERS, &[("2", 1)]).await;
    assert_eq!(code(&writer, "TRUNCATE shop.reminder_recipient").await, STALE);
}
