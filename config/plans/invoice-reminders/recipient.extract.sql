SELECT i.owner_id,
       x.id                             AS legacy_id,
       x.reminder_id                    AS reminder,
       x.email::text                    AS email,
       coalesce(x.tags, '{}'::text[])   AS tags
  FROM shop.invoice i
  JOIN shop.invoice_reminder r ON r.invoice_id = i.id
  JOIN shop.reminder_recipient x ON x.reminder_id = r.id
 WHERE i.owner_id = ANY (:users)
   AND r.deleted_at IS NULL
