//! Many writers, of every isolation level, against fences that go up and down: from the moment at which a fence
//! is said to be raised until it is lifted, nothing of the user's may change.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use handover_fence::{Raise, lift, raise, visible_in};
use handover_postgres::Connection;
use tokio::time::Instant;

use crate::support::{REMINDERS, Stage, new_invoice, new_reminder, users_of};

const WRITERS: u64 = 6;
const LASTS: Duration = Duration::from_secs(8);

/// All that an extract would read of a user, as one number.
const CONTENT: &str = "
    SELECT count(*) || ' ' || coalesce(sum(hashtext(i.id::text || r::text || coalesce(x::text, ''))::int8), 0)
      FROM shop.invoice i JOIN shop.invoice_reminder r ON r.invoice_id = i.id
      LEFT JOIN shop.reminder_recipient x ON x.reminder_id = r.id WHERE i.owner_id = $1::text::int8";

/// A small generator, so that a run can be had again from its seed but for the scheduling.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

fn statement(dice: &mut Dice) -> String {
    let (user, row) = (1 + dice.roll(4) as i64, 1 + dice.roll(6));
    match dice.roll(7) {
        0 => new_reminder(row as i64),
        1 => format!("INSERT INTO shop.reminder_recipient (reminder_id, email) VALUES ({row}, 'r')"),
        2 => format!("UPDATE shop.invoice_reminder SET subject = subject || 'x' WHERE id = {row}"),
        3 => format!("UPDATE shop.invoice SET owner_id = {user} WHERE id = {row}"),
        4 => format!("UPDATE shop.invoice_reminder SET invoice_id = {} WHERE id = {row}", 1 + dice.roll(6)),
        // The child before its parent.
        5 => {
            let id = 1_000 + dice.roll(1 << 40);
            format!("{}; {}", new_reminder(id as i64), new_invoice(&id.to_string(), user))
        }
        _ => format!("DELETE FROM shop.reminder_recipient WHERE id > 6 AND reminder_id = {row}"),
    }
}

async fn keep_writing(
    connection: Connection,
    mut dice: Dice,
    ends: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
) {
    let levels = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];
    while !ends.load(Ordering::Relaxed) {
        let level = levels[dice.roll(3) as usize];
        let mut sql = format!("BEGIN ISOLATION LEVEL {level}; SELECT FROM shop.auth_user LIMIT 1;");
        for _ in 0..=dice.roll(3) {
            let pause = dice.roll(10);
            let _ = write!(sql, "{}; SELECT pg_sleep(0.00{pause});", statement(&mut dice));
        }
        // Refusals, deadlocks and serialization failures are part of it.
        if connection.batch_execute(&format!("{sql} COMMIT")).await.is_ok() {
            written.fetch_add(1, Ordering::Relaxed);
        } else {
            connection.batch_execute("ROLLBACK").await.expect("the session lives");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_user_changes_between_the_raising_of_the_fence_and_its_lifting() {
    let stage = Stage::fenced().await;
    let (ends, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut writers = Vec::new();
    for number in 1..=WRITERS {
        let dice = Dice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(number));
        let connection = stage.connect().await;
        writers.push(tokio::spawn(keep_writing(connection, dice, Arc::clone(&ends), Arc::clone(&written))));
    }
    let (mut fence, mut reader) = (stage.connect().await, stage.connect().await);
    let (mut dice, mut version, mut raised) = (Dice(42), 0, 0);
    let began = Instant::now();
    while began.elapsed() < LASTS {
        version += 1;
        let user = (1 + dice.roll(4)).to_string();
        let users = users_of(&[(user.as_str(), version)]);
        let outcome = raise(&mut fence, REMINDERS, &users, Duration::from_secs(2)).await.expect("raised");
        if outcome == [Raise::Raised] {
            raised += 1;
            let snapshot = reader.transaction().await.expect("a transaction");
            assert_eq!(visible_in(&snapshot, REMINDERS, &users).await.expect("a look"), [true]);
            let before: String = snapshot.query_one(CONTENT, &[&user]).await.expect("a look").get(0);
            snapshot.commit().await.expect("read");
            // Longer than any writer's transaction takes.
            reader.batch_execute("SELECT pg_sleep(0.04)").await.expect("a pause");
            let after: String = reader.query_one(CONTENT, &[&user]).await.expect("a look").get(0);
            assert_eq!(before, after, "user {user} changed behind fence {version}");
        }
        lift(&mut fence, REMINDERS, &users).await.expect("lifted");
    }
    ends.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.expect("a writer");
    }
    assert!(raised > 20, "{raised} fences were raised");
    assert!(written.load(Ordering::Relaxed) > 100, "{written:?} transactions were written");
}
