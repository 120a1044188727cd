-- Which Redis server the mirror is on: the one that the leading reconciler rebuilt last, by its run id. Only there do
-- heartbeats go, and only what that server acknowledges counts as mirrored. A token in its place (`!…`) stands while a
-- leader changes from one server to another. No row: no leader was ever here.
CREATE TABLE identity.mirror (
    only_one   boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    run_id     text NOT NULL,
    adopted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
