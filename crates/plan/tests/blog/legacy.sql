CREATE SCHEMA blog;

CREATE TABLE blog.member (
    id     serial PRIMARY KEY,
    login  varchar(40) NOT NULL UNIQUE,
    joined timestamp NOT NULL
);

-- state: 0 draft, 1 published, 2 archived. published_at is UTC.
CREATE TABLE blog.post (
    id              bigserial PRIMARY KEY,
    author_id       integer NOT NULL REFERENCES blog.member (id),
    slug            varchar(80) NOT NULL,
    title           varchar(200) NOT NULL,
    body            text,
    state           smallint NOT NULL,
    seo_description varchar(300),
    seo_hidden      boolean NOT NULL,
    published_at    timestamp,
    word_count      integer,
    deleted         boolean NOT NULL
);
CREATE INDEX post_author_id ON blog.post (author_id);

CREATE TABLE blog.comment (
    id          bigserial PRIMARY KEY,
    post_id     bigint NOT NULL REFERENCES blog.post (id),
    author_name varchar(80),
    body        text NOT NULL,
    written_at  timestamptz NOT NULL,
    spam_score  real
);
CREATE INDEX comment_post_id ON blog.comment (post_id);

CREATE TABLE blog.tag (
    id   serial PRIMARY KEY,
    name varchar(40) NOT NULL UNIQUE
);

CREATE TABLE blog.post_tag (
    post_id bigint NOT NULL REFERENCES blog.post (id),
    tag_id  integer NOT NULL REFERENCES blog.tag (id),
    PRIMARY KEY (post_id, tag_id)
);

CREATE TABLE blog.login_session (
    token     text PRIMARY KEY,
    member_id integer NOT NULL REFERENCES blog.member (id)
);
