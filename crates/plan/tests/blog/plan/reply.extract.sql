SELECT p.author_id::int8   AS author_id,
       c.id                AS legacy_id,
       c.post_id           AS post,
       c.author_name::text AS author,
       c.body,
       c.written_at
  FROM blog.post p
  JOIN blog.comment c ON c.post_id = p.id
 WHERE p.author_id = ANY (:users)
   AND NOT p.deleted
