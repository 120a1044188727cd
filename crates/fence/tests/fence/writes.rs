//! Which writes are refused, and which are not.

use std::fmt::Write as _;

use bytes::Bytes;
use futures_util::SinkExt;
use handover_fence::{MOVED, PAUSED, TRUNCATE, install, status};

use crate::support::{REMINDERS, SETTINGS, Stage, code, connect, new_invoice, new_reminder, plan, refusal};

#[tokio::test]
async fn every_kind_of_write_for_a_paused_user_is_refused_and_names_the_user_and_the_way() {
    let stage = Stage::fenced().await;
    stage.pause(REMINDERS, &[("2", 1)]).await;
    let writer = stage.connect().await;
    for sql in [
        new_reminder(2).as_str(),
        "UPDATE shop.invoice_reminder SET subject = 'x' WHERE invoice_id = 2",
        "UPDATE shop.invoice_reminder SET subject = 'x'",
        "DELETE FROM shop.reminder_recipient WHERE reminder_id = 2",
        "INSERT INTO shop.reminder_recipient (reminder_id, email) VALUES (1, ''), (2, ''), (3, '')",
        "UPDATE shop.reminder_recipient SET email = 'x' WHERE reminder_id = 2",
        "INSERT INTO shop.reminder_recipient (id, reminder_id, email) VALUES (2, 1, 'x')
             ON CONFLICT (id) DO UPDATE SET email = excluded.email",
        "MERGE INTO shop.reminder_recipient r USING (VALUES (2)) v (id) ON r.id = v.id
             WHEN MATCHED THEN UPDATE SET email = 'x'",
        "WITH gone AS (DELETE FROM shop.reminder_recipient WHERE id = 2 RETURNING 1) SELECT * FROM gone",
        "DELETE FROM shop.reminder_recipient WHERE reminder_id = 2; DELETE FROM shop.invoice_reminder",
        new_invoice("77", 2).as_str(),
        "UPDATE shop.invoice SET id = 99 WHERE id = 2",
    ] {
        let (code, text) = refusal(&writer, sql).await;
        assert_eq!(code, PAUSED, "{sql}: {text}");
        assert_eq!(text, "user 2 is paused: invoice-reminders is on its way to the new system", "{sql}");
    }
}

#[tokio::test]
async fn copy_is_refused_for_a_paused_user_and_leaves_nothing() {
    let stage = Stage::fenced().await;
    stage.pause(REMINDERS, &[("2", 1)]).await;
    let writer = stage.connect().await;
    let copy = async |lines: &'static str| {
        let sink =
            writer.copy_in("COPY shop.reminder_recipient (reminder_id, email) FROM STDIN").await.unwrap();
        let mut sink = std::pin::pin!(sink);
        sink.send(Bytes::from_static(lines.as_bytes())).await.unwrap();
        sink.finish().await
    };
    assert_eq!(copy("1\ta\n3\tb\n").await.unwrap(), 2);
    let error = copy("1\ta\n2\tb\n").await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), PAUSED);
    let rows: i64 =
        writer.query_one("SELECT count(*) FROM shop.reminder_recipient", &[]).await.unwrap().get(0);
    assert_eq!(rows, 8);
}

#[tokio::test]
async fn other_users_and_other_migrations_write_on() {
    let stage = Stage::fenced().await;
    install(&mut stage.connect().await, &plan(SETTINGS)).await.unwrap();
    stage.pause(REMINDERS, &[("2", 1)]).await;
    stage.moved(SETTINGS, &[("3", 1)]).await;
    let writer = stage.connect().await;
    for sql in [
        new_reminder(1).as_str(),
        new_reminder(3).as_str(),
        "UPDATE shop.invoice_reminder SET subject = 'x' WHERE id <> 2",
        "UPDATE shop.invoice_settings SET footer = 'x' WHERE user_id = 2",
        // Says nothing of whose rows there are.
        "UPDATE shop.invoice SET status = 2",
        "UPDATE shop.auth_user SET is_active = false",
        "INSERT INTO shop.reminder_sent (reminder_id, sent_at) VALUES (2, now())",
    ] {
        assert_eq!(code(&writer, sql).await, "ok", "{sql}");
    }
    let (code, text) = refusal(&writer, "UPDATE shop.invoice_settings SET footer = 'y'").await;
    assert_eq!(code, MOVED);
    assert_eq!(text, "user 3 lives on the new system: invoice-settings has moved there");
}

