//! What starts users on their way: launch, retry, rollback.

use crate::{CohortInfo, Error, Tracking};

/// What a launch did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Launched {
    /// Users who are now queued.
    pub queued: i64,
    /// Users of the cohort who are still not launched.
    pub not_started: i64,
}

/// What a cancel did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Cancelled {
    /// Users who were queued and are not started again.
    pub withdrawn: i64,
    /// Users on their way, who are let finish.
    pub on_their_way: i64,
}

/// Which users a retry sends again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryOf {
    /// Those who failed.
    Failed,
    /// Those who were rolled back.
    RolledBack,
}

impl RetryOf {
    fn state(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
        }
    }
}

impl Tracking {
    /// Queues the cohort's users who were never launched, the first `limit` of them, in the order they were
    /// added. Repeating it does nothing more: users who are queued, moving, completed or failed are left alone.
    pub async fn launch(&self, cohort: &CohortInfo, limit: Option<i64>) -> Result<Launched, Error> {
        let mut session = self.pool.get().await?;
        let transaction = session.transaction().await?;
        let lock = "SELECT launched_seq, last_seq FROM handover.cohort WHERE id = $1 FOR UPDATE";
        let row = transaction.query_one(lock, &[&cohort.id]).await?;
        let (launched, last): (i64, i64) = (row.get(0), row.get(1));
        let next = "SELECT count(*), max(seq) FROM (SELECT seq FROM handover.member
                     WHERE cohort_id = $1 AND seq > $2 ORDER BY seq LIMIT $3) q";
        let row = transaction.query_one(next, &[&cohort.id, &launched, &limit.unwrap_or(i64::MAX)]).await?;
        let (queued, upto): (i64, Option<i64>) = (row.get(0), row.get(1));
        if let Some(upto) = upto {
            let move_on = "UPDATE handover.cohort SET launched_seq = $2, launched_at = now() WHERE id = $1";
            transaction.execute(move_on, &[&cohort.id, &upto]).await?;
            let count =
                "INSERT INTO handover.counter VALUES ($1, 'not_started', -$2::int8), ($1, 'queued', $2)";
            transaction.execute(count, &[&cohort.id, &queued]).await?;
        }
        let rest = "SELECT count(*) FROM handover.member WHERE cohort_id = $1 AND seq > $2 AND seq <= $3";
        let not_started =
            transaction.query_one(rest, &[&cohort.id, &upto.unwrap_or(launched), &last]).await?.get(0);
        transaction.commit().await?;
        Ok(Launched { queued, not_started })
    }

    /// Queues again the users of a cohort who ended in that state; all, or those named. Returns how many. What
    /// failed before is not held against the cohort any more.
    pub async fn retry(
        &self,
        cohort: &CohortInfo,
        of: RetryOf,
        users: Option<&[String]>,
    ) -> Result<i64, Error> {
        let sql = "WITH asked AS (INSERT INTO handover.request (kind, migration_id, user_key, cohort_id)
                SELECT 'move', m.migration_id, m.user_key, m.cohort_id FROM handover.member m
                 WHERE m.cohort_id = $1 AND m.state = $2::text::handover.member_state
                   AND ($3::text[] IS NULL OR m.user_key = ANY($3))
                   AND NOT EXISTS (SELECT FROM handover.open_attempt o
                                    WHERE o.migration_id = m.migration_id AND o.user_key = m.user_key)
                ON CONFLICT DO NOTHING RETURNING 1),
             anew AS (UPDATE handover.cohort SET judged_from = clock_timestamp()
                       WHERE id = $1 AND EXISTS (SELECT FROM asked)),
             count AS (INSERT INTO handover.counter SELECT $1, v.state::handover.member_state, v.sign * n
                FROM (SELECT count(*) n FROM asked) a, (VALUES ($2, -1), ('queued', 1)) v(state, sign) WHERE n > 0)
            SELECT count(*) FROM asked";
        self.ask(sql, cohort, &[&cohort.id, &of.state(), &users]).await
    }

    /// Asks for the rollback of a cohort's completed users; all, or those named. Returns how many.
    pub async fn request_rollback(
        &self,
        cohort: &CohortInfo,
        users: Option<&[String]>,
    ) -> Result<i64, Error> {
        self.ask_back(cohort, users, false).await
    }

    /// The same, and lets the rollback carry what has changed on the new system back to legacy.
    pub async fn request_carry_back(
        &self,
        cohort: &CohortInfo,
        users: Option<&[String]>,
    ) -> Result<i64, Error> {
        self.ask_back(cohort, users, true).await
    }

    async fn ask_back(
        &self,
        cohort: &CohortInfo,
        users: Option<&[String]>,
        carry_back: bool,
    ) -> Result<i64, Error> {
        let sql = "WITH asked AS (INSERT INTO handover.request (kind, migration_id, user_key, cohort_id, carry_back)
                SELECT 'rollback', m.migration_id, m.user_key, m.cohort_id, $3 FROM handover.member m
                 WHERE m.cohort_id = $1 AND m.state = 'completed' AND ($2::text[] IS NULL OR m.user_key = ANY($2))
                   AND NOT EXISTS (SELECT FROM handover.open_attempt o
                                    WHERE o.migration_id = m.migration_id AND o.user_key = m.user_key)
                ON CONFLICT DO NOTHING RETURNING 1),
             count AS (INSERT INTO handover.counter
                SELECT $1, 'rollback_requested', count(*) FROM asked HAVING count(*) > 0)
            SELECT count(*) FROM asked";
        self.ask(sql, cohort, &[&cohort.id, &users, &carry_back]).await
    }

    /// Runs a statement that asks for users to be drawn; it returns how many. Under the cohort's lock, which a
    /// draw holds too: else a user whose request is being drawn would be asked for a second time.
    async fn ask(
        &self,
        sql: &str,
        cohort: &CohortInfo,
        params: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<i64, Error> {
        let mut session = self.pool.get().await?;
        let transaction = session.transaction().await?;
        transaction.execute("SELECT FROM handover.cohort WHERE id = $1 FOR UPDATE", &[&cohort.id]).await?;
        let asked = transaction.query_one(sql, params).await?.get(0);
        transaction.commit().await?;
        Ok(asked)
    }
}
