//! The truth's statements. Each changes a whole batch and notes it in the outbox, in one statement, which is
//! its own transaction: a program that stops between a change and its commit holds no lock, since there is no
//! between.
//!
//! Rows are locked in key order before any is changed, so that two batches never wait for each other. They
//! run in READ COMMITTED: a row that another batch has just changed is read again once its lock is had. They
//! are sent unprepared, so that each is planned for the table as it is now (a plan kept from when the table
//! was empty would read all of it).

/// The columns of a row, in the order that `truth::rows` reads them.
macro_rules! columns {
    () => {
        "user_key, revision, migrated, floors, open_migration, open_state, open_version, paused_at"
    };
}

/// Notes the changed users in the outbox, in the statement that changes them.
macro_rules! noted {
    () => {
        "noted AS (
            INSERT INTO identity.outbox (users)
            SELECT array_agg(user_key ORDER BY user_key) FROM changed HAVING count(*) > 0
            RETURNING id)"
    };
}

/// A statement that changes rows that are there. It returns the changed rows as they are now, and the others as
/// they were under the lock. $1 is the migration, $2 the users, $3 the versions asked for. What it takes to change a
/// row is asked of the row as it was locked: the statement's own snapshot may be older, and where it waited for
/// another batch it would miss what that batch has done.
macro_rules! update {
    (set $set:literal when $when:literal) => {
        concat!(
            "WITH held AS MATERIALIZED (
                SELECT u.*, i.asked
                FROM (SELECT user_key, asked FROM unnest($2::text[], $3::int8[]) AS i (user_key, asked)
                      ORDER BY user_key COLLATE \"C\") AS i
                CROSS JOIN LATERAL (
                    SELECT * FROM identity.users WHERE user_key = i.user_key FOR UPDATE) AS u
            ), changed AS (
                UPDATE identity.users AS u SET revision = u.revision + 1, ",
            $set,
            " FROM held AS h WHERE u.user_key = h.user_key AND (",
            $when,
            ") RETURNING u.*
            ), ",
            noted!(),
            " SELECT ",
            columns!(),
            ", true AS changed, (SELECT id FROM noted) AS outbox FROM changed
            UNION ALL
            SELECT ",
            columns!(),
            ", false, NULL FROM held
            WHERE NOT EXISTS (SELECT FROM changed AS c WHERE c.user_key = held.user_key)"
        )
    };
}

/// A statement that also makes the rows that are missing. It returns the changed rows alone: a row that another
/// batch made a moment ago is locked and judged by ON CONFLICT, but cannot be read in the same statement.
macro_rules! upsert {
    (insert ($($column:literal),*) values $values:literal set $set:literal when $when:literal) => {
        concat!(
            "WITH changed AS (
                INSERT INTO identity.users AS u (user_key, revision",
            $(", ", $column,)*
            ") SELECT i.user_key, 1, ",
            $values,
            " FROM unnest($2::text[], $3::int8[]) AS i (user_key, asked)
            ORDER BY i.user_key COLLATE \"C\"
            ON CONFLICT (user_key) DO UPDATE SET revision = u.revision + 1, ",
            $set,
            " WHERE ",
            $when,
            " RETURNING u.*
            ), ",
            noted!(),
            " SELECT ",
            columns!(),
            ", true AS changed, (SELECT id FROM noted) AS outbox FROM changed"
        )
    };
}

pub(super) const BEGIN: &str = upsert!(
    insert ("floors", "open_migration", "open_state", "open_version", "paused_at")
    values "jsonb_build_object($1::text, i.asked), $1, 'migrating', i.asked, clock_timestamp()"
    set "floors = u.floors || excluded.floors, open_migration = excluded.open_migration,
        open_state = excluded.open_state, open_version = excluded.open_version,
        paused_at = excluded.paused_at"
    when "u.open_migration IS NULL AND NOT u.migrated ? $1
        AND excluded.open_version >= coalesce((u.floors ->> $1)::int8, 0)"
);

pub(super) const RAISE: &str = upsert!(
    insert ("floors")
    values "jsonb_build_object($1::text, i.asked)"
    set "floors = u.floors || excluded.floors,
        open_version = CASE WHEN u.open_migration = $1 THEN (excluded.floors ->> $1)::int8
                            ELSE u.open_version END"
    when "CASE WHEN u.open_migration = $1 THEN u.open_version < (excluded.floors ->> $1)::int8
          ELSE coalesce((u.floors ->> $1)::int8, 0) < (excluded.floors ->> $1)::int8 END"
);

