//! Transactions in flight: who is waited for, for how long, and what that costs the others.

use std::time::{Duration, Instant};

use handover_fence::{Lift, PAUSED, Raise, holders, lift, raise};

use crate::support::{
    PATIENCE, REMINDERS, Stage, code, new_invoice, new_reminder, raising, row_of, users_of,
};

const BRIEF: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_pause_waits_for_a_transaction_in_flight_which_may_write_on_and_commit() {
    let stage = Stage::fenced().await;
    let writer = stage.connect().await;
    writer.batch_execute(&format!("BEGIN; {}", new_reminder(2))).await.unwrap();
    let raising = raising(&stage, &[("2", 1)], PATIENCE).await;
    row_of(&stage, "2").await;
    // Whoever begins now is refused; whoever is waited for is let finish.
    assert_eq!(code(&stage.connect().await, &new_reminder(2)).await, PAUSED);
    assert_eq!(code(&writer, &new_reminder(2)).await, "ok");
    assert!(!raising.is_finished());
    writer.batch_execute("COMMIT").await.unwrap();
    assert_eq!(raising.await.unwrap(), [Raise::Raised]);
}

#[tokio::test]
async fn a_pause_gives_up_on_a_transaction_that_does_not_end_and_tells_who_it_is() {
    let stage = Stage::fenced().await;
    let writer = stage.connect().await;
    writer
        .batch_execute(&format!("SET application_name = 'nightly'; BEGIN; {}", new_reminder(2)))
        .await
        .unwrap();
    let mut fence = stage.connect().await;
    let users = users_of(&[("1", 1), ("2", 1)]);
    let began = Instant::now();
    let raised = raise(&mut fence, REMINDERS, &users, BRIEF).await.unwrap();
    assert_eq!(raised, [Raise::Raised, Raise::Busy], "one user's trouble is that user's");
    assert!(began.elapsed() < PATIENCE / 2);
    let holders = holders(&fence, &["2"]).await.unwrap();
    assert_eq!(holders.len(), 1);
    assert_eq!(holders[0].application, "nightly");
    // Given up: the user is written for again.
    assert_eq!(lift(&mut fence, REMINDERS, &users[1..]).await.unwrap(), [Lift::Lifted]);
    assert_eq!(code(&stage.connect().await, &new_reminder(2)).await, "ok");
    writer.batch_execute("COMMIT").await.unwrap();
    let again = raise(&mut fence, REMINDERS, &users_of(&[("2", 2)]), BRIEF).await.unwrap();
    assert_eq!(again, [Raise::Raised]);
}

#[tokio::test]
async fn a_prepared_transaction_is_waited_for_until_somebody_ends_it() {
    let stage = Stage::fenced().await;
    let writer = stage.connect().await;
    let prepare = format!("BEGIN; {}; PREPARE TRANSACTION '{}'", new_reminder(2), stage.name);
    writer.batch_execute(&prepare).await.unwrap();
    drop(writer);
    let mut fence = stage.connect().await;
    let users = users_of(&[("2", 1)]);
    assert_eq!(raise(&mut fence, REMINDERS, &users, BRIEF).await.unwrap(), [Raise::Busy]);
    assert_eq!(holders(&fence, &["2"]).await.unwrap()[0].pid, None);
    let other = stage.connect().await;
    other.batch_execute(&format!("COMMIT PREPARED '{}'", stage.name)).await.unwrap();
    assert_eq!(raise(&mut fence, REMINDERS, &users, BRIEF).await.unwrap(), [Raise::Raised]);
}

#[tokio::test]
async fn writers_of_the_same_bucket_are_held_up_for_one_try_at_a_time() {
    let stage = Stage::fenced().await;
    let fence = stage.connect().await;
    // A user who shares user 2's bucket.
    let sql =
        "INSERT INTO shop.auth_user (id, password, is_superuser, username, email, is_active, date_joined)
               SELECT n, '', false, 'x', '', true, now() FROM generate_series(1000, 100000) n
                WHERE handover_fence.bucket(n::text) = handover_fence.bucket('2') LIMIT 1 RETURNING id";
    let neighbour: i64 = fence.query_one(sql, &[]).await.unwrap().get(0);
    fence.batch_execute(&new_invoice("50", neighbour)).await.unwrap();
    let holder = stage.connect().await;
    holder.batch_execute(&format!("BEGIN; {}", new_reminder(2))).await.unwrap();
    let raising = raising(&stage, &[("2", 1)], Duration::from_secs(2)).await;
    row_of(&stage, "2").await;
    let writer = stage.connect().await;
    let (mut longest, mut writes) = (Duration::ZERO, 0);
    while !raising.is_finished() {
        let began = Instant::now();
        assert_eq!(code(&writer, &new_reminder(50)).await, "ok");
        longest = longest.max(began.elapsed());
        writes += 1;
    }
    assert_eq!(raising.await.unwrap(), [Raise::Busy]);
    // One try is 50 ms; the rest is this machine's.
    assert!(longest < Duration::from_millis(500), "a writer stood still for {longest:?}");
    assert!(writes > 10, "{writes} writes in two seconds");
}

