-- Settings that the new system has lost are removed here too; the others are written as they are there.
DELETE FROM shop.invoice_settings s
 WHERE s.user_id = ANY (:users)
   AND NOT EXISTS (SELECT FROM invoice_settings n WHERE n.legacy_id = s.id);

INSERT INTO shop.invoice_settings
       (id, user_id, numbering, paper, tax_mode, currency, default_rate, late_fee, logo_scale, show_logo,
        attach_pdf, due_days, send_time, zone, footer, signature, preferences, modified_at)
SELECT n.legacy_id, n.user_key, n.numbering, n.paper, n.tax_mode, n.currency, n.default_rate, n.late_fee,
       n.logo_scale, n.show_logo, n.attach_pdf, n.due_days, n.send_time, n.zone, n.footer, n.signature,
       n.preferences, n.modified_at AT TIME ZONE 'UTC'
  FROM invoice_settings n
    ON CONFLICT (id) DO UPDATE
   SET numbering    = excluded.numbering,
       paper        = excluded.paper,
       tax_mode     = excluded.tax_mode,
       currency     = excluded.currency,
       default_rate = excluded.default_rate,
       late_fee     = excluded.late_fee,
       logo_scale   = excluded.logo_scale,
       show_logo    = excluded.show_logo,
       attach_pdf   = excluded.attach_pdf,
       due_days     = excluded.due_days,
       send_time    = excluded.send_time,
       zone         = excluded.zone,
       footer       = excluded.footer,
       signature    = excluded.signature,
       preferences  = excluded.preferences,
       css_cache    = NULL,
       modified_at  = excluded.modified_at
