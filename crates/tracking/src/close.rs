//! The end of an attempt: the open row goes, the record stays, the user's state, the counters and the number
//! of paused users follow, in one statement for a whole batch.

use crate::attempt::columns;
use crate::{Claim, Error, Tracking};

/// How attempts end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// Proven and flipped: `completing` → completed.
    Completed,
    /// Taken back: `failing` → failed. The reason was kept when it was raised.
    Failed,
    /// Nothing to move, the user was born on the new system: `pausing` → skipped.
    Skipped,
    /// Removed at the destination and back on legacy.
    RolledBack,
    /// A rollback that was taken back: the user stays completed.
    Refused,
}

impl Closing {
    fn outcome(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::RolledBack => "rolled_back",
            Self::Refused => "refused",
        }
    }

    fn member_state(self) -> &'static str {
        match self {
            Self::Refused => "completed",
            other => other.outcome(),
        }
    }

    /// How many numbers after its own the attempt takes with it, so that no other gets them: a refused rollback shuts
    /// late workers out of Identity by the next one.
    fn spare_numbers(self) -> i64 {
        i64::from(self == Self::Refused)
    }

    /// What the open row must be for this end: the compare of the compare-and-set.
    fn condition(self) -> &'static str {
        match self {
            Self::Completed => "o.state = 'completing'",
            Self::Failed => "o.state = 'failing' AND o.kind = 'move'",
            Self::Skipped => "o.state = 'pausing'",
            Self::RolledBack => "o.state = 'rolling_back' AND o.removed_at IS NOT NULL",
            Self::Refused => {
                "o.state IN ('queued', 'rolling_back') AND o.kind = 'rollback' AND o.removed_at IS NULL"
            }
        }
    }

    fn sql(self) -> String {
        format!(
            "WITH c AS (SELECT * FROM unnest($2::text[], $3::int8[], $4::int8[], $5::int8[], $6::jsonb[])
                          AS c(user_key, version, paused_us, unpaused_us, reason)),
             gone AS (DELETE FROM handover.open_attempt o USING c
                       WHERE o.migration_id = $1 AND o.user_key = c.user_key AND o.version = c.version AND {}
                   RETURNING o.*, 'epoch'::timestamptz + c.paused_us * interval '1 microsecond' AS paused_at,
                             'epoch'::timestamptz + c.unpaused_us * interval '1 microsecond' AS unpaused_at,
                             c.reason AS last_reason),
             record AS (INSERT INTO handover.attempt (migration_id, user_key, attempt, cohort_id, kind, outcome, plan_id,
                          key_block, queued_at, paused_at, copied_at, verified_at, unpaused_at, digest, row_count, reason)
                        SELECT migration_id, user_key, attempt, cohort_id, kind, '{}', plan_id, key_block, queued_at,
                          coalesce(paused_at, admitted_at), copied_at, verified_at, unpaused_at, digest, row_count,
                          coalesce(last_reason, reason) FROM gone),
             state AS (UPDATE handover.member m SET state = '{}', version = gone.version + {} FROM gone
                        WHERE m.migration_id = gone.migration_id AND m.user_key = gone.user_key),
             count AS (INSERT INTO handover.counter SELECT cohort_id, '{}', count(*) FROM gone GROUP BY cohort_id),
             room AS (UPDATE handover.admission SET paused = paused - (SELECT count(*) FROM gone WHERE admitted_at IS NOT NULL)
                       WHERE EXISTS (SELECT FROM gone WHERE admitted_at IS NOT NULL))
             SELECT user_key, version FROM gone",
            self.condition(),
            self.outcome(),
            self.member_state(),
            self.spare_numbers(),
            self.member_state(),
        )
    }
}

/// One attempt that ends, with the times of its pause by Identity's clock (microseconds since 1970) where known.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The attempt.
    pub claim: Claim,
    /// When Identity committed the pause.
    pub paused_us: Option<i64>,
    /// When Identity committed the pause's end.
    pub unpaused_us: Option<i64>,
    /// Why, where it is not kept yet.
    pub reason: Option<serde_json::Value>,
}

impl Ended {
    /// An end without times.
    pub fn of(claim: Claim) -> Self {
        Self { claim, paused_us: None, unpaused_us: None, reason: None }
    }
}

impl Tracking {
    /// Ends those of the attempts for which the compare-and-set holds, and returns them.
    pub async fn close(&self, migration_id: i32, how: Closing, ended: &[Ended]) -> Result<Vec<Claim>, Error> {
        if ended.is_empty() {
            return Ok(Vec::new());
        }
        let claims: Vec<Claim> = ended.iter().map(|e| e.claim.clone()).collect();
        let (users, versions) = columns(&claims);
        let paused: Vec<Option<i64>> = ended.iter().map(|e| e.paused_us).collect();
        let unpaused: Vec<Option<i64>> = ended.iter().map(|e| e.unpaused_us).collect();
        let reasons: Vec<Option<&serde_json::Value>> = ended.iter().map(|e| e.reason.as_ref()).collect();
        let session = self.pool.get().await?;
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&migration_id, &users, &versions, &paused, &unpaused, &reasons];
        let rows = session.query(&how.sql(), &params).await?;
        Ok(rows.iter().map(|row| Claim { user: row.get(0), version: row.get(1) }).collect())
    }
}
