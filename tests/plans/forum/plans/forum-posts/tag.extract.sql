SELECT p.author,
       t.post_id         AS post,
       t.label,
       t.weight::numeric AS weight
  FROM forum.post p
  JOIN forum.tag t ON t.post_id = p.id
 WHERE p.author = ANY (:users)
