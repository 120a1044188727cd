SELECT e.owner,
       e.legacy_no                                           AS post,
       e.headline                                            AS title,
       e.text                                                AS body,
       e.stars                                               AS rating,
       CASE e.access WHEN 'open' THEN 'n' WHEN 'closed' THEN 'y' END AS locked,
       e.posted_at,
       e.id
  FROM board.entry e
 WHERE e.owner = ANY (:users)
