SELECT e.owner,
       r.legacy_no                          AS comment,
       e.legacy_no                          AS post,
       r.remark ->> 'who'                   AS who,
       r.remark ->> 'words'                 AS words,
       (r.remark ->> 'at')::timestamptz     AS said_at
  FROM board.entry e
  JOIN board.remark r ON r.entry_id = e.id
 WHERE e.owner = ANY (:users)
