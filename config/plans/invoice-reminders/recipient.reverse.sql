-- Runs after the reminders' own: recipients of a reminder that was soft-deleted there are left as they are.
DELETE FROM shop.reminder_recipient x
 USING shop.invoice i, shop.invoice_reminder r
 WHERE r.id = x.reminder_id
   AND i.id = r.invoice_id
   AND i.owner_id = ANY (:users)
   AND r.deleted_at IS NULL
   AND NOT EXISTS (SELECT FROM recipient n WHERE n.legacy_id = x.id);

INSERT INTO shop.reminder_recipient (id, reminder_id, email, tags)
SELECT n.legacy_id, n.reminder, n.email, n.tags
  FROM recipient n
    ON CONFLICT (id) DO UPDATE
   SET reminder_id = excluded.reminder_id,
       email       = excluded.email,
       tags        = excluded.tags
