-- Who stands in request paths and may still be serving a user whom a pause stops: membership, in truth, since an
-- emptied Redis must never shorten a drain. One row for each start of a gate's process.
CREATE TABLE identity.gate (
    id             text COLLATE "C" PRIMARY KEY CHECK (octet_length(id) BETWEEN 1 AND 128),
    -- What it is: `layer`, `sidecar`, `jobs`. For people only.
    kind           text NOT NULL CHECK (octet_length(kind) BETWEEN 1 AND 63),
    registered_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen      timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- For how long after it was last heard of it goes on admitting requests.
    lease_ms       int8 NOT NULL CHECK (lease_ms BETWEEN 1 AND 3600000),
    -- For how long an admitted request may still be answered.
    max_request_ms int8 NOT NULL CHECK (max_request_ms BETWEEN 1 AND 3600000),
    -- When it signed off: it has let go of everything.
    ended_at       timestamptz
);
