//! Folding of the appended counter deltas, so that a status reads few rows however long a cohort runs.

use crate::{Error, Tracking};

impl Tracking {
    /// Folds the deltas of each cohort into one row a state; returns how many rows went. A status that is read
    /// meanwhile sees either the old rows or the new.
    pub async fn fold_counters(&self) -> Result<i64, Error> {
        let sql = "WITH old AS (DELETE FROM handover.counter WHERE ctid = ANY(ARRAY(SELECT ctid FROM handover.counter
                        LIMIT 20000 FOR UPDATE SKIP LOCKED)) RETURNING cohort_id, state, delta),
             new AS (INSERT INTO handover.counter SELECT cohort_id, state, sum(delta) FROM old GROUP BY 1, 2 RETURNING 1)
            SELECT (SELECT count(*) FROM old) - (SELECT count(*) FROM new)";
        Ok(self.pool.get().await?.query_one(sql, &[]).await?.get(0))
    }
}
