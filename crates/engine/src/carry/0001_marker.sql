-- One row a user and migration who was ever to be rolled back. An attempt claims the row before it hashes anything,
-- and loads only while the row is still its own: a worker that was stopped in the middle of an older attempt's load
-- cannot commit it once the user is somebody else's. `digest` is what the last load left in legacy.
CREATE TABLE handover_carry.marker (
    migration text COLLATE "C" NOT NULL,
    user_key  text COLLATE "C" NOT NULL,
    version   int8 NOT NULL CHECK (version > 0),
    digest    bytea CHECK (octet_length(digest) = 32),
    loaded_by int8,
    loaded_at timestamptz,
    PRIMARY KEY (migration, user_key)
);
