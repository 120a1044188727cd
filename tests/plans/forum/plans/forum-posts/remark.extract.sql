SELECT p.author,
       c.id        AS comment,
       c.post_id   AS post,
       c.who::text AS who,
       c.words,
       c.said_at
  FROM forum.post p
  JOIN forum.comment c ON c.post_id = p.id
 WHERE p.author = ANY (:users)
