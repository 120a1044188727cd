-- Users are known by what they chose to be called.
CREATE SCHEMA pad;

CREATE TABLE pad.note (
    id    bigserial PRIMARY KEY,
    login text NOT NULL,
    text  text NOT NULL
);
CREATE INDEX note_login ON pad.note (login);
