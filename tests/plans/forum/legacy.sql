-- A forum that has nothing to do with the worked example: users are UUIDs, a post's tags hang from it, and what a
-- user wrote below others' posts stays with these.
CREATE SCHEMA forum;

CREATE TABLE forum.account (
    id     uuid PRIMARY KEY,
    handle varchar(40) NOT NULL UNIQUE
);

CREATE TABLE forum.post (
    id        serial PRIMARY KEY,
    author    uuid NOT NULL REFERENCES forum.account (id),
    title     varchar(120) NOT NULL,
    body      text,
    rating    real,
    locked    char(1) NOT NULL DEFAULT 'n',
    posted_at timestamptz NOT NULL,
    hits      bigint NOT NULL DEFAULT 0
);
CREATE INDEX post_author ON forum.post (author);

CREATE TABLE forum.comment (
    id      bigserial PRIMARY KEY,
    post_id integer NOT NULL REFERENCES forum.post (id),
    who     varchar(40),
    words   text NOT NULL,
    said_at timestamptz NOT NULL,
    from_ip inet
);
CREATE INDEX comment_post_id ON forum.comment (post_id);

CREATE TABLE forum.tag (
    post_id integer NOT NULL REFERENCES forum.post (id),
    label   text NOT NULL,
    weight  numeric(4, 2),
    PRIMARY KEY (post_id, label)
);

CREATE TABLE forum.session (
    token   text PRIMARY KEY,
    account uuid NOT NULL REFERENCES forum.account (id)
);

INSERT INTO forum.account
SELECT ('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'member ' || n FROM generate_series(1, 8) n;

-- Account 1 has no post, each other one more than the one before.
INSERT INTO forum.post (author, title, body, rating, locked, posted_at)
SELECT a.id, 'Titel ' || k || ' – "quoted" \ {braces}', CASE WHEN k % 3 > 0 THEN repeat('Text ', k::int) END,
       (ARRAY[NULL, 0.1, 'NaN', '-0', 3.5]::real[])[k % 5 + 1], CASE WHEN k % 2 = 0 THEN 'y' ELSE 'n' END,
       '2021-03-28 01:30:00.000001+00'::timestamptz + k * interval '1 day'
  FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM forum.account) a, generate_series(1, a.n - 1) k;

INSERT INTO forum.comment (post_id, who, words, said_at, from_ip)
SELECT p.id, CASE WHEN k > 1 THEN 'reader ' || k END, 'word ' || k || E'\n', p.posted_at + k * interval '1 hour',
       ('10.0.0.' || k || '/24')::inet
  FROM forum.post p, generate_series(1, p.id % 4) k;

INSERT INTO forum.tag
SELECT p.id, label, CASE WHEN label = 'rust' THEN 1.50 END
  FROM forum.post p, unnest(ARRAY['rust', 'größe', 'a b']) label WHERE p.id % 3 > 0 OR label = 'rust';
