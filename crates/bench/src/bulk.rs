//! What handover is measured against: the bulk pipe. A COPY with the example's own transformation out of the replica, into a
//! COPY of the destination, one pair of statements an entity. It pauses nobody, checks nothing, and tells nobody.

use std::ops::RangeInclusive;

use anyhow::{Result, ensure};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _, pin_mut};
use tokio_postgres::Client;

use crate::stage::connect;

/// Its target: tables like the destination's own, with all indices and constraints.
const TWIN: &str = "
    CREATE SCHEMA bulk;
    CREATE TABLE bulk.reminder (LIKE reminders.reminder INCLUDING ALL);
    CREATE TABLE bulk.recipient (LIKE reminders.recipient INCLUDING ALL);
    ALTER TABLE bulk.recipient ADD FOREIGN KEY (reminder_id) REFERENCES bulk.reminder (id)
        DEFERRABLE INITIALLY IMMEDIATE";

/// The plan's extract and fills as one query.
const REMINDERS: &str = "
    SELECT public.uuid_generate_v5('0b6ac4d2-6f0e-4f0e-9d0c-0e6f3b1f7a11', r.id::text), i.owner_id, r.invoice_id, r.id,
           CASE r.kind WHEN 0 THEN 'before_due' WHEN 1 THEN 'on_due' WHEN 2 THEN 'after_due' END,
           CASE coalesce(r.channel, 1) WHEN 1 THEN 'email' WHEN 2 THEN 'sms' WHEN 3 THEN 'letter' END,
           jsonb_build_object('days', r.days_offset, 'at', r.send_at, 'zone', r.zone),
           r.subject::text, r.body, coalesce(r.enabled, true), r.amount_cap::numeric, 'legacy'::text,
           r.created_at AT TIME ZONE 'UTC', r.modified_at AT TIME ZONE 'UTC'
      FROM shop.invoice i JOIN shop.invoice_reminder r ON r.invoice_id = i.id
     WHERE i.owner_id BETWEEN {first} AND {last} AND r.deleted_at IS NULL";
const REMINDER_COLUMNS: &str =
    "id, owner_id, invoice_id, legacy_id, kind, channel, schedule, subject, body, enabled,
    amount_cap, origin, created_at, modified_at";
const RECIPIENTS: &str = "
    SELECT public.uuid_generate_v5('0b6ac4d2-6f0e-4f0e-9d0c-0e6f3b1f7a11', x.reminder_id::text), x.id, x.email::text,
           coalesce(x.tags, '{}'::text[])
      FROM shop.invoice i JOIN shop.invoice_reminder r ON r.invoice_id = i.id
      JOIN shop.reminder_recipient x ON x.reminder_id = r.id
     WHERE i.owner_id BETWEEN {first} AND {last} AND r.deleted_at IS NULL";
const RECIPIENT_COLUMNS: &str = "reminder_id, legacy_id, email, tags";

/// Makes the pipe's tables, and the function that the transformation needs.
pub(crate) async fn install(legacy_url: &str, destination_url: &str) -> Result<()> {
    connect(legacy_url).await?.batch_execute("CREATE EXTENSION \"uuid-ossp\" SCHEMA public").await?;
    connect(destination_url).await?.batch_execute(TWIN).await?;
    Ok(())
}

/// Copies these users; returns the rows.
pub(crate) async fn copy(
    replica_url: &str,
    destination_url: &str,
    users: &RangeInclusive<u64>,
) -> Result<f64> {
    let (from, to) = (connect(replica_url).await?, connect(destination_url).await?);
    let reminders = pipe(&from, &to, REMINDERS, "bulk.reminder", REMINDER_COLUMNS, users).await?;
    let recipients = pipe(&from, &to, RECIPIENTS, "bulk.recipient", RECIPIENT_COLUMNS, users).await?;
    Ok((reminders + recipients) as f64)
}

async fn pipe(
    from: &Client,
    to: &Client,
    query: &str,
    table: &str,
    columns: &str,
    users: &RangeInclusive<u64>,
) -> Result<u64> {
    let query =
        query.replace("{first}", &users.start().to_string()).replace("{last}", &users.end().to_string());
    let stream = from.copy_out(&format!("COPY ({query}) TO STDOUT (FORMAT binary)")).await?;
    let sink =
        to.copy_in::<_, Bytes>(&format!("COPY {table} ({columns}) FROM STDIN (FORMAT binary)")).await?;
    pin_mut!(stream, sink);
    while let Some(chunk) = stream.next().await {
        sink.feed(chunk?).await?;
    }
    Ok(sink.finish().await?)
}

/// Both ways led to the same rows, but for the moment of the load.
pub(crate) async fn same_rows(destination_url: &str) -> Result<()> {
    let sql = format!(
        "WITH a AS (SELECT {REMINDER_COLUMNS} FROM bulk.reminder), b AS (SELECT {REMINDER_COLUMNS} FROM reminders.reminder),
              c AS (SELECT {RECIPIENT_COLUMNS} FROM bulk.recipient), d AS (SELECT {RECIPIENT_COLUMNS} FROM reminders.recipient)
         SELECT (SELECT count(*) FROM (TABLE a EXCEPT TABLE b) x) + (SELECT count(*) FROM (TABLE c EXCEPT TABLE d) y)
              + abs((SELECT count(*) FROM a) - (SELECT count(*) FROM b))
              + abs((SELECT count(*) FROM c) - (SELECT count(*) FROM d))"
    );
    let different: i64 = connect(destination_url).await?.query_one(&sql, &[]).await?.get(0);
    ensure!(different == 0, "{different} rows differ between handover and the bulk pipe");
    Ok(())
}
