CREATE SCHEMA book;

CREATE TABLE book.page (
    id    bigint PRIMARY KEY,
    owner text NOT NULL,
    words text NOT NULL
);
CREATE INDEX page_owner ON book.page (owner);
