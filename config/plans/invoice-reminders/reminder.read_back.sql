-- The new system's names become legacy's numbers again, and its schedule the three columns it was made of.
SELECT r.owner_id,
       r.legacy_id,
       r.invoice_id,
       CASE r.kind
           WHEN 'before_due' THEN 0::int2
           WHEN 'on_due' THEN 1::int2
           WHEN 'after_due' THEN 2::int2
       END                            AS kind,
       CASE r.channel
           WHEN 'email' THEN 1::int2
           WHEN 'sms' THEN 2::int2
           WHEN 'letter' THEN 3::int2
       END                            AS channel,
       (r.schedule ->> 'days')::int4  AS days_offset,
       (r.schedule ->> 'at')::timestamp AS send_at,
       r.schedule ->> 'zone'          AS zone,
       r.subject,
       r.body,
       r.enabled,
       r.amount_cap,
       r.created_at,
       r.modified_at,
       r.id
  FROM reminders.reminder r
 WHERE r.owner_id = ANY (:users)