#[tokio::test]
async fn a_row_cannot_move_to_or_from_a_fenced_user() {
    let stage = Stage::fenced().await;
    install(&mut stage.connect().await, &plan(SETTINGS)).await.unwrap();
    let writer = stage.connect().await;
    writer.batch_execute("DELETE FROM shop.invoice_settings WHERE user_id IN (5, 6)").await.unwrap();
    for (number, users) in [(1, [("2", 1), ("5", 1)]), (2, [("2", 2), ("5", 2)])] {
        let expected = if number == 1 { PAUSED } else { MOVED };
        for migration in [REMINDERS, SETTINGS] {
            if number == 1 {
                stage.pause(migration, &users).await;
            } else {
                stage.moved(migration, &users).await;
            }
        }
        for sql in [
            // Its own column holds the user: from 2, and to 5.
            "UPDATE shop.invoice_settings SET user_id = 6 WHERE user_id = 2",
            "UPDATE shop.invoice_settings SET user_id = 5 WHERE user_id = 1",
            // By way of the parent.
            "UPDATE shop.invoice_reminder SET invoice_id = 1 WHERE id = 2",
            "UPDATE shop.invoice_reminder SET invoice_id = 2 WHERE id = 1",
            "UPDATE shop.reminder_recipient SET reminder_id = 1 WHERE id = 2",
            "UPDATE shop.reminder_recipient SET reminder_id = 2 WHERE id = 1",
            // The parent itself, with all that hangs from it.
            "UPDATE shop.invoice SET owner_id = 1 WHERE id = 2",
            "UPDATE shop.invoice SET owner_id = 2 WHERE id = 1",
        ] {
            assert_eq!(code(&writer, sql).await, expected, "{sql}");
        }
    }
    assert_eq!(code(&writer, "UPDATE shop.invoice SET owner_id = 3 WHERE id = 1").await, "ok");
}

#[tokio::test]
async fn a_table_that_stays_behind_is_written_on_once_the_user_has_moved() {
    let stage = Stage::fenced().await;
    stage.moved(REMINDERS, &[("2", 1)]).await;
    let writer = stage.connect().await;
    assert_eq!(code(&writer, &new_invoice("70", 2)).await, "ok");
    assert_eq!(code(&writer, "DELETE FROM shop.invoice WHERE id = 70").await, "ok");
    assert_eq!(code(&writer, &new_invoice("71", 2)).await, "ok");
    assert_eq!(code(&writer, &new_reminder(71)).await, MOVED);
}

#[tokio::test]
async fn a_child_written_before_its_parent_does_not_slip_through() {
    let stage = Stage::fenced().await;
    stage.pause(REMINDERS, &[("2", 1)]).await;
    stage.moved(REMINDERS, &[("3", 1)]).await;
    let writer = stage.connect().await;
    // The example's foreign keys are deferred, so the child may come first.
    for (owner, expected) in [(2, PAUSED), (3, MOVED), (1, "ok")] {
        writer.batch_execute("BEGIN").await.unwrap();
        assert_eq!(code(&writer, &new_reminder(80)).await, "ok");
        assert_eq!(code(&writer, &new_invoice("80", owner)).await, expected);
        writer.batch_execute("ROLLBACK").await.unwrap();
    }
}

