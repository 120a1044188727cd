//! The circuit breaker: a cohort whose moves fail too often, or differ too often, is held with the reason. It looks
//! at what has ended and holds; who is on the way goes on.

use tokio_postgres::Row;

use crate::control::withdraw;
use crate::{Error, Tracking};

/// What a cohort may come to before it is held.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The rate is taken over this many of the newest moves, and not before there are as many.
    pub min_attempts: u32,
    /// The share of them that may fail.
    pub failure_rate: f64,
    /// Moves that may fail by a mismatch, since the cohort was last released or retried.
    pub max_mismatches: u32,
}

/// A cohort that was held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tripped {
    /// Its name.
    pub cohort: String,
    /// Why, as it is shown.
    pub reason: String,
}

/// What has become of a cohort's moves.
struct Record {
    cohort_id: i32,
    cohort: String,
    judged_from: String,
    ended: i64,
    failed: i64,
    /// What most of them failed by.
    mostly: Option<String>,
    mismatches: i64,
}

/// Each lateral query reads an index, and no more rows than its limit.
const RECORDS: &str = "SELECT c.id, c.name, c.judged_from::text, newest.ended, newest.failed, newest.mostly, m.mismatches
    FROM handover.cohort c
    CROSS JOIN LATERAL (SELECT count(*) AS ended, count(*) FILTER (WHERE n.outcome = 'failed') AS failed,
            mode() WITHIN GROUP (ORDER BY n.reason ->> 'kind') FILTER (WHERE n.outcome = 'failed') AS mostly
          FROM (SELECT a.outcome, a.reason FROM handover.attempt a
                 WHERE a.cohort_id = c.id AND a.ended_at > c.judged_from AND a.outcome IN ('completed', 'failed')
                 ORDER BY a.ended_at DESC LIMIT $1) n) newest
    CROSS JOIN LATERAL (SELECT count(*) AS mismatches
          FROM (SELECT FROM handover.attempt a
                 WHERE a.cohort_id = c.id AND a.ended_at > c.judged_from
                   AND a.outcome = 'failed' AND a.reason ->> 'kind' IN ('mismatch', 'derived', 'source_changed') LIMIT $2) q) m
   WHERE NOT c.held";

impl Tracking {
    /// Holds each cohort that has passed a limit and is not held, and returns them. Any number of processes may
    /// do so at once.
    pub async fn trip_breakers(&self, limits: &Limits) -> Result<Vec<Tripped>, Error> {
        let (newest, mismatches) = (i64::from(limits.min_attempts), i64::from(limits.max_mismatches) + 1);
        let mut session = self.pool.get().await?;
        let statement = session.prepared(RECORDS).await?;
        let rows = session.query(&statement, &[&newest, &mismatches]).await?;
        drop(session);
        let mut tripped = Vec::new();
        for record in rows.iter().map(Record::of) {
            let Some(reason) = record.verdict(limits) else { continue };
            if self.trip(&record, &reason).await? {
                tripped.push(Tripped { cohort: record.cohort, reason });
            }
        }
        Ok(tripped)
    }

    /// Holds a cohort, unless somebody has held, released or retried it since it was looked at.
    async fn trip(&self, record: &Record, reason: &str) -> Result<bool, Error> {
        let mut session = self.pool.get().await?;
        let transaction = session.transaction().await?;
        let hold = "UPDATE handover.cohort SET held = true, held_reason = $2
                     WHERE id = $1 AND NOT held AND judged_from = $3::text::timestamptz";
        let held = transaction.execute(hold, &[&record.cohort_id, &reason, &record.judged_from]).await?;
        if held == 1 {
            withdraw(&transaction, record.cohort_id).await?;
        }
        transaction.commit().await?;
        Ok(held == 1)
    }
}

impl Record {
    fn of(row: &Row) -> Self {
        Self {
            cohort_id: row.get(0),
            cohort: row.get(1),
            judged_from: row.get(2),
            ended: row.get(3),
            failed: row.get(4),
            mostly: row.get(5),
            mismatches: row.get(6),
        }
    }

    /// Why the cohort is to be held; none where it is within its limits.
    fn verdict(&self, limits: &Limits) -> Option<String> {
        if self.mismatches > i64::from(limits.max_mismatches) {
            return Some(format!(
                "circuit breaker: more than {} moves failed by a mismatch (breaker.max_mismatches)",
                limits.max_mismatches
            ));
        }
        let enough = self.ended >= i64::from(limits.min_attempts);
        let rate = self.failed as f64 / self.ended.max(1) as f64;
        (enough && rate > limits.failure_rate).then(|| {
            format!(
                "circuit breaker: {} of the last {} moves failed, mostly by {} (breaker.failure_rate is {})",
                self.failed,
                self.ended,
                self.mostly.as_deref().unwrap_or("an unknown kind"),
                limits.failure_rate
            )
        })
    }
}
