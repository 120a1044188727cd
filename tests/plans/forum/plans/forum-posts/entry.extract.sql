SELECT p.author,
       p.id           AS post,
       p.title::text  AS title,
       p.body,
       p.rating,
       p.locked::text AS locked,
       p.posted_at
  FROM forum.post p
 WHERE p.author = ANY (:users)
