-- $1 users, $2 seed, $3 reminders of each user (NULL: skewed), $4 giants (every ($1 / $4)-th user is one),
-- $5 invoices of a giant on average.
--
-- Of a hundred users four have no invoice, nine have one or two, one has dozens, and the others five to seven;
-- an invoice has about three reminders. Ids follow the dates, so that a user's invoices are scattered over the table, as
-- they are after ten years.
INSERT INTO shop.invoice (id, owner_id, number, customer_name, status, total, issued_on, created_at)
SELECT row_number() OVER (ORDER BY r, u, k),
       u,
       'INV-' || u || '-' || k,
       (ARRAY['Müller & Söhne GmbH', 'O''Brien "Bros." Ltd', '株式会社テスト', 'Ørsted A/S', 'شركة المثال', 'Acme'])
           [(r >> 8 & 7) % 6 + 1],
       (r >> 11 & 3)::int2,
       (r >> 13 & 1048575) / 100.0,
       created_at::date,
       created_at
  FROM generate_series(1, $1::int8) u
 CROSS JOIN LATERAL hashint8extended(u, $2::int8 + 1) h
 CROSS JOIN LATERAL (SELECT CASE
           WHEN $3::int8 IS NOT NULL THEN ($3::int8 + 2) / 3
           WHEN u % ($1::int8 / nullif($4::int8, 0)) = 7 AND u / ($1::int8 / nullif($4::int8, 0)) < $4::int8
               THEN $5::int8 * (75 + (h & 63)) / 100
           WHEN (h >> 8 & 65535) % 100 < 4 THEN 0
           WHEN (h >> 8 & 65535) % 100 < 13 THEN 1 + (h >> 24 & 1)
           WHEN (h >> 8 & 65535) % 100 < 14 THEN 30 + (h >> 24 & 31)
           ELSE 5 + (h >> 24 & 65535) % 3
       END AS invoices) many
 CROSS JOIN LATERAL generate_series(1, many.invoices) k
 CROSS JOIN LATERAL hashint8extended(u * 1048576 + k, $2::int8 + 2) r
 CROSS JOIN LATERAL (SELECT '2014-03-01'::timestamp + ((r >> 44) + 524288) * interval '5 minutes' AS created_at) d
