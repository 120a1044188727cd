-- Carries the new system's reminders back: what was changed or added there is written, what was removed
-- there is soft-deleted here, as legacy does it.
UPDATE shop.invoice_reminder r
   SET deleted_at = now() AT TIME ZONE 'UTC'
  FROM shop.invoice i
 WHERE i.id = r.invoice_id
   AND i.owner_id = ANY (:users)
   AND r.deleted_at IS NULL
   AND NOT EXISTS (SELECT FROM reminder n WHERE n.legacy_id = r.id);

INSERT INTO shop.invoice_reminder AS r
       (id, invoice_id, kind, channel, days_offset, send_at, zone, subject, body, enabled, amount_cap,
        created_at, modified_at)
SELECT n.legacy_id, n.invoice_id, n.kind, n.channel, n.days_offset, n.send_at, n.zone, n.subject, n.body,
       n.enabled, n.amount_cap, n.created_at AT TIME ZONE 'UTC', n.modified_at AT TIME ZONE 'UTC'
  FROM reminder n
    ON CONFLICT (id) DO UPDATE
   SET invoice_id  = excluded.invoice_id,
       kind        = excluded.kind,
       channel     = excluded.channel,
       days_offset = excluded.days_offset,
       send_at     = excluded.send_at,
       zone        = excluded.zone,
       subject     = excluded.subject,
       body        = excluded.body,
       enabled     = excluded.enabled,
       amount_cap  = excluded.amount_cap,
       created_at  = excluded.created_at,
       modified_at = excluded.modified_at,
       old_hash    = NULL,
       deleted_at  = NULL
