-- $1 seed. Of sixteen reminders eleven have no recipient of their own, four have one, one has two.
INSERT INTO shop.reminder_recipient (id, reminder_id, email, tags, bounced_at)
SELECT row_number() OVER (ORDER BY r.id, k),
       r.id,
       (ARRAY['accounts', 'bücher', 'o''brien', 'first.last+invoices'])[(g & 3) + 1]
           || '.' || r.id || '.' || k || '@example.com',
       CASE g >> 2 & 7
           WHEN 0 THEN NULL
           WHEN 1 THEN '{}'::text[]
           WHEN 2 THEN ARRAY['vip']
           WHEN 3 THEN ARRAY['vip', NULL, 'monthly']
           WHEN 4 THEN ARRAY['quoted "tag"', 'comma, blank', 'back\slash', '', 'NULL']
           WHEN 5 THEN ARRAY['größe', 'タグ']
           ELSE ARRAY['finance']
       END,
       CASE WHEN g >> 5 & 31 = 0 THEN r.created_at + interval '1 day' END
  FROM shop.invoice_reminder r
 CROSS JOIN LATERAL hashint8extended(r.id, $1::int8 + 5) h
 CROSS JOIN LATERAL generate_series(1, CASE WHEN h & 15 < 11 THEN 0 WHEN h & 15 < 15 THEN 1 ELSE 2 END) k
 CROSS JOIN LATERAL hashint8extended(r.id * 4 + k, $1::int8 + 6) g