#[tokio::test]
async fn a_delete_that_cascades_is_judged_by_the_parent() {
    let stage = Stage::example().await;
    let writer = stage.connect().await;
    writer
        .batch_execute(
            "ALTER TABLE shop.invoice_reminder DROP CONSTRAINT invoice_reminder_invoice_id_fkey,
                 ADD FOREIGN KEY (invoice_id) REFERENCES shop.invoice ON DELETE CASCADE;
             ALTER TABLE shop.reminder_recipient DROP CONSTRAINT reminder_recipient_reminder_id_fkey,
                 ADD FOREIGN KEY (reminder_id) REFERENCES shop.invoice_reminder ON DELETE CASCADE",
        )
        .await
        .unwrap();
    install(&mut stage.connect().await, &plan(REMINDERS)).await.unwrap();
    stage.pause(REMINDERS, &[("2", 1)]).await;
    assert_eq!(code(&writer, "DELETE FROM shop.invoice WHERE id = 2").await, PAUSED);
    assert_eq!(code(&writer, "DELETE FROM shop.invoice_reminder WHERE id = 2").await, PAUSED);
    assert_eq!(code(&writer, "DELETE FROM shop.invoice WHERE id = 1").await, "ok");
    let left: i64 =
        writer.query_one("SELECT count(*) FROM shop.reminder_recipient", &[]).await.unwrap().get(0);
    assert_eq!(left, 5);
}

#[tokio::test]
async fn truncate_is_refused_while_any_user_of_the_table_is_fenced() {
    let stage = Stage::fenced().await;
    let writer = stage.connect().await;
    assert_eq!(code(&writer, "TRUNCATE shop.reminder_recipient").await, "ok");
    stage.moved(REMINDERS, &[("2", 1)]).await;
    for sql in ["TRUNCATE shop.reminder_recipient", "TRUNCATE shop.auth_user CASCADE"] {
        assert_eq!(code(&writer, sql).await, TRUNCATE, "{sql}");
    }
    assert_eq!(code(&writer, "TRUNCATE shop.reminder_sent").await, "ok");
}

#[tokio::test]
async fn partitions_and_inheriting_tables_are_guarded_and_later_ones_reported_until_they_are() {
    let stage = Stage::example().await;
    let writer = stage.connect().await;
    writer
        .batch_execute(
            "DROP TABLE shop.reminder_recipient;
             CREATE TABLE shop.reminder_recipient (id bigint, reminder_id bigint NOT NULL, email varchar(254),
                 tags text[], bounced_at timestamp) PARTITION BY RANGE (id);
             CREATE TABLE shop.recipient_low PARTITION OF shop.reminder_recipient FOR VALUES FROM (0) TO (100);
             CREATE TABLE shop.reminder_archived () INHERITS (shop.invoice_reminder);
             INSERT INTO shop.reminder_recipient VALUES (1, 1), (2, 2);
             INSERT INTO shop.reminder_archived SELECT * FROM shop.invoice_reminder",
        )
        .await
        .unwrap();
    let mut connection = stage.connect().await;
    install(&mut connection, &plan(REMINDERS)).await.unwrap();
    stage.pause(REMINDERS, &[("2", 1)]).await;
    // Moving between partitions is a delete and an insert underneath.
    let later = "CREATE TABLE shop.recipient_high PARTITION OF shop.reminder_recipient
                     FOR VALUES FROM (100) TO (200)";
    writer.batch_execute(later).await.unwrap();
    for sql in [
        "UPDATE shop.recipient_low SET email = 'x' WHERE id = 2",
        "UPDATE shop.reminder_recipient SET id = 150 WHERE id = 2",
        "INSERT INTO shop.recipient_high VALUES (120, 2)",
        "UPDATE shop.reminder_archived SET subject = 'x' WHERE id = 2",
    ] {
        assert_eq!(code(&writer, sql).await, PAUSED, "{sql}");
    }
    assert_eq!(code(&writer, "UPDATE shop.reminder_recipient SET id = 150 WHERE id = 1").await, "ok");
    assert_eq!(code(&writer, "TRUNCATE shop.recipient_low").await, TRUNCATE);
    // The new partition has its row trigger from above, and no TRUNCATE trigger yet.
    let before = status(&mut connection, &plan(REMINDERS)).await.unwrap();
    let missing: Vec<&String> = before.tables.iter().flat_map(|table| &table.missing).map(|m| &m.1).collect();
    assert_eq!(missing.len(), 1, "{missing:?}");
    install(&mut connection, &plan(REMINDERS)).await.unwrap();
    assert_eq!(code(&writer, "TRUNCATE shop.recipient_high").await, TRUNCATE);
}

