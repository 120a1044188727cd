//! The late-writer audit: what somebody wrote to legacy after a user had moved is found, and named.

use anyhow::{Context, Result, ensure};
use handover_sandbox::Server;
use handover_tests::{Setup, World};
use handover_tracking::Kind;
use serde_json::{Value, json};

const MIGRATION: &str = "invoice-reminders";

async fn moved(users: &[&str]) -> Result<World> {
    let world = Box::pin(World::new(Setup { users: 5, rows_per_user: Some(4), ..Setup::default() })).await?;
    world.launched(MIGRATION, "pilot", users).await?;
    Box::pin(world.drive(Kind::Move)).await?;
    Ok(world)
}

/// The user's reminders, lowest first.
async fn reminders(world: &World, user: u64) -> Result<Vec<i64>> {
    let sql = format!("SELECT legacy_id FROM reminders.reminder WHERE owner_id = {user} ORDER BY 1");
    let rows = world.client(Server::Destination).await?.query(&sql, &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

fn alarm(report: &Value) -> Result<&Value> {
    let alarms = report["alarms"].as_array().context("a list")?;
    ensure!(alarms.len() == 1, "{report}");
    Ok(&alarms[0])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_slipped_past_the_gate_is_found_and_named_among_what_changed_on_the_new_system()
-> Result<()> {
    let world = moved(&["1", "2", "3"]).await?;
    let clean = world.handover(&["audit", "pilot", "--json"]).await?.exited(0)?.json()?;
    assert_eq!(clean, json!({ "cohort": "pilot", "audited": 3, "alarms": [] }));

    let ids = reminders(&world, 2).await?;
    // The new system goes on, as it should: another subject, a reminder less, and users of whom it alone changes.
    let going_on = format!(
        "UPDATE reminders.reminder SET subject = 'of the new system' WHERE legacy_id = {} OR owner_id = 1;
         DELETE FROM reminders.recipient WHERE reminder_id = (SELECT id FROM reminders.reminder WHERE legacy_id = {});
         DELETE FROM reminders.reminder WHERE legacy_id = {}",
        ids[0], ids[1], ids[1]
    );
    world.sql(Server::Destination, &going_on).await?;
    world.handover(&["audit", "pilot"]).await?.exited(0)?;

    // And somebody writes to legacy, past the gate.
    world
        .sql(Server::Legacy, &format!("UPDATE shop.invoice_reminder SET body = 'late' WHERE id = {}", ids[2]))
        .await?;
    let found = world.handover(&["audit", "pilot", "--json"]).await?.exited(3)?;
    let report = found.json()?;
    let key = format!("legacy_id={}", ids[2]);
    let row = json!({ "entity": "reminder", "key": key, "what": "changed", "fields": ["body"] });
    assert_eq!(
        *alarm(&report)?,
        json!({ "user": "2", "attempt": 1, "certain": true, "count": 1, "rows": [row] })
    );
    ensure!(!found.out.contains("late"), "no value is told unless it is asked for: {}", found.out);

    let told = world.handover(&["audit", "pilot", "--values"]).await?.exited(3)?;
    ensure!(told.out.contains("body (legacy \"late\", new "), "{}", told.out);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_added_to_and_deleted_from_legacy_after_the_move_are_named() -> Result<()> {
    let world = moved(&["1"]).await?;
    let ids = reminders(&world, 1).await?;
    let late = format!(
        "DELETE FROM shop.reminder_recipient WHERE reminder_id = {};
         DELETE FROM shop.reminder_sent WHERE reminder_id = {};
         DELETE FROM shop.invoice_reminder WHERE id = {};
         INSERT INTO shop.invoice_reminder (id, invoice_id, kind, days_offset, zone, subject, body, created_at, modified_at)
            SELECT 777777, invoice_id, 1, 1, 'Europe/Berlin', 'late', 'late', '2020-01-01', '2020-01-02'
              FROM shop.invoice_reminder WHERE id = {}",
        ids[0], ids[0], ids[0], ids[1]
    );
    world.sql(Server::Legacy, &late).await?;
    let report = world.handover(&["audit", "pilot", "--json"]).await?.exited(3)?.json()?;
    let alarm = alarm(&report)?;
    assert_eq!(alarm["certain"], json!(true), "{report}");
    let rows = alarm["rows"].as_array().context("rows")?;
    let named = |what: &str, key: &str| {
        rows.iter().any(|row| row["entity"] == "reminder" && row["what"] == what && row["key"] == key)
    };
    ensure!(
        named("deleted", &format!("legacy_id={}", ids[0])) && named("added", "legacy_id=777777"),
        "{report}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_both_sides_changed_is_an_alarm_that_says_what_it_cannot_tell() -> Result<()> {
    let world = moved(&["1"]).await?;
    let id = reminders(&world, 1).await?[0];
    world
        .sql(Server::Legacy, &format!("UPDATE shop.invoice_reminder SET body = 'a' WHERE id = {id}"))
        .await?;
    world
        .sql(Server::Destination, &format!("UPDATE reminders.reminder SET body = 'b' WHERE legacy_id = {id}"))
        .await?;
    let report = world.handover(&["audit", "pilot", "--json"]).await?.exited(3)?.json()?;
    let alarm = alarm(&report)?;
    assert_eq!((&alarm["certain"], &alarm["count"]), (&json!(false), &json!(1)), "{report}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_is_audited_and_users_who_went_back_are_left_alone() -> Result<()> {
    let world = moved(&["1", "2", "3", "4"]).await?;
    let sampled = world.handover(&["audit", "pilot", "--sample", "3", "--json"]).await?.exited(0)?.json()?;
    assert_eq!(sampled["audited"], json!(3));
    world.handover(&["rollback", "pilot", "2", "--yes"]).await?.exited(0)?;
    world.drive(Kind::Rollback).await?;
    assert_eq!(world.state(MIGRATION, "2").await?, "rolled_back");
    let back = "UPDATE shop.invoice_reminder r SET body = 'back at work' FROM shop.invoice i
                 WHERE i.id = r.invoice_id AND i.owner_id = 2";
    world.sql(Server::Legacy, back).await?;
    let all = world.handover(&["audit", "pilot", "--json"]).await?.exited(0)?.json()?;
    assert_eq!(all, json!({ "cohort": "pilot", "audited": 3, "alarms": [] }));
    world.handover(&["audit", "nobody"]).await?.exited(4)?;
    Ok(())
}
