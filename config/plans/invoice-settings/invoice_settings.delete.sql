DELETE FROM settings.invoice_settings WHERE owner_id = ANY (:users)