#[tokio::test]
async fn the_applications_role_needs_no_right_on_the_fence_or_on_parent_tables() {
    let stage = Stage::fenced().await;
    let owner = stage.connect().await;
    let role = format!("clerk_{}", stage.name);
    owner
        .batch_execute(&format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA shop TO {role};
             GRANT INSERT ON shop.reminder_recipient TO {role};
             GRANT USAGE ON ALL SEQUENCES IN SCHEMA shop TO {role}"
        ))
        .await
        .unwrap();
    stage.pause(REMINDERS, &[("2", 1)]).await;
    let writer = connect(&stage.url.replace("postgres@", &format!("{role}@"))).await;
    let insert = |reminder: i64| {
        format!("INSERT INTO shop.reminder_recipient (reminder_id, email) VALUES ({reminder}, '')")
    };
    assert_eq!(code(&writer, &insert(1)).await, "ok");
    assert_eq!(code(&writer, &insert(2)).await, PAUSED);
    writer.batch_execute("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT 1").await.unwrap();
    stage.pause(REMINDERS, &[("3", 1)]).await;
    assert_eq!(code(&writer, &insert(1)).await, "ok");
    assert_eq!(code(&writer, "SELECT * FROM handover_fence.fenced").await, "42501");
    owner.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap_or_default();
}

#[tokio::test]
async fn a_callers_search_path_does_not_choose_what_the_fence_runs() {
    let stage = Stage::fenced().await;
    install(&mut stage.connect().await, &plan(SETTINGS)).await.unwrap();
    for migration in [REMINDERS, SETTINGS] {
        stage.pause(migration, &[("2", 1)]).await;
    }
    let writer = stage.connect().await;
    let mut hostile = String::from(
        "CREATE SCHEMA evil;
         CREATE DOMAIN evil.text AS pg_catalog.int4;
         CREATE FUNCTION evil.never() RETURNS boolean LANGUAGE plpgsql AS $$
             BEGIN RAISE EXCEPTION 'hijacked'; END $$;
         CREATE FUNCTION evil.current_setting(pg_catalog.text, boolean) RETURNS pg_catalog.text
             LANGUAGE sql AS $$ SELECT '2'::pg_catalog.text WHERE evil.never() $$;
         CREATE FUNCTION evil.current_setting(pg_catalog.text) RETURNS pg_catalog.text
             LANGUAGE sql AS $$ SELECT ''::pg_catalog.text WHERE evil.never() $$;
         CREATE FUNCTION evil.pg_advisory_xact_lock_shared(int, int) RETURNS boolean
             LANGUAGE sql AS $$ SELECT evil.never() $$;
         CREATE FUNCTION evil.set_config(pg_catalog.text, pg_catalog.text, boolean) RETURNS boolean
             LANGUAGE sql AS $$ SELECT evil.never() $$;",
    );
    for (number, of) in ["pg_catalog.text", "pg_catalog.int8", "pg_catalog.int4"].iter().enumerate() {
        for (name, operator) in [("eq", "="), ("ne", "<>"), ("match", "~")] {
            let _ = write!(
                hostile,
                "CREATE FUNCTION evil.{name}{number}({of}, {of}) RETURNS boolean LANGUAGE sql AS
                     $$ SELECT evil.never() $$;
                 CREATE OPERATOR evil.{operator} (LEFTARG = {of}, RIGHTARG = {of}, FUNCTION = evil.{name}{number});"
            );
        }
    }
    writer.batch_execute(&hostile).await.unwrap();
    writer.batch_execute("SET search_path = evil, pg_catalog").await.unwrap();
    for level in ["READ COMMITTED", "SERIALIZABLE"] {
        for (number, expected) in [(1, "ok"), (2, PAUSED)] {
            for sql in [
                new_reminder(number),
                format!("INSERT INTO shop.reminder_recipient (reminder_id, email) VALUES ({number}, '')"),
                new_invoice("90", number),
            ] {
                writer.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}")).await.unwrap();
                assert_eq!(code(&writer, &sql).await, expected, "{level}: {sql}");
                writer.batch_execute("ROLLBACK").await.unwrap();
            }
        }
    }
    let mover = "UPDATE shop.invoice_settings SET user_id = user_id";
    let (code, text) = refusal(&writer, mover).await;
    assert_eq!(code, PAUSED, "{text}");
}
