CREATE SCHEMA board;

CREATE TYPE board.access AS ENUM ('open', 'closed');

CREATE TABLE board.entry (
    id        uuid PRIMARY KEY,
    owner     uuid NOT NULL,
    legacy_no integer NOT NULL UNIQUE,
    headline  text NOT NULL,
    text      text,
    stars     real,
    access    board.access NOT NULL,
    posted_at timestamptz NOT NULL,
    views     bigint NOT NULL DEFAULT 0
);
CREATE INDEX entry_owner ON board.entry (owner);

CREATE TABLE board.remark (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entry_id  uuid NOT NULL REFERENCES board.entry (id),
    legacy_no bigint NOT NULL UNIQUE,
    remark    jsonb NOT NULL
);
CREATE INDEX remark_entry_id ON board.remark (entry_id);

-- One list of labels for everybody.
CREATE TABLE board.label (
    id   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE
);

CREATE TABLE board.entry_label (
    entry_id uuid NOT NULL REFERENCES board.entry (id),
    label_id integer NOT NULL REFERENCES board.label (id),
    weight   numeric,
    PRIMARY KEY (entry_id, label_id)
);
