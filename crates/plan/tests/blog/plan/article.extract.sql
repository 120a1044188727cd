-- The casts drop lengths from the types, never from the values. A post without a body has an empty one.
SELECT p.author_id::int8                 AS author,
       p.id                              AS legacy_id,
       p.slug::text                      AS slug,
       p.title::text                     AS title,
       coalesce(p.body, '')              AS body,
       p.state,
       p.seo_description::text           AS seo_description,
       p.seo_hidden,
       p.published_at AT TIME ZONE 'UTC' AS published_at,
       ARRAY(SELECT t.name::text
               FROM blog.post_tag x
               JOIN blog.tag t ON t.id = x.tag_id
              WHERE x.post_id = p.id
              ORDER BY t.name COLLATE "C") AS tags
  FROM blog.post p
 WHERE p.author_id = ANY (:users)
   AND NOT p.deleted
