DELETE FROM reminders.recipient x
 USING reminders.reminder r
 WHERE r.id = x.reminder_id
   AND r.owner_id = ANY (:users)
