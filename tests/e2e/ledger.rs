//! The ledger in its quick form: the real programs, some tens of users, half a minute of traffic for each fence.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result};
use handover_ledger::rows::{self, Reminder, Rows};
use handover_sandbox::Server;
use handover_tests::{Setup, World};
use handover_tracking::Kind;
use serde_json::Value;
use tokio::process::Command;

/// What the program prints as JSON, line by line, and how it ended.
async fn ledger(fence: &str, seed: u64, kept: &Path) -> Result<(Vec<Value>, Option<i32>, String)> {
    let mut command = Command::new(handover_tests::program("handover-ledger")?);
    let seed = seed.to_string();
    command.args(["--seed", &seed, "--users", "60", "--minutes", "0.5", "--rate", "60"]);
    command
        .args(["--fence", fence, "--json", "--keep-history"])
        .arg(kept)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = command.output().await.context("the ledger did not start")?;
    let (out, said) =
        (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr).into_owned());
    let lines = out.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    Ok((lines, output.status.code(), said))
}

/// One fence's line, which must balance, with everybody moved and enough having happened.
fn balances(fence: &str, line: &Value, said: &str) {
    let number = |name: &str| line[name].as_f64().unwrap_or_else(|| panic!("no {name}: {line}"));
    assert_eq!(line["fence"], fence, "{line}");
    for nothing in
        ["lost", "doubled", "misrouted", "sent_twice", "unsent", "phantom", "stale", "altered", "unmoved"]
    {
        assert!(number(nothing) == 0.0, "{nothing}: {line}\n{said}");
    }
    assert!(number("digest_mismatches") == 0.0 && number("digests_compared") >= 60.0, "{line}");
    // Each of 60 users is moved in both migrations.
    assert!(number("handovers") >= 120.0 && number("rollbacks") > 0.0, "{line}");
    assert!(number("carried_back") > 0.0, "{line}");
    assert!(number("acknowledged") > 200.0 && number("requests_during_pause") > 0.0, "{line}");
    assert!(number("sent") > 10.0 && number("killed") > 0.0 && number("joined_or_left") > 0.0, "{line}");
}

async fn balance_with(fence: &str, seed: u64) -> Result<()> {
    let kept = tempfile::tempdir()?;
    let (lines, code, said) = Box::pin(ledger(fence, seed, kept.path())).await?;
    assert_eq!(code, Some(0), "{said}\n{lines:?}");
    let [line, sum] = lines.as_slice() else { panic!("one fence and the sum: {lines:?}") };
    balances(fence, line, &said);
    assert_eq!((&sum["fence"], &sum["handovers"]), (&Value::from("sum"), &line["handovers"]));
    let folder = kept.path().join(fence);
    let (code, again) = judged(&folder).await?;
    assert_eq!((code, &again["acknowledged"]), (Some(0), &line["acknowledged"]));
    without_one_reminder(&folder)?;
    let (code, found) = judged(&folder).await?;
    assert!(code == Some(1) && found["lost"].as_u64() > Some(0), "{found}");
    Ok(())
}

/// The verdict on kept evidence, and the exit code.
async fn judged(folder: &Path) -> Result<(Option<i32>, Value)> {
    let mut command = Command::new(handover_tests::program("handover-ledger")?);
    let output = command.arg("judge").arg(folder).stdin(Stdio::null()).output().await?;
    Ok((output.status.code(), serde_json::from_slice(&output.stdout)?))
}

/// Takes a reminder that was there before the run, and that nobody may have removed, out of the kept rows.
fn without_one_reminder(folder: &Path) -> Result<()> {
    let history = std::fs::read_to_string(folder.join("history.jsonl"))?;
    let rows = folder.join("after.json");
    let mut after: Rows = serde_json::from_slice(&std::fs::read(&rows)?)?;
    let before: Rows = serde_json::from_slice(&std::fs::read(folder.join("before.json"))?)?;
    let untouched = |row: &&Reminder| !row.deleted && !history.contains(&format!("\"reminder\":{},", row.id));
    let chosen = before.legacy.reminders.iter().find(untouched).context("all reminders were touched")?.id;
    after.legacy.reminders.retain(|row| row.id != chosen);
    after.new.reminders.retain(|row| row.id != chosen);
    Ok(std::fs::write(&rows, serde_json::to_vec(&after)?)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_cooperative_fence_every_acknowledged_write_is_with_its_owner_once() -> Result<()> {
    balance_with("cooperative", 11).await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_database_fence_every_acknowledged_write_is_with_its_owner_once() -> Result<()> {
    balance_with("database", 12).await
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_rows_are_told_in_one_spelling_and_any_other_value_in_another() -> Result<()> {
    let world = World::new(Setup { users: 12, ..Setup::default() }).await?;
    let users: Vec<String> = (1..=12).map(|user| user.to_string()).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    for migration in ["invoice-reminders", "invoice-settings"] {
        world.launched(migration, migration, &users).await?;
        world.drive(Kind::Move).await?;
    }
    let rows = told(&world).await?;
    assert!(
        rows.new.reminders.len() > 30 && rows.new.settings.len() > 5,
        "{} reminders",
        rows.new.reminders.len()
    );
    let living = rows.legacy.reminders.iter().filter(|row| !row.deleted).cloned();
    assert_eq!(sorted(living.collect()), sorted(rows.new.reminders.clone()));
    assert_eq!(rows.legacy.settings, rows.new.settings);
    for change in [
        "UPDATE reminders.reminder SET amount_cap = 0.010",
        "UPDATE reminders.reminder SET kind = CASE kind WHEN 'on_due' THEN 'after_due' ELSE 'on_due' END::reminders.reminder_kind",
        "UPDATE reminders.reminder SET schedule = schedule || '{\"days\": 99}'",
        "UPDATE reminders.reminder SET created_at = created_at + interval '1 microsecond'",
        "UPDATE reminders.recipient SET tags = tags || 'more'::text",
        "DELETE FROM reminders.recipient",
        "UPDATE settings.invoice_settings SET late_fee = coalesce(late_fee, 0) + 1",
        "UPDATE settings.invoice_settings SET preferences = '{\"other\": true}'",
    ] {
        let before = told(&world).await?.new;
        world.sql(Server::Destination, change).await?;
        let after = told(&world).await?.new;
        assert!(before.reminders != after.reminders || before.settings != after.settings, "{change}");
    }
    Ok(())
}

async fn told(world: &World) -> Result<Rows> {
    let mut legacy = rows::connect(&world.url(Server::Legacy)?).await?;
    let mut new = rows::connect(&world.url(Server::Destination)?).await?;
    Ok(rows::read(&mut legacy, &mut new).await?)
}

fn sorted(mut rows: Vec<Reminder>) -> Vec<Reminder> {
    rows.sort_by_key(|row| row.id);
    rows
}
