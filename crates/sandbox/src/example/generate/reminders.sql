-- $1 seed, $2 reminders of each user (NULL: two to four an invoice). With $2 given none is soft-deleted, so
-- that every user has exactly that many.
INSERT INTO shop.invoice_reminder
       (id, invoice_id, kind, channel, days_offset, send_at, zone, subject, body, enabled, amount_cap, old_hash,
        created_at, modified_at, deleted_at)
SELECT row_number() OVER (ORDER BY i.id, k),
       i.id,
       ((k - 1) % 3)::int2,
       CASE WHEN h & 15 < 10 THEN 1 WHEN h & 15 < 12 THEN 2 WHEN h & 15 < 13 THEN 3 END::int2,
       ((h >> 4 & 31) - 15)::int4,
       CASE WHEN h >> 9 & 7 > 0
            THEN '2024-01-01'::timestamp + (h >> 12 & 16383) * interval '30 minutes'
                 + (h >> 26 & 1) * interval '123456 microseconds' END,
       (ARRAY['Europe/Berlin', 'Europe/Berlin', 'UTC', 'America/New_York', 'Asia/Kolkata', 'Australia/Lord_Howe',
              'Pacific/Chatham', 'Europe/London'])[(h >> 27 & 7) + 1],
       (ARRAY['', 'Invoice {{ invoice.number }} is due', 'Rechnung {{ invoice.number }} – Zahlungserinnerung',
              '催促状 {{ invoice.number }}', 'It''s "overdue" \ {{ invoice.number }}', E'tab\there',
              'تذكير {{ invoice.number }}', 'e' || U&'\0301' || ' 💸 {{ invoice.total }}'])[(h >> 30 & 7) + 1],
       (ARRAY['', E'Dear {{ customer.name }},\n\nyour invoice {{ invoice.number }} of {{ invoice.total }} is due.\n',
              E'Sehr geehrte Damen und Herren,\r\n\r\nbitte überweisen Sie {{ invoice.total }} €.\r\n',
              E'{% if invoice.overdue %}\n  It''s "late".\n{% endif %}\n\\n is not a line break'])[(h >> 33 & 3) + 1]
           || repeat(E'Please quote the number of the invoice with your payment.\n', (h >> 35 & 3)::int4)
           || E'\n-- \n' || to_hex(h),
       CASE WHEN h >> 37 & 7 < 4 THEN true WHEN h >> 37 & 7 < 6 THEN false END,
       CASE WHEN h >> 40 & 1 = 1 THEN (h >> 41 & 524287) / 100.0 END,
       CASE WHEN h >> 60 & 1 = 1 THEN to_hex(h) || to_hex(i.id) END,
       i.created_at,
       i.created_at + (h >> 45 & 65535) * interval '1 minute',
       CASE WHEN $2::int8 IS NULL AND h >> 50 & 31 = 0
            THEN i.created_at + (h >> 45 & 65535) * interval '1 minute' END
  FROM shop.invoice i
 CROSS JOIN LATERAL (SELECT CASE
           WHEN $2::int8 IS NULL THEN 2 + (hashint8extended(i.id, $1::int8 + 3) & 65535) % 3
           ELSE least(3, $2::int8 - 3 * (split_part(i.number, '-', 3)::int8 - 1))
       END AS reminders) many
 CROSS JOIN LATERAL generate_series(1, many.reminders) k
 CROSS JOIN LATERAL hashint8extended(i.id * 4 + k, $1::int8 + 4) h