pub(super) const FLIP: &str = update!(
    set "migrated = u.migrated || jsonb_build_object($1::text, h.asked),
        floors = u.floors || jsonb_build_object($1::text, h.asked + 1),
        open_migration = NULL, open_state = NULL, open_version = NULL, paused_at = NULL"
    when "h.open_migration = $1 AND h.open_state = 'migrating' AND h.open_version = h.asked"
);

pub(super) const RELEASE: &str = update!(
    set "migrated = u.migrated - $1,
        floors = u.floors || jsonb_build_object($1::text, h.asked + 1),
        open_migration = NULL, open_state = NULL, open_version = NULL, paused_at = NULL"
    when "h.open_migration = $1 AND h.open_version = h.asked"
);

pub(super) const BEGIN_ROLLBACK: &str = update!(
    set "floors = u.floors || jsonb_build_object($1::text, h.asked),
        open_migration = $1, open_state = 'rolling_back', open_version = h.asked,
        paused_at = clock_timestamp()"
    when "h.open_migration IS NULL AND h.migrated ? $1
        AND h.asked >= coalesce((h.floors ->> $1)::int8, 0)"
);

pub(super) const RESTORE: &str = update!(
    set "floors = u.floors || jsonb_build_object($1::text, h.asked + 1),
        open_migration = NULL, open_state = NULL, open_version = NULL, paused_at = NULL"
    when "h.open_migration = $1 AND h.open_state = 'rolling_back' AND h.open_version = h.asked"
);

/// A sign-up: $1 the user, $2 the migrations. Returns the row if it was made, nothing if one was there.
pub(super) const ENROLL: &str = concat!(
    "WITH changed AS (
        INSERT INTO identity.users (user_key, revision, migrated)
        SELECT $1::text, 1, jsonb_object_agg(m, 0) FROM unnest($2::text[]) AS m
        ON CONFLICT (user_key) DO NOTHING
        RETURNING *
    ), ",
    noted!(),
    " SELECT ",
    columns!(),
    ", true AS changed, (SELECT id FROM noted) AS outbox FROM changed"
);

/// Looks rows up one by one, until the transaction's end.
pub(super) const BY_INDEX: &str =
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off";

/// Those of the users $2 who signed up on the new system in the migration $1.
pub(super) const BORN: &str = "SELECT user_key FROM unnest($2::text[]) AS i (wanted)
    CROSS JOIN LATERAL (
        SELECT user_key FROM identity.users WHERE user_key = i.wanted AND migrated ->> $1 = '0') AS u";

/// The rows of the users $1.
pub(super) const GET: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM unnest($1::text[]) AS i (wanted)
    CROSS JOIN LATERAL (SELECT * FROM identity.users WHERE user_key = i.wanted) AS u"
);

/// At most $2 rows in key order, after the key $1.
pub(super) const PAGE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM identity.users WHERE user_key > $1::text ORDER BY user_key LIMIT $2"
);

/// The paused.
pub(super) const PAUSED: &str =
    concat!("SELECT ", columns!(), " FROM identity.users WHERE open_migration IS NOT NULL ORDER BY user_key");

/// Users by their state in the migration $1.
pub(super) const COUNT: &str = "
    SELECT count(*) FILTER (WHERE open_migration IS NOT DISTINCT FROM $1::text AND open_state = 'migrating'),
           count(*) FILTER (WHERE migrated ? $1 AND open_migration IS DISTINCT FROM $1),
           count(*) FILTER (WHERE open_migration IS NOT DISTINCT FROM $1 AND open_state = 'rolling_back'),
           count(*)
    FROM identity.users";

/// Outbox rows of at least $1 seconds of age, oldest first, at most $2.
pub(super) const OUTBOX: &str = "
    SELECT id, users FROM identity.outbox
    WHERE at <= clock_timestamp() - make_interval(secs => $1::float8) ORDER BY id LIMIT $2";

/// Forgets the outbox rows $1.
pub(super) const OUTBOX_DONE: &str = "DELETE FROM identity.outbox WHERE id = ANY ($1::int8[])";

/// How many rows the outbox holds, and the age of the oldest in seconds.
pub(super) const OUTBOX_STATE: &str = "
    SELECT count(*), extract(epoch FROM clock_timestamp() - min(at))::float8 FROM identity.outbox";
