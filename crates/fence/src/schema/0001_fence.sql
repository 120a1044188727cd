-- The database fence's own tables and the functions that all its triggers share.
-- docs/fence.md tells the protocol; the triggers themselves are generated for each table of a plan.

-- One row a user and migration while writes are refused. A migration's name ends in `@new` for the fence of the
-- destination's tables: both may stand in one database. `paused`: on the way out of this database; `moved`: gone
-- from it; `returning`: on the way back to it.
-- `drained`: no transaction that wrote for the user before the row was there is still open. The reading
-- snapshot must see that, not merely the row: the row is committed before those transactions end.
CREATE TABLE handover_fence.fenced (
    user_key  text COLLATE "C" NOT NULL,
    migration text COLLATE "C" NOT NULL,
    version   int8 NOT NULL CHECK (version > 0),
    state     text NOT NULL CHECK (state IN ('paused', 'moved', 'returning')),
    home      text NOT NULL GENERATED ALWAYS AS
                  (CASE WHEN (state = 'paused') = (right(migration, 4) <> '@new') THEN 'legacy' ELSE 'new' END) STORED,
    drained   boolean NOT NULL DEFAULT false,
    since     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (user_key, migration)
);
CREATE INDEX fenced_migration ON handover_fence.fenced (migration, state);

-- A sequence is the one thing that an old snapshot cannot hide: where it is ahead of the number that the
-- snapshot shows, a fence was raised that the snapshot does not show.
CREATE SEQUENCE handover_fence.raised;
CREATE TABLE handover_fence.clock (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    n      int8 NOT NULL
) WITH (fillfactor = 20);
-- Drawn once: a fresh sequence and one that was used once have the same last_value.
INSERT INTO handover_fence.clock (n) VALUES (nextval('handover_fence.raised'));

-- Parent rows that went from one user to another (`!` is nobody). Whoever wrote their child rows may still
-- hold the old user's lock alone, so raising the new user's fence waits for the old user's bucket as well.
CREATE TABLE handover_fence.crossing (
    id        int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    migration text COLLATE "C" NOT NULL,
    old_key   text COLLATE "C" NOT NULL,
    new_key   text COLLATE "C" NOT NULL,
    at        timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX crossing_new_key ON handover_fence.crossing (new_key, migration);

-- What is installed. `role`: `moves` or `path`; `definition`: a hash of the generated SQL.
CREATE TABLE handover_fence.guarded (
    migration   text COLLATE "C" NOT NULL,
    schema_name text COLLATE "C" NOT NULL,
    table_name  text COLLATE "C" NOT NULL,
    role        text NOT NULL,
    definition  text NOT NULL,
    PRIMARY KEY (migration, schema_name, table_name)
);

-- The bucket of a user's advisory lock; `!` stands for rows that reach no user yet, and for whole tables.
CREATE FUNCTION handover_fence.bucket(user_key text) RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN user_key = '!' THEN -1 ELSE pg_catalog.hashtext(user_key) & 511 END;

-- Whether a fence was raised that this transaction's snapshot does not show.
CREATE FUNCTION handover_fence.behind() RETURNS boolean LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT last_value FROM handover_fence.raised) <> (SELECT n FROM handover_fence.clock);
END $$;

CREATE FUNCTION handover_fence.stale() RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'serialization_failure',
        MESSAGE = 'a user was paused after this transaction''s snapshot was taken',
        HINT = 'Begin the transaction again: it will then be told where the user lives.';
END $$;

-- Fails where the user is fenced by a row that the snapshot hides: a unique index sees what no query sees.
-- The row that asks is rolled back with its subtransaction.
CREATE FUNCTION handover_fence.probe(of_user text, of_migration text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO handover_fence.fenced (user_key, migration, version, state)
        VALUES (of_user, of_migration, 1, 'paused') ON CONFLICT DO NOTHING;
    RAISE EXCEPTION USING ERRCODE = 'MV999';
EXCEPTION
    WHEN SQLSTATE 'MV999' THEN RETURN;
    WHEN serialization_failure THEN PERFORM handover_fence.stale();
END $$;

-- The refusal of a write. MV001: come back when the pause is over. MV002: the home is elsewhere, for good.
CREATE FUNCTION handover_fence.refuse(of_user text, of_migration text, state text, in_schema text, in_table text)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    is_new boolean := right(of_migration, 4) = '@new';
    name   text := regexp_replace(of_migration, '@new$', '');
BEGIN
    IF state = 'moved' AND is_new THEN
        RAISE EXCEPTION USING ERRCODE = 'MV002', SCHEMA = in_schema, TABLE = in_table,
            MESSAGE = format('user %s lives on legacy: %s has gone back there', of_user, name),
            HINT = 'Ask the gate where the user lives, and write there.';
    ELSIF state = 'moved' THEN
        RAISE EXCEPTION USING ERRCODE = 'MV002', SCHEMA = in_schema, TABLE = in_table,
            MESSAGE = format('user %s lives on the new system: %s has moved there', of_user, name),
            HINT = 'Ask the gate where the user lives, and write there.';
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'MV001', SCHEMA = in_schema, TABLE = in_table,
        MESSAGE = format('user %s is paused: %s is on its way to %s', of_user, name,
                         CASE WHEN (state = 'paused') = is_new THEN 'legacy' ELSE 'the new system' END),
        HINT = 'Ask the gate, which holds the request until the pause is over.';
END $$;

CREATE FUNCTION handover_fence.refuse_truncate(of_migration text, in_schema text, in_table text)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- 1751215716 is "hand": the class of all the fence's advisory locks.
    PERFORM pg_advisory_xact_lock_shared(1751215716, handover_fence.bucket('!'));
    IF EXISTS (SELECT FROM handover_fence.fenced f WHERE f.migration = of_migration COLLATE "C") THEN
        RAISE EXCEPTION USING ERRCODE = 'MV003', SCHEMA = in_schema, TABLE = in_table,
            MESSAGE = format('%I.%I cannot be truncated: users of it are being moved or have moved (%s)',
                             in_schema, in_table, regexp_replace(of_migration, '@new$', '')),
            HINT = 'Delete the rows of users who live here.';
    END IF;
    IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable')
       AND handover_fence.behind() THEN
        PERFORM handover_fence.stale();
    END IF;
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA handover_fence FROM PUBLIC;
