DELETE FROM board.remark r
 USING board.entry e
 WHERE e.id = r.entry_id
   AND e.owner = ANY (:users)
