-- Labels stay: they are everybody's.
DELETE FROM board.entry_label x
 USING board.entry e
 WHERE e.id = x.entry_id
   AND e.owner = ANY (:users)
