//! Reminders that fall due while their users are moved.

use anyhow::Result;
use handover_invoicing::{REMINDERS, Role};
use handover_sandbox::Server;
use serde_json::json;

use crate::support::{Town, number};

/// What the two sides have sent of the reminders of these tests.
async fn sent(town: &Town) -> Result<(i64, i64)> {
    let legacy = "SELECT count(*) FROM shop.reminder_sent";
    let new = "SELECT count(*) FROM reminders.sent";
    Ok((number(town, Server::Legacy, legacy).await?, number(town, Server::Destination, new).await?))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_due_reminder_is_sent_once_by_one_side_with_two_schedulers_and_a_move_in_between() -> Result<()>
{
    let town = Town::new().await?;
    let web = town.web().await?;
    let schedulers = [
        town.app(|config| config.role = Role::Scheduler).await?,
        town.app(|config| config.role = Role::All).await?,
    ];
    let users = ["3", "5", "6", "7"];
    let mut asked = 0;
    for nth in 0..40_i64 {
        // Spread over the time that the moves take, and past it.
        let reminder =
            json!({ "subject": format!("due {nth}"), "body": "", "due_in_ms": nth * 40 }).to_string();
        for user in users {
            town.api(&web, "POST", &format!("/api/users/{user}/reminders"), &reminder).await?.with(201);
            asked += 1;
        }
        if let Some(user) = users[1..].get(nth as usize / 10).filter(|_| nth % 10 == 5) {
            town.moved(REMINDERS, user).await?;
        }
    }
    handover_tests::until("all are sent", || async {
        let (legacy, new) = sent(&town).await?;
        Ok(legacy + new >= asked)
    })
    .await?;
    // Both look once more.
    for scheduler in schedulers {
        scheduler.stop().await?;
    }
    let (legacy, new) = sent(&town).await?;
    assert_eq!(legacy + new, asked);
    assert!(legacy > 0 && new > 0, "{legacy} by legacy, {new} by new");
    let twice =
        "SELECT count(*) FROM (SELECT FROM shop.reminder_sent GROUP BY reminder_id HAVING count(*) > 1) x";
    assert_eq!(number(&town, Server::Legacy, twice).await?, 0);
    let twice =
        "SELECT count(*) FROM (SELECT FROM reminders.sent GROUP BY reminder_legacy_id HAVING count(*) > 1) x";
    assert_eq!(number(&town, Server::Destination, twice).await?, 0);
    let both = town
        .world
        .client(Server::Legacy)
        .await?
        .query("SELECT reminder_id FROM shop.reminder_sent", &[])
        .await?;
    let ids: Vec<i64> = both.iter().map(|row| row.get(0)).collect();
    let on_both: i64 = town
        .world
        .client(Server::Destination)
        .await?
        .query_one("SELECT count(*) FROM reminders.sent WHERE reminder_legacy_id = ANY($1)", &[&ids])
        .await?
        .get(0);
    assert_eq!(on_both, 0, "no reminder was sent by both sides");
    Ok(web.stop().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_users_reminder_waits_and_an_old_one_is_not_sent_any_more() -> Result<()> {
    let town = Town::new().await?;
    let web = town.web().await?;
    let add = async |user: &str, due: i64| {
        let reminder = json!({ "subject": "s", "body": "", "due_in_ms": due }).to_string();
        town.api(&web, "POST", &format!("/api/users/{user}/reminders"), &reminder)
            .await
            .map(|answer| answer.with(201))
    };
    let day = 86_400_000;
    add("3", 0).await?;
    add("4", 0).await?;
    add("4", -2 * day).await?;
    add("4", day).await?;
    let jobs = town.pause(REMINDERS, "3").await?;
    let scheduler = town.app(|config| config.role = Role::Scheduler).await?;
    handover_tests::until("the other's is sent", || async { Ok(sent(&town).await? == (1, 0)) }).await?;
    town.finish(jobs).await?;
    handover_tests::until("the moved user's is sent", || async { Ok(sent(&town).await? == (1, 1)) }).await?;
    scheduler.stop().await?;
    assert_eq!(sent(&town).await?, (1, 1));
    // A scheduler serves no pages.
    let idle = town.app(|config| config.role = Role::Scheduler).await?;
    town.api(&idle, "GET", "/healthz", "").await?.with(200);
    town.api(&idle, "GET", "/api/users/3/reminders", "").await?.with(404);
    idle.stop().await?;
    Ok(web.stop().await?)
}
