-- $1 users, $2 seed. Of sixteen users fifteen have settings.
INSERT INTO shop.invoice_settings
       (id, user_id, numbering, paper, tax_mode, currency, default_rate, late_fee, logo_scale, show_logo,
        attach_pdf, due_days, send_time, zone, footer, signature, preferences, css_cache, old_plan, modified_at)
SELECT row_number() OVER (ORDER BY u),
       u,
       ((h & 65535) % 3)::int2,
       CASE h >> 16 & 3 WHEN 0 THEN NULL WHEN 1 THEN 1 ELSE 0 END::int2,
       ((h >> 18 & 65535) % 3 + 1)::int2,
       (ARRAY['EUR', 'USD', 'JPY', 'DKK'])[(h >> 34 & 3) + 1],
       CASE WHEN h >> 36 & 3 > 0 THEN (h >> 4 & 8191) / 10000.0 END,
       (ARRAY[NULL, 1.5, 1.50, 0, 0.00, 12345678901234567890.123456789, 40, 0.000001])[(h >> 38 & 7) + 1],
       (ARRAY[1, 0.1, 1.0 / 3, 1e-300, 2.5e10, 0.30000000000000004, 1, 1]::float8[])[(h >> 41 & 7) + 1],
       CASE h >> 44 & 3 WHEN 0 THEN NULL WHEN 1 THEN false ELSE true END,
       h >> 46 & 1 = 1,
       (ARRAY[0, 7, 14, 30])[(h >> 47 & 3) + 1],
       '06:00'::time + (h >> 49 & 31) * interval '15 minutes' + (h >> 54 & 1) * interval '250 microseconds',
       (ARRAY['Europe/Berlin', 'UTC', 'America/New_York', 'Asia/Kolkata'])[(h >> 55 & 3) + 1],
       (ARRAY['', E'{{ company.name }}\nIBAN {{ company.iban }}', 'Grüße aus Köln – "danke"', '謝謝'])
           [(h >> 57 & 3) + 1],
       CASE WHEN h >> 59 & 1 = 1 THEN 'It''s ' || u || '''s signature' END,
       (ARRAY['{}', '{"columns": ["date", "total"], "zoom": 1.50}', '{"ü": null, "nested": {"a": [1, 2.0, "x\ny"]}}',
              '{"theme": "dark", "limit": 12345678901234567890}']::jsonb[])[(h >> 60 & 3) + 1],
       CASE WHEN h >> 62 & 1 = 1 THEN '.footer { color: #333 }' END,
       CASE WHEN h >> 3 & 1 = 1 THEN (h >> 5 & 15)::int4 END,
       '2019-05-01'::timestamp + (h >> 20 & 1048575) * interval '3 minutes' + (h & 1023) * interval '1 microsecond'
  FROM generate_series(1, $1::int8) u
 CROSS JOIN LATERAL hashint8extended(u, $2::int8 + 7) h
 WHERE hashint8extended(u, $2::int8 + 8) & 15 > 0
