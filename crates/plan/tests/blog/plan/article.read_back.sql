-- The new system's names become legacy's numbers again. Last comes the derived column.
SELECT a.owner_id,
       a.legacy_id,
       a.slug,
       a.title,
       a.body,
       CASE a.state
           WHEN 'draft' THEN 0::int2
           WHEN 'published' THEN 1::int2
           WHEN 'archived' THEN 2::int2
       END                            AS state,
       a.seo ->> 'description'        AS seo_description,
       (a.seo ->> 'hidden')::bool     AS seo_hidden,
       a.published_at,
       a.tags,
       a.id
  FROM press.article a
 WHERE a.owner_id = ANY (:users)
