//! One user's trouble: what goes wrong with a user's data, and that it stays that user's.

use anyhow::Result;
use handover_engine::Outcome;
use handover_identity::State;
use handover_sandbox::Server;
use handover_tests::{Setup, World};
use handover_tracking::Kind;

const REMINDERS: &str = "invoice-reminders";

/// Users 1 to 5, with three reminders each.
async fn five() -> Result<World> {
    World::new(Setup { rows_per_user: Some(3), ..Setup::default() }).await
}

/// Moves users 1 to 5, of whom one is to fail, and returns that one's reason.
async fn only_one_fails(world: &World, guilty: &str) -> Result<serde_json::Value> {
    world.launched(REMINDERS, "c", &["1", "2", "3", "4", "5"]).await?;
    for (job, outcome) in world.drive(Kind::Move).await? {
        if job.user == guilty {
            assert!(matches!(outcome, Outcome::Park { .. }), "{outcome:?}");
            assert_eq!(world.state(REMINDERS, guilty).await?, "failed");
            assert_eq!(world.home(REMINDERS, guilty).await?, State::Legacy);
            assert_eq!(world.moved_reminders(guilty).await?, 0, "nothing of it stays");
        } else {
            assert_eq!(outcome, Outcome::Finished, "user {}", job.user);
            assert_eq!(world.home(REMINDERS, &job.user).await?, State::Migrated);
            assert_eq!(world.moved_reminders(&job.user).await?, 3);
        }
    }
    assert_eq!(world.number(Server::Destination, "SELECT paused::int8 FROM handover.admission").await?, 0);
    world.reason(REMINDERS, guilty).await
}

/// A trigger at the destination that changes rows of one user as they are loaded.
async fn tamper(world: &World, when: &str, then: &str) -> Result<()> {
    let sql = format!(
        "CREATE FUNCTION reminders.tamper() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN IF {when} THEN {then} END IF; RETURN NEW; END $$;
         CREATE TRIGGER tamper BEFORE INSERT ON reminders.reminder FOR EACH ROW EXECUTE FUNCTION reminders.tamper()"
    );
    world.sql(Server::Destination, &sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_violates_a_constraint_fails_alone_with_table_constraint_and_key_named() -> Result<()> {
    let world = five().await?;
    let last = "SELECT max(r.id) FROM shop.invoice_reminder r JOIN shop.invoice i ON i.id = r.invoice_id
                 WHERE i.owner_id = 3";
    let last = world.number(Server::Legacy, last).await?;
    let constraint =
        format!("ALTER TABLE reminders.reminder ADD CONSTRAINT not_that_one CHECK (legacy_id <> {last})");
    world.sql(Server::Destination, &constraint).await?;
    let reason = only_one_fails(&world, "3").await?;
    assert_eq!(reason["kind"], "constraint");
    let message = reason["message"].as_str().unwrap_or_default();
    let row = format!("entity reminder, row legacy_id={last}");
    for named in ["destination: ", "23514", "table reminder", "constraint not_that_one", &row] {
        assert!(message.contains(named), "{message}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_cannot_be_mapped_fails_its_user_alone_and_is_not_told() -> Result<()> {
    let world = five().await?;
    let sql =
        "UPDATE shop.invoice_reminder SET kind = 77 WHERE id = (SELECT min(r.id) FROM shop.invoice_reminder r
                 JOIN shop.invoice i ON i.id = r.invoice_id WHERE i.owner_id = 2)";
    world.sql(Server::Legacy, sql).await?;
    let reason = only_one_fails(&world, "2").await?;
    let text = reason.to_string();
    assert!(text.contains("kind") && !text.contains("77"), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_differs_by_one_value_is_caught_reported_to_the_column_and_undone() -> Result<()> {
    let world = five().await?;
    let once = "NEW.owner_id = 4 AND NOT EXISTS (SELECT FROM reminders.reminder WHERE owner_id = 4)";
    tamper(&world, once, "NEW.subject := NEW.subject || '!';").await?;
    let reason = only_one_fails(&world, "4").await?;
    assert_eq!(reason["kind"], "mismatch");
    let rows = &reason["differences"];
    assert_eq!(rows["count"], 1, "{rows}");
    assert_eq!(
        (&rows["rows"][0]["entity"], &rows["rows"][0]["fields"][0]),
        (&"reminder".into(), &"subject".into())
    );
    assert!(rows["rows"][0]["key"].as_str().unwrap_or_default().starts_with("legacy_id="), "{rows}");
    Ok(())
}

/// Swallows a row, or adds one, of user 5.
const MEDDLERS: [(&str, &[&str]); 2] = [
    ("IF NEW.owner_id = 5 THEN RETURN NULL; END IF;", &["swallowed", "mismatch"]),
    (
        "IF NEW.owner_id = 5 AND pg_trigger_depth() = 1 THEN
            INSERT INTO reminders.reminder (owner_id, invoice_id, kind, channel, schedule, subject, body)
            VALUES (5, NEW.invoice_id, NEW.kind, NEW.channel, NEW.schedule, NEW.subject, NEW.body); END IF;",
        &["mismatch", "derived"],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_destination_swallows_or_adds_are_caught() -> Result<()> {
    for (body, kinds) in MEDDLERS {
        let world = five().await?;
        world.sql(Server::Legacy, "DELETE FROM shop.reminder_recipient").await?;
        tamper(&world, "false", &format!("END IF; {body} IF false THEN")).await?;
        let reason = only_one_fails(&world, "5").await?;
        assert!(kinds.contains(&reason["kind"].as_str().unwrap_or_default()), "{reason}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_whose_rows_are_at_the_destination_already_is_not_loaded_twice() -> Result<()> {
    let world = five().await?;
    let sql = "INSERT INTO reminders.reminder (owner_id, invoice_id, kind, channel, schedule, subject, body)
               VALUES (1, 1, 'on_due', 'email', '{\"days\": 1, \"at\": null, \"zone\": \"UTC\"}', 's', 'b')";
    world.sql(Server::Destination, sql).await?;
    world.launched(REMINDERS, "c", &["1", "2"]).await?;
    world.drive(Kind::Move).await?;
    assert_eq!(world.state(REMINDERS, "1").await?, "failed");
    assert_eq!(world.state(REMINDERS, "2").await?, "completed");
    assert_eq!(world.moved_reminders("1").await?, 1, "what was there before stays");
    assert_eq!(world.reason(REMINDERS, "1").await?["kind"], "occupied");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn users_with_no_row_with_one_and_with_fifty_thousand_move_and_go_back() -> Result<()> {
    let world = five().await?;
    for (user, reminders) in [(901, 0), (902, 1), (903, 50_000)] {
        world.add_legacy_user(user, reminders).await?;
    }
    let cohort = world.launched(REMINDERS, "c", &["901", "902", "903"]).await?;
    let moved = world.drive(Kind::Move).await?;
    assert!(moved.iter().all(|(_, outcome)| *outcome == Outcome::Finished), "{moved:?}");
    for (user, reminders) in [("901", 0), ("902", 1), ("903", 50_000)] {
        assert_eq!(world.moved_reminders(user).await?, reminders);
        assert_eq!(world.home(REMINDERS, user).await?, State::Migrated);
    }
    assert_eq!(world.engine.tracking.request_rollback(&cohort, None).await?, 3);
    let back = world.drive(Kind::Rollback).await?;
    assert!(back.iter().all(|(_, outcome)| *outcome == Outcome::Finished), "{back:?}");
    assert_eq!(world.moved_reminders("903").await?, 0);
    Ok(())
}
