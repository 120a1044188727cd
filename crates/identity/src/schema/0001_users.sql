-- Identity's truth: one row for each user that any migration has touched. A user without a row is on legacy.
--
-- The key sorts bytewise, so that every program locks rows in the same order, whatever its locale.
CREATE TABLE identity.users (
    user_key       text COLLATE "C" PRIMARY KEY CHECK (octet_length(user_key) BETWEEN 1 AND 255),
    -- The number of this row's changes. The mirror compares it, so that an older write never wins.
    revision       int8 NOT NULL CHECK (revision > 0),
    -- The migrations whose data has its home on the new system, each with the version that took it there; 0 says
    -- that the user signed up on the new system. A migration that is not named has its home on legacy.
    migrated       jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(migrated) = 'object'),
    -- For each migration the lowest version that may still begin: what is older comes late, and is refused.
    floors         jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(floors) = 'object'),
    -- The one migration that is under way, if any. The user is paused exactly while this is not null.
    open_migration text,
    open_state     text CHECK (open_state IN ('migrating', 'rolling_back')),
    open_version   int8 CHECK (open_version > 0),
    paused_at      timestamptz,
    CONSTRAINT users_open_is_whole CHECK (num_nonnulls(open_migration, open_state, open_version, paused_at) IN (0, 4)),
    -- While a user is paused, home stays where it was: legacy when migrating, new when rolling back.
    CONSTRAINT users_open_keeps_home CHECK (
        open_migration IS NULL OR (migrated ? open_migration) = (open_state = 'rolling_back'))
);

-- The paused: few, and what a reconciler lists.
CREATE INDEX users_paused ON identity.users (user_key) WHERE open_migration IS NOT NULL;

-- What was committed and is not known to be mirrored: one row a batch, written in the batch's own statement and
-- deleted once the mirror has acknowledged it.
CREATE TABLE identity.outbox (
    id    int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    users text[] NOT NULL,
    at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
