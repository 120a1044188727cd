SELECT e.owner,
       e.legacy_no AS post,
       l.name      AS label,
       x.weight
  FROM board.entry e
  JOIN board.entry_label x ON x.entry_id = e.id
  JOIN board.label l ON l.id = x.label_id
 WHERE e.owner = ANY (:users)
