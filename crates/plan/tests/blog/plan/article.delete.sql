DELETE FROM press.article WHERE owner_id = ANY (:users)
