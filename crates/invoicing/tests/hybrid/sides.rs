//! Which side serves a user, and that both do the same.

use anyhow::Result;
use handover_invoicing::{REMINDERS, Running, SETTINGS};
use handover_sandbox::Server;
use serde_json::{Value, json};

use crate::support::{Town, number};

/// Everything that the API does with reminders, on whichever side; returns the one that was added.
async fn use_reminders(town: &Town, app: &Running, user: &str, side: &str) -> Result<i64> {
    let path = format!("/api/users/{user}/reminders");
    let asked =
        json!({ "subject": "Ünpaid", "body": "first", "due_in_ms": 90_000, "recipients": ["a@example.org"] });
    let added = town.api(app, "POST", &path, &asked.to_string()).await?.with(201);
    assert_eq!(added.json()["served_by"], side);
    assert_eq!(added.header("served-by"), format!("reminders={side}"));
    let id = added.json()["id"].as_i64().expect("an id");
    let note = json!({ "note": "second" }).to_string();
    town.api(app, "POST", &format!("{path}/{id}/notes"), &note).await?.with(200);
    let all = town.reminders(app, user).await?;
    let found = all["reminders"].as_array().expect("a list").iter().find(|reminder| reminder["id"] == id);
    let found = found.expect("it was added");
    assert_eq!(found["body"], "first\nsecond");
    assert_eq!((&found["subject"], &found["enabled"]), (&json!("Ünpaid"), &json!(true)));
    assert!(found["due_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{found}");
    let gone = town.api(app, "POST", &path, &json!({ "subject": "x", "body": "" }).to_string()).await?.json()
        ["id"]
        .clone();
    town.api(app, "DELETE", &format!("{path}/{gone}"), "").await?.with(200);
    town.api(app, "DELETE", &format!("{path}/{gone}"), "").await?.with(404);
    assert!(!town.reminders(app, user).await?.to_string().contains(&format!("\"id\":{gone},")));
    Ok(id)
}

async fn use_settings(town: &Town, app: &Running, user: &str, side: &str) -> Result<()> {
    let path = format!("/api/users/{user}/settings");
    let footer = format!("Grüße von {side}");
    let changed = town.api(app, "PUT", &path, &json!({ "footer": footer }).to_string()).await?.with(200);
    assert_eq!(changed.header("served-by"), format!("settings={side}"));
    let found = town.api(app, "GET", &path, "").await?.with(200).json();
    assert_eq!((&found["footer"], &found["served_by"]), (&json!(footer), &json!(side)));
    town.api(app, "PUT", &path, &json!({ "due_days": 21 }).to_string()).await?.with(200);
    let found = town.api(app, "GET", &path, "").await?.with(200).json();
    assert_eq!((&found["footer"], &found["due_days"]), (&json!(footer), &json!(21)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_served_by_legacy_before_the_move_and_by_new_with_the_same_ids_after_it() -> Result<()> {
    let town = Town::new().await?;
    let app = town.web().await?;
    let kept = use_reminders(&town, &app, "3", "legacy").await?;
    use_settings(&town, &app, "3", "legacy").await?;
    let before = town.reminders(&app, "3").await?;
    town.moved(REMINDERS, "3").await?;
    let after = town.reminders(&app, "3").await?;
    assert_eq!((&before["served_by"], &after["served_by"]), (&json!("legacy"), &json!("new")));
    assert_eq!(before["reminders"], after["reminders"], "what the caller sees has not changed");
    assert!(after["reminders"].as_array().expect("a list").iter().any(|reminder| reminder["id"] == kept));

    let legacy = "SELECT count(*) FROM shop.invoice_reminder r JOIN shop.invoice i ON i.id = r.invoice_id WHERE i.owner_id = 3";
    let left = number(&town, Server::Legacy, legacy).await?;
    let born = use_reminders(&town, &app, "3", "new").await?;
    assert!(born >= 1_000_000_000_000, "born on the new system: {born}");
    assert_eq!(number(&town, Server::Legacy, legacy).await?, left, "legacy is not written any more");
    // The other feature has not moved: the user is a hybrid.
    use_settings(&town, &app, "3", "legacy").await?;
    let page = town.page(&app, "/users/3").await?.with(200);
    assert_eq!(page.header("served-by"), "reminders=new, settings=legacy");
    assert!(page.text.contains("id=\"reminders\" data-home=\"new\""));
    assert!(page.text.contains("id=\"settings\" data-home=\"legacy\""));
    town.moved(SETTINGS, "3").await?;
    use_settings(&town, &app, "3", "new").await?;
    Ok(app.stop().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_write_where_the_user_lives() -> Result<()> {
    let town = Town::new().await?;
    let app = town.web().await?;
    town.moved(REMINDERS, "2").await?;
    let form = "subject=Hello+%26+bye&body=text&due_in_seconds=3600";
    let sent =
        town.send(&app, "POST", "/users/2/reminders", &[("accept", "text/html")], form).await?.with(303);
    assert_eq!((sent.header("location"), sent.header("served-by")), ("/users/2", "reminders=new"));
    let sent = town.send(&app, "POST", "/users/2/settings", &[], "footer=by+form").await?.with(303);
    assert_eq!(sent.header("served-by"), "settings=legacy");
    let page = town.page(&app, "/users/2").await?.with(200);
    assert!(page.text.contains("Hello &amp; bye") && page.text.contains("by form"), "{}", page.text);
    assert!(page.header("set-cookie").starts_with("invoicing-user=2;"));
    let index = town.page(&app, "/").await?.with(200);
    assert!(index.text.contains("<a href=\"/users/2\">2</a>"), "{}", index.text);
    assert!(index.text.contains("new system") && index.text.contains("legacy system"));
    Ok(app.stop().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_up_is_born_on_the_new_system() -> Result<()> {
    let town = Town::new().await?;
    let app = town.web().await?;
    let user = town
        .api(&app, "POST", "/api/users", &json!({ "name": "Zoë" }).to_string())
        .await?
        .with(201)
        .json()["user"]
        .as_i64()
        .expect("a number");
    let name = user.to_string();
    for migration in [REMINDERS, SETTINGS] {
        let state = town.world.home(migration, &name).await?;
        assert_eq!(state, handover_identity::State::Migrated, "{migration}");
    }
    use_reminders(&town, &app, &name, "new").await?;
    use_settings(&town, &app, &name, "new").await?;
    let legacy = format!(
        "SELECT (SELECT count(*) FROM shop.invoice_reminder r JOIN shop.invoice i ON i.id = r.invoice_id
                  WHERE i.owner_id = {user}) + (SELECT count(*) FROM shop.invoice_settings WHERE user_id = {user})"
    );
    assert_eq!(number(&town, Server::Legacy, &legacy).await?, 0, "nothing of theirs is in legacy");
    // The form does the same.
    let sent = town.send(&app, "POST", "/users", &[], "name=Ada").await?.with(303);
    let page = town.page(&app, sent.header("location")).await?.with(200);
    assert_eq!(page.header("served-by"), "reminders=new, settings=new");
    Ok(app.stop().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_served_without_a_decision_of_the_gate() -> Result<()> {
    let town = Town::new().await?;
    let app = town.web().await?;
    // Spellings that the gate is not asked about reach no handler.
    for path in ["/api/users/%33/reminders", "/api/users/x/reminders", "/api/users/-3/settings"] {
        town.api(&app, "GET", path, "").await?.with(404);
    }
    let spelt = town.api(&app, "GET", "/api/users/003/reminders", "").await?.with(200).json();
    assert_eq!(spelt, town.reminders(&app, "3").await?);
    let other = [("authorization", "Bearer demo-4")];
    town.send(&app, "GET", "/api/users/3/reminders", &other, "").await?.with(403);
    // Another user's reminder is nobody's.
    let first = town.reminders(&app, "3").await?["reminders"][0]["id"].clone();
    let note = json!({ "note": "mine" }).to_string();
    town.api(&app, "POST", &format!("/api/users/4/reminders/{first}/notes"), &note).await?.with(404);
    for wrong in ["{\"subject\":1}", "{", "{\"subject\":\"s\",\"body\":\"b\",\"invoice_id\":999999}"] {
        let answer = town.api(&app, "POST", "/api/users/3/reminders", wrong).await?;
        assert!((400..500).contains(&answer.status), "{answer:?}");
    }
    let health = town.api(&app, "GET", "/readyz", "").await?.with(200).json();
    assert_eq!(health, json!({ "ready": true, "legacy": Value::Null, "new": Value::Null }));
    Ok(app.stop().await?)
}
