//! A fleet of workers with the database fence on, while programs that know no gate write to legacy as they like.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use handover_postgres::Connection;
use handover_sandbox::Server;
use handover_tests::{Fleet, Setup, World};

const REMINDERS: &str = "invoice-reminders";
const USERS: u64 = 24;
const WRITERS: u64 = 4;

/// What one writer saw.
#[derive(Debug, Default)]
struct Seen {
    /// Subjects of reminders whose insertion was acknowledged.
    acknowledged: Vec<String>,
    /// How often each SQLSTATE was answered.
    refused: BTreeMap<String, u64>,
}

/// Writes for users in turn, each time a reminder of its own, under changing isolation levels; until it is told to end.
async fn write(client: Connection, writer: u64, end: Arc<AtomicBool>, next: Arc<AtomicU64>) -> Result<Seen> {
    let mut seen = Seen::default();
    while !end.load(Ordering::SeqCst) {
        let nth = next.fetch_add(1, Ordering::SeqCst);
        let (user, subject) = (nth % USERS + 1, format!("w{writer}-{nth}"));
        let level = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"][(nth % 3) as usize];
        let statements = format!(
            "BEGIN ISOLATION LEVEL {level}; SELECT count(*) FROM shop.invoice WHERE owner_id = {user};
             SELECT pg_sleep(random() * 0.02);
             INSERT INTO shop.invoice_reminder (invoice_id, kind, days_offset, zone, subject, body, created_at, modified_at)
             SELECT min(id), 1, 0, 'UTC', '{subject}', '', now(), now() FROM shop.invoice WHERE owner_id = {user};
             SELECT pg_sleep(random() * 0.02); COMMIT"
        );
        match client.batch_execute(&statements).await {
            Ok(()) => seen.acknowledged.push(subject),
            Err(error) => {
                let code = error.code().context("the server answers")?.code().to_owned();
                *seen.refused.entry(code).or_default() += 1;
                client.batch_execute("ROLLBACK").await?;
            }
        }
    }
    Ok(seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_write_of_programs_without_a_gate_is_in_the_destination_once() -> Result<()> {
    let setup = Setup {
        users: USERS,
        rows_per_user: Some(3),
        max_paused: 8,
        fence: Some(Duration::from_secs(5)),
        ..Setup::default()
    };
    let world = World::new(setup).await?;
    let (end, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let client = world.client(Server::Legacy).await?;
        writers.push(tokio::spawn(write(client, writer, Arc::clone(&end), Arc::clone(&next))));
    }
    let fleet = Fleet::of_all(&world)?;
    let users: Vec<String> = (1..=USERS).map(|user| user.to_string()).collect();
    let names: Vec<&str> = users.iter().map(String::as_str).collect();
    let cohort = world.launched(REMINDERS, "c", &names).await?;
    fleet
        .until("everybody has completed", || async {
            Ok(world.engine.tracking.status(&cohort).await?.users.completed == USERS as i64)
        })
        .await?;
    // Each writer once more for each user, who lives on the new system now.
    let after = next.load(Ordering::SeqCst) + 2 * USERS * WRITERS;
    fleet.until("the writers went on", || async { Ok(next.load(Ordering::SeqCst) > after) }).await?;
    end.store(true, Ordering::SeqCst);

    let (mut acknowledged, mut refused) = (Vec::new(), BTreeMap::new());
    for writer in writers {
        let seen = writer.await??;
        acknowledged.extend(seen.acknowledged);
        for (code, many) in seen.refused {
            *refused.entry(code).or_insert(0) += many;
        }
    }
    assert!(acknowledged.len() > USERS as usize, "{} writes, {refused:?}", acknowledged.len());
    assert!(refused.keys().all(|code| ["MV001", "MV002", "40001"].contains(&code.as_str())), "{refused:?}");
    assert!(refused.get("MV002").copied().unwrap_or(0) >= USERS, "{refused:?}");
    let new = world.client(Server::Destination).await?;
    let sql =
        "SELECT s, count(r.id) FROM unnest($1::text[]) s LEFT JOIN reminders.reminder r ON r.subject = s
               GROUP BY s HAVING count(r.id) <> 1";
    let wrong: Vec<String> = new.query(sql, &[&acknowledged]).await?.iter().map(|row| row.get(0)).collect();
    assert_eq!(wrong, Vec::<String>::new(), "lost or doubled");
    let rows = "SELECT count(*) FROM reminders.reminder";
    let expected = USERS as i64 * 3 + acknowledged.len() as i64;
    assert_eq!(world.number(Server::Destination, rows).await?, expected);
    assert_eq!(world.number(Server::Legacy, "SELECT count(*) FROM shop.invoice_reminder").await?, expected);
    assert_eq!(
        world
            .number(Server::Legacy, "SELECT count(*) FROM handover_fence.fenced WHERE state = 'moved'")
            .await?,
        USERS as i64
    );
    Ok(())
}
