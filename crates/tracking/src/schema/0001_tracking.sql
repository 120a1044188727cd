-- Tracking: which users move, in which cohorts, and how far each attempt has come.

CREATE TABLE handover.installation (
    only_one     boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    user_key     text NOT NULL CHECK (user_key IN ('int8', 'uuid', 'text')),
    created_at   timestamptz NOT NULL DEFAULT now()
);

-- Every plan an attempt was ever pinned to, whole: a worker needs no plan folder of its own, and a rollback
-- a year later uses the plan of then.
CREATE TABLE handover.plan (
    id           integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    migration    text NOT NULL,
    hash         bytea NOT NULL UNIQUE CHECK (octet_length(hash) = 32),
    files        jsonb NOT NULL,
    stored_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE handover.migration (
    id           integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    plan_id      integer NOT NULL REFERENCES handover.plan (id)
);

-- Users of a cohort are numbered by `seq`. Launching moves `launched_seq` on and touches no user; drawing moves
-- `drawn_seq` after it. A user between the two is queued.
CREATE TABLE handover.cohort (
    id           integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    migration_id integer NOT NULL REFERENCES handover.migration (id),
    name         text NOT NULL UNIQUE CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$'),
    last_seq     bigint NOT NULL DEFAULT 0,
    launched_seq bigint NOT NULL DEFAULT 0 CHECK (launched_seq <= last_seq),
    drawn_seq    bigint NOT NULL DEFAULT 0 CHECK (drawn_seq <= launched_seq),
    held         boolean NOT NULL DEFAULT false,
    held_reason  text,
    created_at   timestamptz NOT NULL DEFAULT now(),
    launched_at  timestamptz,
    drawn_at     timestamptz NOT NULL DEFAULT '-infinity'
);

-- An attempt in progress changes nothing here: a user who is on the way still shows the state of before.
-- `queued` and `rollback_requested` are used by the counters alone; the latter counts users who are counted as
-- completed too.
CREATE TYPE handover.member_state AS ENUM
    ('not_started', 'queued', 'completed', 'failed', 'rolled_back', 'skipped', 'rollback_requested');

-- One row a user and migration. No index names `state` or `version`, so that an update of them stays HOT.
CREATE TABLE handover.member (
    migration_id integer NOT NULL,
    user_key     text NOT NULL CHECK (octet_length(user_key) BETWEEN 1 AND 255),
    cohort_id    integer NOT NULL,
    seq          bigint NOT NULL,
    version      bigint NOT NULL DEFAULT 0,
    state        handover.member_state NOT NULL DEFAULT 'not_started',
    PRIMARY KEY (migration_id, user_key)
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX member_seq ON handover.member (cohort_id, seq);

CREATE TYPE handover.kind AS ENUM ('move', 'rollback');

-- Users who were told to go again (a retry, a released hold) or back (a rollback), waiting to be drawn.
CREATE TABLE handover.request (
    id           bigint GENERATED ALWAYS AS IDENTITY,
    kind         handover.kind NOT NULL,
    migration_id integer NOT NULL,
    user_key     text NOT NULL,
    cohort_id    integer NOT NULL,
    PRIMARY KEY (migration_id, user_key)
);
CREATE INDEX request_order ON handover.request (kind, cohort_id, id);

CREATE TYPE handover.open_state AS ENUM
    ('queued', 'pausing', 'copying', 'verifying', 'completing', 'rolling_back', 'failing');

-- Attempts in progress: a small table. `version` is the fencing token and grows while an attempt is taken back;
-- `attempt` is the number it began with.
CREATE TABLE handover.open_attempt (
    migration_id integer NOT NULL,
    user_key     text NOT NULL,
    cohort_id    integer NOT NULL,
    kind         handover.kind NOT NULL,
    version      bigint NOT NULL,
    attempt      bigint NOT NULL,
    state        handover.open_state NOT NULL DEFAULT 'queued',
    plan_id      integer NOT NULL,
    key_block    bytea NOT NULL CHECK (octet_length(key_block) = 64),
    queued_at    timestamptz NOT NULL DEFAULT now(),
    admitted_at  timestamptz,
    state_at     timestamptz NOT NULL DEFAULT now(),
    copied_at    timestamptz,
    verified_at  timestamptz,
    removed_at   timestamptz,
    fence_lsn    pg_lsn,
    fence_system text,
    digest       bytea,
    observed     bytea,
    row_count    bigint,
    reason       jsonb,
    PRIMARY KEY (migration_id, user_key)
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_cost_delay = 0);

-- Attempts that have ended.
CREATE TABLE handover.attempt (
    migration_id integer NOT NULL,
    user_key     text NOT NULL,
    attempt      bigint NOT NULL,
    cohort_id    integer NOT NULL,
    kind         handover.kind NOT NULL,
    outcome      text NOT NULL CHECK (outcome IN ('completed', 'failed', 'skipped', 'rolled_back', 'refused')),
    plan_id      integer NOT NULL,
    key_block    bytea NOT NULL,
    queued_at    timestamptz NOT NULL,
    paused_at    timestamptz,
    copied_at    timestamptz,
    verified_at  timestamptz,
    unpaused_at  timestamptz,
    ended_at     timestamptz NOT NULL DEFAULT now(),
    digest       bytea,
    row_count    bigint,
    reason       jsonb,
    PRIMARY KEY (migration_id, user_key, attempt)
);
CREATE INDEX attempt_ended ON handover.attempt (cohort_id, ended_at);

-- How many users are paused now. One row, changed once a batch, in the transactions that pause and unpause.
CREATE TABLE handover.admission (
    only_one     boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    paused       integer NOT NULL DEFAULT 0 CHECK (paused >= 0)
) WITH (fillfactor = 10);
INSERT INTO handover.admission DEFAULT VALUES;

-- Users by state, of the states that are not open: appended deltas, folded by the reconciler. A counter row
-- that every batch updates would be a queue that all workers stand in.
CREATE TABLE handover.counter (
    cohort_id    integer NOT NULL,
    state        handover.member_state NOT NULL,
    delta        bigint NOT NULL
);
CREATE INDEX counter_cohort ON handover.counter (cohort_id);
