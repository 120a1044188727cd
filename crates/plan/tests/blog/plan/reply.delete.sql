DELETE FROM press.reply r
 USING press.article a
 WHERE a.id = r.article_id
   AND a.owner_id = ANY (:users)
