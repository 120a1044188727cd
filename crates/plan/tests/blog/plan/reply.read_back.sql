-- article_id is not returned: it is computed from the post's number, which the join proves.
SELECT a.owner_id,
       r.legacy_id,
       a.legacy_id AS post,
       r.author,
       r.body,
       r.written_at
  FROM press.article a
  JOIN press.reply r ON r.article_id = a.id
 WHERE a.owner_id = ANY (:users)
