-- $1 users, $2 seed.
INSERT INTO shop.auth_user (id, password, last_login, is_superuser, username, email, is_active, date_joined)
SELECT u,
       'pbkdf2_sha256$' || to_hex(h),
       CASE WHEN h & 7 > 0 THEN '2024-01-01'::timestamp + (h >> 3 & 65535) * interval '11 minutes' END,
       false,
       'user' || u,
       'user' || u || '@example.org',
       h >> 19 & 31 > 0,
       '2014-03-01'::timestamp + (h >> 24 & 65535) * interval '83 minutes'
  FROM generate_series(1, $1::int8) u
 CROSS JOIN LATERAL hashint8extended(u, $2::int8) h
