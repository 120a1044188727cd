//! What a demonstration measures, from tracking's and Identity's own tables.

use std::time::Duration;

use anyhow::Result;
use handover_identity::State;
use handover_tracking::{CohortInfo, Tracking};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::context::Context;

/// How often the number of paused users is sampled.
const EVERY: Duration = Duration::from_millis(20);

/// Samples how many users tracking shows between `pausing` and `completing`.
pub(crate) struct Watcher {
    over: CancellationToken,
    task: JoinHandle<i64>,
}

impl Watcher {
    pub(crate) fn start(tracking: Tracking) -> Self {
        let over = CancellationToken::new();
        let task = tokio::spawn(sample(tracking, over.clone()));
        Self { over, task }
    }

    /// The most that was seen.
    pub(crate) async fn stop(self) -> i64 {
        self.over.cancel();
        self.task.await.unwrap_or(-1)
    }
}

async fn sample(tracking: Tracking, over: CancellationToken) -> i64 {
    let sql = "SELECT count(*) FROM handover.open_attempt WHERE state NOT IN ('queued', 'rolling_back')";
    let mut ticks = tokio::time::interval(EVERY);
    let mut most = 0;
    while over.run_until_cancelled(ticks.tick()).await.is_some() {
        let Ok(session) = tracking.pool().get().await else { continue };
        if let Ok(row) = session.query_one(sql, &[]).await {
            most = most.max(row.get(0));
        }
    }
    most
}

/// What the attempts of a cohort came to.
pub(crate) struct Attempts {
    pub(crate) rows: i64,
    pub(crate) compared: i64,
    pub(crate) mismatches: i64,
    pub(crate) pause_p50_ms: f64,
    pub(crate) pause_p99_ms: f64,
    pub(crate) seconds: f64,
}

pub(crate) async fn attempts(tracking: &Tracking, cohort: &CohortInfo) -> Result<Attempts> {
    let sql = "WITH a AS (SELECT *, extract(epoch FROM unpaused_at - paused_at)::float8 * 1000 AS pause_ms,
            reason->>'kind' AS why FROM handover.attempt WHERE cohort_id = $1 AND kind = 'move')
        SELECT coalesce(sum(row_count) FILTER (WHERE outcome = 'completed'), 0)::int8,
               count(*) FILTER (WHERE verified_at IS NOT NULL OR why IN ('mismatch', 'derived', 'source_changed')),
               count(*) FILTER (WHERE why IN ('mismatch', 'derived', 'source_changed')),
               coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY pause_ms), 0),
               coalesce(percentile_cont(0.99) WITHIN GROUP (ORDER BY pause_ms), 0),
               coalesce(extract(epoch FROM max(a.ended_at) - (SELECT launched_at FROM handover.cohort WHERE id = $1)), 0)::float8
          FROM a";
    let row = tracking.pool().get().await?.query_one(sql, &[&cohort.id]).await?;
    Ok(Attempts {
        rows: row.get(0),
        compared: row.get(1),
        mismatches: row.get(2),
        pause_p50_ms: row.get(3),
        pause_p99_ms: row.get(4),
        seconds: row.get(5),
    })
}

/// Completed users of a cohort, some of `among`, spread over these.
pub(crate) async fn some_completed(
    tracking: &Tracking,
    cohort: &CohortInfo,
    among: &[String],
    most: usize,
) -> Result<Vec<String>> {
    let sql = "SELECT user_key FROM handover.member WHERE cohort_id = $1 AND state = 'completed'
                  AND user_key = ANY($3) ORDER BY sha256(convert_to(user_key, 'UTF8')) LIMIT $2";
    let rows = tracking.pool().get().await?.query(sql, &[&cohort.id, &(most as i64), &among]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Of users who were rolled back, those who are not provably home: Identity says otherwise, or the destination
/// holds a row of them. Asked of the example's own table, not through the plan.
pub(crate) async fn unproven(
    context: &Context,
    tracking: &Tracking,
    migration: &str,
    users: &[String],
) -> Result<i64> {
    let records = context.identity()?.get(users).await?;
    let abroad =
        records.iter().filter(|record| record.state(migration) != State::Legacy || record.is_paused());
    let sql = "SELECT count(DISTINCT owner_id) FROM reminders.reminder WHERE owner_id::text = ANY($1)";
    let left: i64 = tracking.pool().get().await?.query_one(sql, &[&users]).await?.get(0);
    Ok(abroad.count() as i64 + left)
}
