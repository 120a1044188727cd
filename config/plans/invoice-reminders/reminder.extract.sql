-- NULLs of legacy get the meaning that its code gave them: enabled and channel. Lengths are dropped from
-- the types by the casts, never from the values. Naive timestamps written by server code are UTC.
SELECT i.owner_id,
       r.id                            AS legacy_id,
       r.invoice_id,
       r.kind,
       coalesce(r.channel, 1::int2)    AS channel,
       r.days_offset,
       r.send_at,
       r.zone::text                    AS zone,
       r.subject::text                 AS subject,
       r.body,
       coalesce(r.enabled, true)       AS enabled,
       r.amount_cap::numeric           AS amount_cap,
       r.created_at AT TIME ZONE 'UTC' AS created_at,
       r.modified_at AT TIME ZONE 'UTC' AS modified_at
  FROM shop.invoice i
  JOIN shop.invoice_reminder r ON r.invoice_id = i.id
 WHERE i.owner_id = ANY (:users)
   AND r.deleted_at IS NULL
