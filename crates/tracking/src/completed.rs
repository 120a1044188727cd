//! Users who have moved and stand still, with what their attempts' digests can be recomputed by.

use tokio_postgres::Row;

use crate::{CohortInfo, Error, Kind, OpenAttempt, OpenState, Tracking};

/// A user who has moved.
#[derive(Clone, Debug)]
pub struct Completed {
    /// The user's place in the cohort; the next page begins after it.
    pub seq: i64,
    /// The attempt that moved the user, as it stood when it was completed.
    pub attempt: OpenAttempt,
}

macro_rules! completed {
    ($rest:literal) => {
        concat!(
            "SELECT m.seq, m.user_key, m.migration_id, m.cohort_id, a.attempt, a.plan_id, a.key_block, a.digest
               FROM handover.member m
              CROSS JOIN LATERAL (SELECT * FROM handover.attempt a
                    WHERE a.migration_id = m.migration_id AND a.user_key = m.user_key AND a.kind = 'move'
                      AND a.outcome = 'completed' ORDER BY a.attempt DESC LIMIT 1) a
              WHERE m.cohort_id = $1 AND m.state = 'completed' AND a.digest IS NOT NULL
                AND NOT EXISTS (SELECT FROM handover.open_attempt o
                                 WHERE o.migration_id = m.migration_id AND o.user_key = m.user_key) ",
            $rest
        )
    };
}

const PAGE: &str = completed!("AND m.seq > $2 ORDER BY m.seq LIMIT $3");
const SAMPLE: &str = completed!("ORDER BY random() LIMIT $2");
const STILL: &str = completed!("AND m.user_key = $2 AND a.attempt = $3");

impl Tracking {
    /// The cohort's completed users after that place, in the cohort's order. Users on their way back are left out.
    pub async fn completed(
        &self,
        cohort: &CohortInfo,
        after: i64,
        limit: i64,
    ) -> Result<Vec<Completed>, Error> {
        let rows = self.pool.get().await?.query(PAGE, &[&cohort.id, &after, &limit]).await?;
        Ok(rows.iter().map(completed).collect())
    }

    /// So many of the cohort's completed users, drawn at random.
    pub async fn sample(&self, cohort: &CohortInfo, size: i64) -> Result<Vec<Completed>, Error> {
        let rows = self.pool.get().await?.query(SAMPLE, &[&cohort.id, &size]).await?;
        Ok(rows.iter().map(completed).collect())
    }

    /// Whether the user is still completed by that attempt, and on no way back.
    pub async fn still_completed(&self, attempt: &OpenAttempt) -> Result<bool, Error> {
        let session = self.pool.get().await?;
        let found = session.query(STILL, &[&attempt.cohort_id, &attempt.user, &attempt.attempt]).await?;
        Ok(!found.is_empty())
    }
}

fn completed(row: &Row) -> Completed {
    let number: i64 = row.get(4);
    let attempt = OpenAttempt {
        user: row.get(1),
        migration_id: row.get(2),
        cohort_id: row.get(3),
        kind: Kind::Move,
        version: number,
        attempt: number,
        state: OpenState::Completing,
        plan_id: row.get(5),
        key_block: row.get(6),
        fence_lsn: None,
        fence_system: None,
        digest: row.get(7),
        observed: None,
        copied: true,
        removed: false,
        reason: None,
        admitted_ms: None,
        carry_back: false,
    };
    Completed { seq: row.get(0), attempt }
}
