//! The old system's side: schema `shop`. The same functions as in [`new`](mod@crate::new).
//!
//! Ids are small numbers, kinds are smaller ones, moments have no zone, and what is deleted stays with a date.

use std::time::Duration;

use handover_postgres::Pool;
use tokio_postgres::Row;

use crate::failure::Failure;
use crate::model::{NewReminder, Reminder, Settings, SettingsChange};
use crate::transaction::Transaction;

/// All reminders of a user, oldest first.
pub async fn reminders(at: &mut Transaction, user: i64) -> Result<Vec<Reminder>, Failure> {
    let sql = r#"
        SELECT r.id, r.invoice_id,
               (ARRAY['before_due', 'on_due', 'after_due'])[r.kind + 1] AS kind,
               (ARRAY['email', 'sms', 'letter'])[coalesce(r.channel, 1)] AS channel,
               r.days_offset AS days, r.subject::text AS subject, r.body, coalesce(r.enabled, true) AS enabled,
               to_char(r.send_at AT TIME ZONE r.zone AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS due_at
          FROM shop.invoice i
          JOIN shop.invoice_reminder r ON r.invoice_id = i.id
         WHERE i.owner_id = $1
           AND r.deleted_at IS NULL
         ORDER BY r.id"#;
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
            INSERT INTO shop.invoice_reminder
                   (invoice_id, kind, channel, days_offset, send_at, zone, subject, body, enabled, created_at, modified_at)
            SELECT i.id, 1, 1, 0, (clock_timestamp() + $3::int8 * interval '1 ms') AT TIME ZONE 'UTC', 'UTC',
                   $4::text, $5::text, true, now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC'
              FROM shop.invoice i
             WHERE i.id = $2 AND i.owner_id = $1
            RETURNING id),
        recipients AS (
            INSERT INTO shop.reminder_recipient (reminder_id, email)
            SELECT added.id, email FROM added, unnest($6::text[]) email)
        SELECT id FROM added";
    let recipients: Vec<&String> = asked.recipients.iter().collect();
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
        [&user, &invoice, &asked.due_in_ms, &asked.subject, &asked.body, &recipients];
    let row = at.query_opt(sql, &values).await?.ok_or(Failure::NotFound("invoice"))?;
    Ok(row.get(0))
}

/// Appends a line to a reminder's text.
pub async fn add_note(at: &mut Transaction, user: i64, reminder: i64, note: &str) -> Result<(), Failure> {
    let sql = r"
        UPDATE shop.invoice_reminder r
           SET body = r.body || E'\n' || $3::text, modified_at = now() AT TIME ZONE 'UTC'
          FROM shop.invoice i
         WHERE i.id = r.invoice_id AND i.owner_id = $1 AND r.id = $2 AND r.deleted_at IS NULL
        RETURNING r.id";
    found(at.query_opt(sql, &[&user, &reminder, &note]).await?.as_ref())
}

/// Removes a reminder: it stays, with the date of its end.
pub async fn remove_reminder(at: &mut Transaction, user: i64, reminder: i64) -> Result<(), Failure> {
    let sql = "
        UPDATE shop.invoice_reminder r
           SET deleted_at = now() AT TIME ZONE 'UTC', modified_at = now() AT TIME ZONE 'UTC'
          FROM shop.invoice i
         WHERE i.id = r.invoice_id AND i.owner_id = $1 AND r.id = $2 AND r.deleted_at IS NULL
        RETURNING r.id";
    found(at.query_opt(sql, &[&user, &reminder]).await?.as_ref())
}

