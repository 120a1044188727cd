DELETE FROM reminders.reminder WHERE owner_id = ANY (:users)
