//! One user's way through every migration.

use serde::Serialize;
use tokio_postgres::{IsolationLevel, Row};

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
    /// Milliseconds for which the user was paused.
    pub paused_ms: Option<f64>,
    /// The user's digest, in hex.
    pub digest: Option<String>,
    /// Canonical rows.
    pub rows: Option<i64>,
    /// Why it failed, or was refused.
    pub reason: Option<serde_json::Value>,
}

/// An attempt in progress.
#[derive(Clone, Debug, Serialize)]
pub struct OpenRecord {
    /// Its number.
    pub attempt: i64,
    /// `move` or `rollback`.
    pub kind: String,
    /// How far it has come: `queued` to `completing`, `rolling_back` or `failing`.
    pub state: String,
    /// The plan's hash, in hex.
    pub plan: String,
    /// When it was drawn (ISO 8601, UTC), and when each step was done.
    pub queued_at: String,
    /// When it was let in among the paused.
    pub admitted_at: Option<String>,
    /// When the copy committed; for a rollback, the one that it undoes.
    pub copied_at: Option<String>,
    /// When it was proven.
    pub verified_at: Option<String>,
    /// The user's digest, in hex.
    pub digest: Option<String>,
    /// Canonical rows.
    pub rows: Option<i64>,
    /// Why it is being taken back.
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
    /// Whether a rollback was asked for and has not begun.
    pub rollback_requested: bool,
    /// The attempt in progress.
    pub open: Option<OpenRecord>,
    /// Attempts that have ended, the latest first.
    pub attempts: Vec<AttemptRecord>,
}

/// A time as ISO 8601 in UTC, to the millisecond. Every session is pinned to UTC.
fn iso(column: &str) -> String {
    format!("to_char({column}, 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')")
}

fn attempts_sql() -> String {
    let times = ["queued_at", "paused_at", "copied_at", "verified_at", "unpaused_at", "ended_at"];
    let times = times.map(|name| iso(&format!("a.{name}"))).join(", ");
    format!(
        "SELECT a.attempt, a.kind::text, a.outcome, encode(p.hash, 'hex'), {times}, encode(a.digest, 'hex'), a.row_count,
                a.reason, round(extract(epoch FROM a.unpaused_at - a.paused_at) * 1000, 1)::float8
           FROM handover.attempt a JOIN handover.plan p ON p.id = a.plan_id
          WHERE a.migration_id = $1 AND a.user_key = $2 ORDER BY a.attempt DESC"
    )
}

fn open_sql() -> String {
    let times = ["queued_at", "admitted_at", "copied_at", "verified_at"];
    let times = times.map(|name| iso(&format!("o.{name}"))).join(", ");
    format!(
        "SELECT o.attempt, o.kind::text, o.state::text, encode(p.hash, 'hex'), {times}, encode(o.digest, 'hex'), o.row_count,
                o.reason
           FROM handover.open_attempt o JOIN handover.plan p ON p.id = o.plan_id
          WHERE o.migration_id = $1 AND o.user_key = $2"
    )
}

/// Where a member `m` of cohort `c` stands, with its open attempt `o` and its request `r`, as `status` counts it.
const STATE: &str = "CASE WHEN o.state = 'queued' AND o.kind = 'rollback' THEN m.state::text
             WHEN o.state IS NOT NULL THEN o.state::text
             WHEN r.kind = 'move' OR (m.state = 'not_started' AND m.seq > c.drawn_seq AND m.seq <= c.launched_seq) THEN 'queued'
             ELSE m.state::text END";

/// What [`STATE`] needs beside `m`.
const STATE_JOINS: &str = "JOIN handover.cohort c ON c.id = m.cohort_id
   LEFT JOIN handover.open_attempt o ON o.migration_id = m.migration_id AND o.user_key = m.user_key
   LEFT JOIN handover.request r ON r.migration_id = m.migration_id AND r.user_key = m.user_key";

impl Tracking {
    /// The user in every migration whose cohorts hold them.
    pub async fn user(&self, user: &str) -> Result<Vec<UserRecord>, Error> {
        // From the few migrations to their members by key: there is no index that begins with the user.
        let sql = format!(
            "SELECT m.migration_id, g.name, c.name, greatest(m.version, o.version), {STATE},
                    r.kind = 'rollback' OR (o.kind = 'rollback' AND o.state = 'queued')
               FROM handover.migration g JOIN handover.member m ON m.migration_id = g.id AND m.user_key = $1
               {STATE_JOINS} ORDER BY m.migration_id"
        );
        let mut session = self.pool.get().await?;
        // One snapshot: an attempt that ends meanwhile is shown in progress or ended, and never as both or neither.
        let snapshot =
            session.build_transaction().read_only(true).isolation_level(IsolationLevel::RepeatableRead);
        let session = snapshot.start().await?;
        let mut records = Vec::new();
        for row in session.query(&sql, &[&user]).await? {
            let migration_id: i32 = row.get(0);
            let open = session.query_opt(&open_sql(), &[&migration_id, &user]).await?;
            let attempts = session.query(&attempts_sql(), &[&migration_id, &user]).await?;
            records.push(UserRecord {
                migration: row.get(1),
                cohort: row.get(2),
                version: row.get(3),
                state: row.get(4),
                rollback_requested: row.get::<_, Option<bool>>(5).unwrap_or(false),
                open: open.as_ref().map(open_record),
                attempts: attempts.iter().map(attempt).collect(),
            });
        }
        Ok(records)
    }

    /// Where each of these users stands in that migration; those of no cohort are left out.
    pub async fn whereabouts(&self, migration_id: i32, users: &[String]) -> Result<Vec<Whereabouts>, Error> {
        let sql = format!(
            "SELECT m.user_key, c.name, {STATE} FROM unnest($2::text[]) AS w (user_key)
               JOIN handover.member m ON m.migration_id = $1 AND m.user_key = w.user_key {STATE_JOINS}"
        );
        let rows = self.pool.get().await?.query(&sql, &[&migration_id, &users]).await?;
        let place = |row: &Row| Whereabouts { user: row.get(0), cohort: row.get(1), state: row.get(2) };
        Ok(rows.iter().map(place).collect())
    }
}

/// Where a user stands in a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// The user.
    pub user: String,
    /// The cohort's name.
    pub cohort: String,
    /// A state of `status`.
    pub state: String,
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
        paused_ms: row.get(13),
    }
}

fn open_record(row: &Row) -> OpenRecord {
    OpenRecord {
        attempt: row.get(0),
        kind: row.get(1),
        state: row.get(2),
        plan: row.get(3),
        queued_at: row.get(4),
        admitted_at: row.get(5),
        copied_at: row.get(6),
        verified_at: row.get(7),
        digest: row.get(8),
        rows: row.get(9),
        reason: row.get(10),
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
