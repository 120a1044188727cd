//! One user's way through every migration.

use serde::Serialize;
use tokio_postgres::Row;

use crate::{Error, Tracking};

/// An attempt that has ended.
#[derive(Clone, Debug, Serialize)]
pub struct AttemptRecord {
    /// Its number.
    pub attempt: i64,
    /// `move` or `rollback`.
    pub kind: String,
    /// `completed`, `failed`, `skipped`, `rolled_back` or `refused`.
    pub outcome: String,
    /// The plan's hash, in hex.
    pub plan: String,
    /// When it was drawn (ISO 8601, UTC), and when each step was done.
    pub queued_at: String,
    /// When the user was paused.
    pub paused_at: Option<String>,
    /// When the copy committed.
    pub copied_at: Option<String>,
    /// When it was proven.
    pub verified_at: Option<String>,
    /// When the pause ended.
    pub unpaused_at: Option<String>,
    /// When it was closed.
    pub ended_at: String,
    /// The user's digest, in hex.
    pub digest: Option<String>,
    /// Canonical rows.
    pub rows: Option<i64>,
    /// Why it failed, or was refused.
    pub reason: Option<serde_json::Value>,
}

/// A user in one migration.
#[derive(Clone, Debug, Serialize)]
pub struct UserRecord {
    /// The migration.
    pub migration: String,
    /// The cohort.
    pub cohort: String,
    /// Where the user stands: a state of `status`.
    pub state: String,
    /// The fencing token: of the attempt in progress, else of the last.
    pub version: i64,
    /// Attempts that have ended, the latest first.
    pub attempts: Vec<AttemptRecord>,
}

const ATTEMPTS: &str = "SELECT a.attempt, a.kind::text, a.outcome, encode(p.hash, 'hex'), a.queued_at::text, a.paused_at::text,
        a.copied_at::text, a.verified_at::text, a.unpaused_at::text, a.ended_at::text, encode(a.digest, 'hex'), a.row_count, a.reason
   FROM handover.attempt a JOIN handover.plan p ON p.id = a.plan_id
  WHERE a.migration_id = $1 AND a.user_key = $2 ORDER BY a.attempt DESC";

const STATES: &str = "SELECT m.migration_id, g.name, c.name, greatest(m.version, o.version),
        CASE WHEN o.state = 'queued' AND o.kind = 'rollback' THEN 'rolling_back'
             WHEN o.state IS NOT NULL THEN o.state::text
             WHEN r.kind = 'move' OR (m.state = 'not_started' AND m.seq > c.drawn_seq AND m.seq <= c.launched_seq) THEN 'queued'
             ELSE m.state::text END
   FROM handover.member m JOIN handover.migration g ON g.id = m.migration_id JOIN handover.cohort c ON c.id = m.cohort_id
   LEFT JOIN handover.open_attempt o USING (migration_id, user_key)
   LEFT JOIN handover.request r USING (migration_id, user_key)
  WHERE m.user_key = $1 ORDER BY m.migration_id";

impl Tracking {
    /// The user in every migration whose cohorts hold them.
    pub async fn user(&self, user: &str) -> Result<Vec<UserRecord>, Error> {
        let session = self.pool.get().await?;
        let mut records = Vec::new();
        for row in session.query(STATES, &[&user]).await? {
            let migration_id: i32 = row.get(0);
            let attempts = session.query(ATTEMPTS, &[&migration_id, &user]).await?;
            records.push(UserRecord {
                migration: row.get(1),
                cohort: row.get(2),
                version: row.get(3),
                state: row.get(4),
                attempts: attempts.iter().map(attempt).collect(),
            });
        }
        Ok(records)
    }
}

fn attempt(row: &Row) -> AttemptRecord {
    AttemptRecord {
        attempt: row.get(0),
        kind: row.get(1),
        outcome: row.get(2),
        plan: row.get(3),
        queued_at: row.get(4),
        paused_at: row.get(5),
        copied_at: row.get(6),
        verified_at: row.get(7),
        unpaused_at: row.get(8),
        ended_at: row.get(9),
        digest: row.get(10),
        rows: row.get(11),
        reason: row.get(12),
    }
}

/// What is needed to recompute a digest.
#[derive(Clone)]
pub struct Secret {
    /// The plan the attempt was pinned to.
    pub plan_id: i32,
    /// The attempt's secret 64 bytes.
    pub key_block: [u8; 64],
    /// The digest it was completed with, in hex.
    pub digest: String,
}

impl Tracking {
    /// The key block and digest of the user's last attempt that was copied.
    pub async fn last_secret(&self, migration: &str, user: &str) -> Result<Option<Secret>, Error> {
        let sql = "SELECT a.plan_id, a.key_block, encode(a.digest, 'hex') FROM handover.attempt a
             JOIN handover.migration g ON g.id = a.migration_id
            WHERE g.name = $1 AND a.user_key = $2 AND a.digest IS NOT NULL AND a.kind = 'move' ORDER BY a.attempt DESC LIMIT 1";
        let Some(row) = self.pool.get().await?.query_opt(sql, &[&migration, &user]).await? else {
            return Ok(None);
        };
        let damaged = |_| Error::Damaged("a key block's length".to_owned());
        let key_block = row.get::<_, Vec<u8>>(1).try_into().map_err(damaged)?;
        Ok(Some(Secret { plan_id: row.get(0), key_block, digest: row.get(2) }))
    }
}
