SELECT s.owner_id,
       s.legacy_id,
       CASE s.numbering
           WHEN 'yearly' THEN 0::int2
           WHEN 'continuous' THEN 1::int2
           WHEN 'monthly' THEN 2::int2
       END                            AS numbering,
       CASE s.paper
           WHEN 'a4' THEN 0::int2
           WHEN 'letter' THEN 1::int2
       END                            AS paper,
       CASE s.tax_mode
           WHEN 'net' THEN 1::int2
           WHEN 'gross' THEN 2::int2
           WHEN 'exempt' THEN 3::int2
       END                            AS tax_mode,
       s.currency,
       s.default_rate,
       s.late_fee,
       s.logo_scale,
       s.show_logo,
       s.attach_pdf,
       (s.delivery ->> 'days')::int4  AS due_days,
       (s.delivery ->> 'at')::time    AS send_time,
       s.delivery ->> 'zone'          AS zone,
       s.footer,
       s.signature,
       s.preferences,
       s.modified_at,
       s.id
  FROM settings.invoice_settings s
 WHERE s.owner_id = ANY (:users)
