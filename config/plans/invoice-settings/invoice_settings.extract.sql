-- NULLs of legacy get the meaning that its code gave them: paper and show_logo. Lengths and scales are
-- dropped from the types by the casts, never from the values.
SELECT s.user_id,
       s.id                             AS legacy_id,
       s.numbering,
       coalesce(s.paper, 0::int2)       AS paper,
       s.tax_mode,
       s.currency::text                 AS currency,
       s.default_rate::numeric          AS default_rate,
       s.late_fee,
       s.logo_scale,
       coalesce(s.show_logo, true)      AS show_logo,
       s.attach_pdf,
       s.due_days,
       s.send_time,
       s.zone::text                     AS zone,
       s.footer,
       s.signature,
       s.preferences,
       s.modified_at AT TIME ZONE 'UTC' AS modified_at
  FROM shop.invoice_settings s
 WHERE s.user_id = ANY (:users)
