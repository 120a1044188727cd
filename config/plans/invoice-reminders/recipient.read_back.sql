SELECT r.owner_id,
       x.legacy_id,
       r.legacy_id AS reminder,
       x.email,
       x.tags
  FROM reminders.reminder r
  JOIN reminders.recipient x ON x.reminder_id = r.id
 WHERE r.owner_id = ANY (:users)