/// Sends the user's due reminders, each once: notes that it is sent, and switches it off. Their ids.
///
/// The switch is a column that moves with the reminder, and goes with the note in one transaction: whoever finds it
/// on, here or on the other side later, knows that it was not sent. Another scheduler's rows are passed over.
pub async fn send_due(at: &mut Transaction, user: i64, stale_after: Duration) -> Result<Vec<i64>, Failure> {
    let sql = "
        WITH due AS (
            SELECT r.id
              FROM shop.invoice i
              JOIN shop.invoice_reminder r ON r.invoice_id = i.id
             WHERE i.owner_id = $1 AND r.deleted_at IS NULL AND coalesce(r.enabled, true)
               AND r.send_at AT TIME ZONE r.zone BETWEEN now() - $2::float8 * interval '1 s' AND now()
             ORDER BY r.id
               FOR UPDATE OF r SKIP LOCKED),
        marked AS (
            UPDATE shop.invoice_reminder r SET enabled = false, modified_at = now() AT TIME ZONE 'UTC'
              FROM due WHERE r.id = due.id
            RETURNING r.id)
        INSERT INTO shop.reminder_sent (reminder_id, sent_at)
        SELECT id, now() AT TIME ZONE 'UTC' FROM marked
        RETURNING reminder_id";
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
    // `send_at` is local time: an index finds those within a day, and the zone is looked at for these alone.
    let sql = "
        SELECT DISTINCT i.owner_id
          FROM shop.invoice_reminder r
          JOIN shop.invoice i ON i.id = r.invoice_id
         WHERE r.send_at BETWEEN (now() AT TIME ZONE 'UTC') - $2::float8 * interval '1 s' - interval '1 day'
                             AND (now() AT TIME ZONE 'UTC') + interval '1 day'
           AND r.deleted_at IS NULL AND coalesce(r.enabled, true)
           AND r.send_at AT TIME ZONE r.zone BETWEEN now() - $2::float8 * interval '1 s' AND now()
           AND i.owner_id > $1
         ORDER BY 1
         LIMIT $3";
    let mut session = pool.get().await?;
    let statement = session.prepared(sql).await?;
    let rows = session.query(&statement, &[&after, &stale_after.as_secs_f64(), &most]).await;
    Ok(rows.map_err(|error| session.explain(error))?.iter().map(|row| row.get(0)).collect())
}

/// The user's settings, where there are any.
pub async fn settings(at: &mut Transaction, user: i64) -> Result<Option<Settings>, Failure> {
    let sql = "
        SELECT (ARRAY['yearly', 'continuous', 'monthly'])[s.numbering + 1] AS numbering,
               (ARRAY['a4', 'letter'])[coalesce(s.paper, 0) + 1] AS paper,
               s.currency::text AS currency, s.due_days, s.attach_pdf, s.footer
          FROM shop.invoice_settings s
         WHERE s.user_id = $1";
    Ok(at.query_opt(sql, &[&user]).await?.as_ref().map(Settings::of))
}

/// Changes the user's settings, or makes them.
pub async fn change_settings(
    at: &mut Transaction,
    user: i64,
    change: &SettingsChange,
) -> Result<(), Failure> {
    let sql = "
        INSERT INTO shop.invoice_settings AS s
               (user_id, numbering, tax_mode, currency, logo_scale, attach_pdf, due_days, send_time, zone, footer,
                preferences, modified_at)
        VALUES ($1, 0, 1, 'EUR', 1, coalesce($4, true), coalesce($3, 14), '08:00', 'UTC', coalesce($2, ''), '{}',
                now() AT TIME ZONE 'UTC')
            ON CONFLICT (user_id) DO UPDATE
           SET footer = coalesce($2::text, s.footer), due_days = coalesce($3::int4, s.due_days),
               attach_pdf = coalesce($4::bool, s.attach_pdf), css_cache = NULL, modified_at = excluded.modified_at
        RETURNING s.id";
    let row = at.query_opt(sql, &[&user, &change.footer, &change.due_days, &change.attach_pdf]).await?;
    found(row.as_ref())
}

fn found(row: Option<&Row>) -> Result<(), Failure> {
    row.map(|_| ()).ok_or(Failure::NotFound("reminder"))
}
