//! The fence's own life: installed, looked at, raised and lifted by version, removed.

use std::time::Duration;

use handover_fence::{
    Error, Installed, Lift, MOVED, PAUSED, Raise, Role, Settle, State, carry, install, lift, raise, recall,
    remove, settle, status,
};

use crate::support::{PATIENCE, REMINDERS, SETTINGS, Stage, code, new_reminder, plan, users_of};

#[tokio::test]
async fn what_is_installed_is_seen_and_installing_again_does_nothing() {
    let stage = Stage::example().await;
    let (mut connection, plan) = (stage.connect().await, plan(REMINDERS));
    let before = status(&mut connection, &plan).await.unwrap();
    assert_eq!(before.installed, Installed::No);
    let touched = install(&mut connection, &plan).await.unwrap();
    let names: Vec<String> = touched.iter().map(handover_postgres::QualifiedName::plain).collect();
    assert_eq!(names, ["shop.invoice", "shop.invoice_reminder", "shop.reminder_recipient"]);
    let after = status(&mut connection, &plan).await.unwrap();
    assert_eq!(after.installed, Installed::Yes, "{after:?}");
    let roles: Vec<Role> = after.tables.iter().map(|table| table.role).collect();
    assert_eq!(roles, [Role::Path, Role::Moves, Role::Moves]);
    assert!(install(&mut connection, &plan).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_trigger_that_is_gone_or_disabled_is_reported_and_mended() {
    let stage = Stage::fenced().await;
    let (mut connection, plan) = (stage.connect().await, plan(REMINDERS));
    let sql = "SELECT tgname::text FROM pg_trigger
                WHERE tgrelid = 'shop.invoice_reminder'::regclass AND tgname LIKE 'handover%' ORDER BY 1";
    let names: Vec<String> = connection.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    for sql in [
        format!("ALTER TABLE shop.invoice_reminder DISABLE TRIGGER {}", names[0]),
        format!("ALTER TABLE shop.invoice_reminder ENABLE TRIGGER {}", names[0]),
        format!("DROP TRIGGER {} ON shop.invoice_reminder", names[1]),
        "DELETE FROM handover_fence.guarded WHERE table_name = 'invoice_reminder'".to_owned(),
    ] {
        connection.batch_execute(&sql).await.unwrap();
        let broken = status(&mut connection, &plan).await.unwrap();
        assert_eq!(broken.installed, Installed::Partly, "{sql}");
        install(&mut connection, &plan).await.unwrap();
        assert_eq!(status(&mut connection, &plan).await.unwrap().installed, Installed::Yes, "{sql}");
    }
}

#[tokio::test]
async fn installing_waits_for_writers_that_hold_no_lock_of_the_fence_yet() {
    let stage = Stage::example().await;
    let writer = stage.connect().await;
    writer.batch_execute(&format!("BEGIN; {}", new_reminder(2))).await.unwrap();
    let mut connection = stage.connect().await;
    let mut installing =
        tokio::spawn(async move { install(&mut connection, &plan(REMINDERS)).await.map(|_| ()) });
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut installing).await.is_err());
    writer.batch_execute("COMMIT").await.unwrap();
    installing.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_fence_is_lifted_by_its_own_version_alone() {
    let stage = Stage::fenced().await;
    let (mut fence, writer) = (stage.connect().await, stage.connect().await);
    let at = |version| users_of(&[("2", version)]);
    assert_eq!(raise(&mut fence, REMINDERS, &at(3), PATIENCE).await.unwrap(), [Raise::Raised]);
    assert_eq!(raise(&mut fence, REMINDERS, &at(3), PATIENCE).await.unwrap(), [Raise::Raised]);
    assert_eq!(raise(&mut fence, REMINDERS, &at(5), PATIENCE).await.unwrap(), [Raise::Raised]);
    let late = raise(&mut fence, REMINDERS, &at(3), PATIENCE).await.unwrap();
    assert_eq!(late, [Raise::Superseded { version: 5 }]);
    assert_eq!(lift(&mut fence, REMINDERS, &at(3)).await.unwrap(), [Lift::NotOurs]);
    assert_eq!(code(&writer, &new_reminder(2)).await, PAUSED);
    assert_eq!(lift(&mut fence, SETTINGS, &at(5)).await.unwrap(), [Lift::Absent]);
    assert_eq!(lift(&mut fence, REMINDERS, &at(5)).await.unwrap(), [Lift::Lifted]);
    assert_eq!(lift(&mut fence, REMINDERS, &at(5)).await.unwrap(), [Lift::Absent]);
    assert_eq!(code(&writer, &new_reminder(2)).await, "ok");
}

#[tokio::test]
async fn a_settled_fence_stays_until_a_rollback_raises_it_anew() {
    let stage = Stage::fenced().await;
    let (mut fence, writer) = (stage.connect().await, stage.connect().await);
    let at = |version| users_of(&[("2", version)]);
    assert_eq!(settle(&mut fence, REMINDERS, &at(1)).await.unwrap(), [Settle::NotRaised]);
    raise(&mut fence, REMINDERS, &at(1), PATIENCE).await.unwrap();
    assert_eq!(settle(&mut fence, REMINDERS, &at(2)).await.unwrap(), [Settle::NotOurs]);
    assert_eq!(settle(&mut fence, REMINDERS, &at(1)).await.unwrap(), [Settle::Settled]);
    assert_eq!(settle(&mut fence, REMINDERS, &at(1)).await.unwrap(), [Settle::Settled]);
    assert_eq!(raise(&mut fence, REMINDERS, &at(1), PATIENCE).await.unwrap(), [Raise::Moved]);
    assert_eq!(lift(&mut fence, REMINDERS, &at(1)).await.unwrap(), [Lift::NotOurs]);
    assert_eq!(code(&writer, &new_reminder(2)).await, MOVED);
    // The rollback: paused, the home still new; taken back once, then done.
    for restored in [true, false] {
        let version = if restored { 2 } else { 3 };
        assert_eq!(recall(&mut fence, REMINDERS, &at(version), PATIENCE).await.unwrap(), [Raise::Raised]);
        assert_eq!(code(&writer, &new_reminder(2)).await, PAUSED);
        let seen = status(&mut fence, &plan(REMINDERS)).await.unwrap();
        assert_eq!(seen.fenced[0].state, State::Returning);
        if restored {
            assert_eq!(settle(&mut fence, REMINDERS, &at(version)).await.unwrap(), [Settle::Settled]);
        }
    }
    assert_eq!(lift(&mut fence, REMINDERS, &at(3)).await.unwrap(), [Lift::Lifted]);
    assert_eq!(code(&writer, &new_reminder(2)).await, "ok");
}

#[tokio::test]
async fn the_reverse_load_alone_may_write_for_a_user_on_the_way_back() {
    let stage = Stage::fenced().await;
    stage.moved(REMINDERS, &[("2", 1), ("3", 1)]).await;
    let mut loader = stage.connect().await;
    recall(&mut loader, REMINDERS, &users_of(&[("2", 2)]), PATIENCE).await.unwrap();
    for (invoice, expected) in [(2, None), (3, Some(MOVED))] {
        let transaction = loader.transaction().await.unwrap();
        carry(&transaction, REMINDERS).await.unwrap();
        let written = transaction.batch_execute(&new_reminder(invoice)).await;
        assert_eq!(written.err().and_then(|e| e.code().map(|c| c.code().to_owned())).as_deref(), expected);
        transaction.rollback().await.unwrap();
    }
    assert_eq!(code(&loader, &new_reminder(2)).await, PAUSED);
}

#[tokio::test]
async fn removal_is_refused_while_users_are_paused_and_then_leaves_nothing() {
    let stage = Stage::fenced().await;
    let mut fence = stage.connect().await;
    install(&mut fence, &plan(SETTINGS)).await.unwrap();
    stage.pause(REMINDERS, &[("2", 1)]).await;
    let refused = remove(&mut fence, &plan(REMINDERS)).await.unwrap_err();
    assert!(matches!(refused, Error::InUse { paused: 1, .. }), "{refused}");
    stage.moved(REMINDERS, &[("2", 1)]).await;
    assert_eq!(remove(&mut fence, &plan(REMINDERS)).await.unwrap().len(), 3);
    assert_eq!(code(&stage.connect().await, &new_reminder(2)).await, "ok");
    assert_eq!(status(&mut fence, &plan(SETTINGS)).await.unwrap().installed, Installed::Yes);
    assert_eq!(remove(&mut fence, &plan(SETTINGS)).await.unwrap().len(), 1);
    let left = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'handover%'";
    assert_eq!(fence.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0);
    let left = "SELECT count(*) FROM pg_namespace WHERE nspname = 'handover_fence'";
    assert_eq!(fence.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0);
    assert!(remove(&mut fence, &plan(REMINDERS)).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_plan_that_no_longer_names_a_table_takes_its_triggers_away() {
    let stage = Stage::fenced().await;
    let mut fence = stage.connect().await;
    let mut files = plan(REMINDERS).files().clone();
    let text = files.get_mut("plan.toml").unwrap();
    let (from, to) = (
        "via    = { reminder_id = \"shop.invoice_reminder.id\" }\nignore = { bounced_at = \"the new system learns \
         of bounces from its mail provider\" }",
        "ignore_table = \"gone\"",
    );
    assert!(text.contains(from));
    *text = text.replace(from, to);
    let smaller = handover_plan::Plan::from_files(files).unwrap();
    let seen = status(&mut fence, &smaller).await.unwrap();
    assert_eq!(seen.superfluous.len(), 1);
    install(&mut fence, &smaller).await.unwrap();
    let seen = status(&mut fence, &smaller).await.unwrap();
    assert!(seen.superfluous.is_empty() && seen.installed == Installed::Yes, "{seen:?}");
    let sql = "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'shop.reminder_recipient'::regclass
                  AND tgname LIKE 'handover%'";
    assert_eq!(fence.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test]
async fn a_call_that_contradicts_itself_is_refused() {
    let stage = Stage::fenced().await;
    let mut fence = stage.connect().await;
    for users in [vec![("2", 1), ("2", 2)], vec![("2", 0)], vec![("", 1)], vec![("!", 1)]] {
        let refused = raise(&mut fence, REMINDERS, &users_of(&users), PATIENCE).await;
        assert!(matches!(refused, Err(Error::Request(_))), "{users:?}");
    }
    assert_eq!(raise(&mut fence, REMINDERS, &[], PATIENCE).await.unwrap(), []);
}

#[tokio::test]
async fn what_could_not_be_guarded_is_an_error_of_installation_that_names_the_table() {
    for (change, table) in [
        (
            "ALTER TABLE shop.invoice_reminder DROP CONSTRAINT invoice_reminder_pkey CASCADE",
            "shop.invoice_reminder",
        ),
        ("DROP TABLE shop.reminder_recipient", "shop.reminder_recipient"),
        (
            "ALTER TABLE shop.reminder_recipient RENAME TO r;
             CREATE VIEW shop.reminder_recipient AS SELECT * FROM shop.r",
            "shop.reminder_recipient",
        ),
    ] {
        let stage = Stage::example().await;
        let mut connection = stage.connect().await;
        connection.batch_execute(change).await.unwrap();
        let refused = install(&mut connection, &plan(REMINDERS)).await.unwrap_err();
        assert!(matches!(&refused, Error::Table { table: named, .. } if named == table), "{refused}");
    }
}
