//! The new system's side: schemas `reminders` and `settings`. The same functions as in [`legacy`](mod@crate::legacy).
//!
//! Rows have UUIDs, and keep legacy's number as the one that callers know; schedules are documents.

use std::time::Duration;

use handover_postgres::Pool;
use tokio_postgres::Row;

use crate::failure::Failure;
use crate::model::{NewReminder, Reminder, Settings, SettingsChange};
use crate::transaction::Transaction;

/// All reminders of a user, oldest first.
pub async fn reminders(at: &mut Transaction, user: i64) -> Result<Vec<Reminder>, Failure> {
    let sql = r#"
        SELECT r.legacy_id AS id, r.invoice_id, r.kind::text AS kind, r.channel::text AS channel,
               (r.schedule ->> 'days')::int4 AS days, r.subject, r.body, r.enabled,
               to_char((r.schedule ->> 'at')::timestamp AT TIME ZONE (r.schedule ->> 'zone') AT TIME ZONE 'UTC',
                       'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS due_at
          FROM reminders.reminder r
         WHERE r.owner_id = $1
         ORDER BY r.legacy_id"#;
    Ok(at.query(sql, &[&user]).await?.iter().map(Reminder::of).collect())
}

/// Adds a reminder about one of the user's invoices; its id.
pub async fn add_reminder(
    at: &mut Transaction,
    user: i64,
    invoice: i64,
    asked: &NewReminder,
) -> Result<i64, Failure> {
    let sql = "
        WITH added AS (
            INSERT INTO reminders.reminder (owner_id, invoice_id, kind, channel, schedule, subject, body)
            VALUES ($1, $2, 'on_due', 'email',
                    jsonb_build_object('days', 0, 'zone', 'UTC', 'at',
                        (clock_timestamp() + $3::int8 * interval '1 ms') AT TIME ZONE 'UTC'),
                    $4::text, $5::text)
            RETURNING id, legacy_id),
        recipients AS (
            INSERT INTO reminders.recipient (reminder_id, email)
            SELECT added.id, email FROM added, unnest($6::text[]) email)
        SELECT legacy_id FROM added";
    let recipients: Vec<&String> = asked.recipients.iter().collect();
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
        [&user, &invoice, &asked.due_in_ms, &asked.subject, &asked.body, &recipients];
    let row = at.query_opt(sql, &values).await?.ok_or(Failure::NotFound("invoice"))?;
    Ok(row.get(0))
}

/// Appends a line to a reminder's text.
pub async fn add_note(at: &mut Transaction, user: i64, reminder: i64, note: &str) -> Result<(), Failure> {
    let sql = r"
        UPDATE reminders.reminder SET body = body || E'\n' || $3::text, modified_at = now()
         WHERE owner_id = $1 AND legacy_id = $2
        RETURNING id";
    found(at.query_opt(sql, &[&user, &reminder, &note]).await?.as_ref())
}

/// Removes a reminder with its recipients.
pub async fn remove_reminder(at: &mut Transaction, user: i64, reminder: i64) -> Result<(), Failure> {
    let recipients = "
        DELETE FROM reminders.recipient x
         USING reminders.reminder r
         WHERE r.id = x.reminder_id AND r.owner_id = $1 AND r.legacy_id = $2";
    at.query(recipients, &[&user, &reminder]).await?;
    let sql = "DELETE FROM reminders.reminder WHERE owner_id = $1 AND legacy_id = $2 RETURNING id";
    found(at.query_opt(sql, &[&user, &reminder]).await?.as_ref())
}

/// Sends the user's due reminders, each once: notes that it is sent, and switches it off. Their ids.
///
/// The switch is a column that moves with the reminder; see [`legacy::send_due`](crate::legacy::send_due).
pub async fn send_due(at: &mut Transaction, user: i64, stale_after: Duration) -> Result<Vec<i64>, Failure> {
    let sql = "
        WITH due AS (
            SELECT r.id
              FROM reminders.reminder r
             WHERE r.owner_id = $1 AND r.enabled
               AND (r.schedule ->> 'at')::timestamp AT TIME ZONE (r.schedule ->> 'zone')
                   BETWEEN now() - $2::float8 * interval '1 s' AND now()
             ORDER BY r.id
               FOR UPDATE SKIP LOCKED),
        marked AS (
            UPDATE reminders.reminder r SET enabled = false, modified_at = now()
              FROM due WHERE r.id = due.id
            RETURNING r.legacy_id, r.owner_id)
        INSERT INTO reminders.sent (reminder_legacy_id, owner_id, sent_at)
        SELECT legacy_id, owner_id, now() FROM marked
        RETURNING reminder_legacy_id";
    let rows = at.query(sql, &[&user, &stale_after.as_secs_f64()]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Users after `after` with reminders that look due here, at most `most`. Some of them may live elsewhere by now.
pub async fn users_with_due(
    pool: &Pool,
    after: i64,
    stale_after: Duration,
    most: i64,
) -> Result<Vec<i64>, Failure> {
    // `at` is local time in its ISO spelling, whose order is time's: an index finds those within a day.
    let sql = r#"
        SELECT DISTINCT r.owner_id
          FROM reminders.reminder r
         WHERE (r.schedule ->> 'at') COLLATE "C" BETWEEN
                   to_char((now() AT TIME ZONE 'UTC') - $2::float8 * interval '1 s' - interval '1 day', 'YYYY-MM-DD')
               AND to_char((now() AT TIME ZONE 'UTC') + interval '2 days', 'YYYY-MM-DD')
           AND r.enabled
           AND (r.schedule ->> 'at')::timestamp AT TIME ZONE (r.schedule ->> 'zone')
               BETWEEN now() - $2::float8 * interval '1 s' AND now()
           AND r.owner_id > $1
         ORDER BY 1
         LIMIT $3"#;
    let mut session = pool.get().await?;
    let statement = session.prepared(sql).await?;
    let rows = session.query(&statement, &[&after, &stale_after.as_secs_f64(), &most]).await;
    Ok(rows.map_err(|error| session.explain(error))?.iter().map(|row| row.get(0)).collect())
}

/// The user's settings, where there are any.
pub async fn settings(at: &mut Transaction, user: i64) -> Result<Option<Settings>, Failure> {
    let sql = "
        SELECT s.numbering::text AS numbering, s.paper::text AS paper, s.currency,
               (s.delivery ->> 'days')::int4 AS due_days, s.attach_pdf, s.footer
          FROM settings.invoice_settings s
         WHERE s.owner_id = $1";
    Ok(at.query_opt(sql, &[&user]).await?.as_ref().map(Settings::of))
}

/// Changes the user's settings, or makes them.
pub async fn change_settings(
    at: &mut Transaction,
    user: i64,
    change: &SettingsChange,
) -> Result<(), Failure> {
    let sql = "
        INSERT INTO settings.invoice_settings AS s (owner_id, currency, attach_pdf, delivery, footer)
        VALUES ($1, 'EUR', coalesce($4, true),
                jsonb_build_object('days', coalesce($3, 14), 'at', '08:00:00', 'zone', 'UTC'), coalesce($2, ''))
            ON CONFLICT (owner_id) DO UPDATE
           SET footer = coalesce($2::text, s.footer), attach_pdf = coalesce($4::bool, s.attach_pdf),
               delivery = s.delivery || jsonb_build_object('days', coalesce($3::int4, (s.delivery ->> 'days')::int4)),
               modified_at = now()
        RETURNING s.id";
    let row = at.query_opt(sql, &[&user, &change.footer, &change.due_days, &change.attach_pdf]).await?;
    found(row.as_ref())
}

fn found(row: Option<&Row>) -> Result<(), Failure> {
    row.map(|_| ()).ok_or(Failure::NotFound("reminder"))
}
