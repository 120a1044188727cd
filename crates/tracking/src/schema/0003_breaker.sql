-- The circuit breaker: from when on a cohort's moves are judged. A release and a retry begin anew.
ALTER TABLE handover.cohort ADD COLUMN judged_from timestamptz NOT NULL DEFAULT '-infinity';

-- Mismatches are few, or the cohort is held: counting them reads nothing else.
CREATE INDEX attempt_mismatch ON handover.attempt (cohort_id, ended_at)
    WHERE outcome = 'failed' AND reason ->> 'kind' IN ('mismatch', 'derived', 'source_changed');