#[tokio::test]
async fn a_write_that_was_rolled_back_to_a_savepoint_leaves_no_permission_behind() {
    let stage = Stage::fenced().await;
    let writer = stage.connect().await;
    let sql = format!("BEGIN; SAVEPOINT s; {}; ROLLBACK TO s", new_reminder(2));
    writer.batch_execute(&sql).await.unwrap();
    stage.pause(REMINDERS, &[("2", 1)]).await;
    assert_eq!(code(&writer, &new_reminder(2)).await, PAUSED);
}

#[tokio::test]
async fn permission_ends_with_its_transaction() {
    let stage = Stage::fenced().await;
    let writer = stage.connect().await;
    assert_eq!(code(&writer, &format!("BEGIN; {}; COMMIT", new_reminder(2))).await, "ok");
    stage.pause(REMINDERS, &[("2", 1)]).await;
    assert_eq!(code(&writer, &new_reminder(2)).await, PAUSED);
}

#[tokio::test]
async fn a_child_that_waits_for_its_parent_is_waited_for() {
    let stage = Stage::fenced().await;
    let child = stage.connect().await;
    // Nobody's yet: the invoice is another transaction's, or does not exist.
    child.batch_execute(&format!("BEGIN; {}", new_reminder(60))).await.unwrap();
    assert_eq!(code(&stage.connect().await, &new_invoice("60", 2)).await, "ok");
    let mut raising = raising(&stage, &[("2", 1)], PATIENCE).await;
    row_of(&stage, "2").await;
    let seen = stage.connect().await;
    assert!(tokio::time::timeout(BRIEF, &mut raising).await.is_err(), "it waits for the writer");
    let drained = "SELECT drained FROM handover_fence.fenced WHERE user_key = '2'";
    assert!(!seen.query_one(drained, &[]).await.unwrap().get::<_, bool>(0));
    child.batch_execute("COMMIT").await.unwrap();
    assert_eq!(raising.await.unwrap(), [Raise::Raised]);
}

#[tokio::test]
async fn a_child_written_while_its_parent_was_another_users_is_waited_for() {
    let stage = Stage::fenced().await;
    let child = stage.connect().await;
    // Written for user 1, whose lock alone it holds; then the invoice goes to 3, and from 3 to 2.
    let recipient = "INSERT INTO shop.reminder_recipient (reminder_id, email) VALUES (1, 'late')";
    child.batch_execute(&format!("BEGIN; {recipient}")).await.unwrap();
    let mover = stage.connect().await;
    for owner in [3, 2] {
        mover
            .batch_execute(&format!("UPDATE shop.invoice SET owner_id = {owner} WHERE id = 1"))
            .await
            .unwrap();
    }
    let mut fence = stage.connect().await;
    let users = users_of(&[("2", 1)]);
    for _ in 0..2 {
        // The second time as well: what was passed in the first must not hide what was not.
        assert_eq!(raise(&mut fence, REMINDERS, &users, BRIEF).await.unwrap(), [Raise::Busy]);
    }
    child.batch_execute("COMMIT").await.unwrap();
    assert_eq!(raise(&mut fence, REMINDERS, &users, PATIENCE).await.unwrap(), [Raise::Raised]);
    let left = "SELECT count(*) FROM handover_fence.crossing";
    assert_eq!(fence.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test]
async fn a_bulk_write_over_all_users_holds_no_more_locks_than_there_are_buckets() {
    let stage = Stage::fenced().await;
    let writer = stage.connect().await;
    writer
        .batch_execute(
            "INSERT INTO shop.auth_user (id, password, is_superuser, username, email, is_active, date_joined)
                 SELECT n, '', false, 'b' || n, '', true, now() FROM generate_series(1001, 4000) n;
             BEGIN;
             INSERT INTO shop.invoice (owner_id, number, customer_name, status, total, issued_on, created_at)
                 SELECT n, n, '', 1, 1, now(), now() FROM generate_series(1001, 4000) n",
        )
        .await
        .unwrap();
    let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()";
    let locks: i64 = writer.query_one(sql, &[]).await.unwrap().get(0);
    assert!((400..=513).contains(&locks), "{locks} locks");
}
