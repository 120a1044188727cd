//! The transitions of open attempts. Each is a compare-and-set on `version` and `state`, for a whole batch
//! in one statement, and says for which claims it held.

use handover_fault::point;
use handover_postgres::PooledConnection;
use tokio_postgres::{Row, Transaction};

use crate::model::OPEN_COLUMNS;
use crate::{Admission, Claim, Error, Kind, OpenAttempt, OpenState, Tracking};

/// What the copy of one user wrote.
#[derive(Clone, Debug)]
pub struct Copied {
    /// The attempt.
    pub claim: Claim,
    /// The user's digest.
    pub digest: [u8; 32],
    /// Canonical rows.
    pub rows: i64,
}

/// Claims as the two parallel arrays that every statement takes.
pub(crate) fn columns(claims: &[Claim]) -> (Vec<&str>, Vec<i64>) {
    claims.iter().map(|claim| (claim.user.as_str(), claim.version)).unzip()
}

fn claim_of(row: &Row) -> Claim {
    Claim { user: row.get(0), version: row.get(1) }
}

// The choice is made once, apart from the update: as the inner side of a join it could be made again for each row,
// and would then pass the rows that this very statement has updated, and the limit with them.
const ADMIT: &str = "WITH chosen AS MATERIALIZED (
        SELECT q.user_key FROM (SELECT DISTINCT user_key, version FROM unnest($2::text[], $3::int8[]) u(user_key, version)) c
          JOIN handover.open_attempt q ON q.migration_id = $1 AND q.user_key = c.user_key
         WHERE q.version = c.version AND q.state = 'queued' AND q.kind = $5::text::handover.kind
         LIMIT $6 FOR UPDATE OF q SKIP LOCKED)
    UPDATE handover.open_attempt o
    SET state = $4::text::handover.open_state, admitted_at = clock_timestamp(), state_at = clock_timestamp()
    FROM chosen p WHERE o.migration_id = $1 AND o.user_key = p.user_key RETURNING o.user_key";

const FENCED: &str = "UPDATE handover.open_attempt o
    SET state = CASE WHEN o.state = 'pausing' THEN 'copying' ELSE o.state END, fence_lsn = $4::text::pg_lsn,
        fence_system = $5, state_at = clock_timestamp()
    FROM unnest($2::text[], $3::int8[]) c(user_key, version)
    WHERE o.migration_id = $1 AND o.user_key = c.user_key AND o.version = c.version
      AND (o.state = 'pausing' OR (o.state = 'rolling_back' AND o.removed_at IS NULL))
    RETURNING o.user_key, o.version";

const COPIED: &str = "UPDATE handover.open_attempt o
    SET state = 'verifying', digest = c.digest, row_count = c.row_count, copied_at = clock_timestamp(),
        state_at = clock_timestamp()
    FROM unnest($2::text[], $3::int8[], $4::bytea[], $5::int8[]) c(user_key, version, digest, row_count)
    WHERE o.migration_id = $1 AND o.user_key = c.user_key AND o.version = c.version AND o.state = 'copying'
    RETURNING o.user_key, o.version";

const VERIFIED: &str = "UPDATE handover.open_attempt o
    SET state = 'completing', verified_at = clock_timestamp(), state_at = clock_timestamp()
    FROM unnest($2::text[], $3::int8[]) c(user_key, version)
    WHERE o.migration_id = $1 AND o.user_key = c.user_key AND o.version = c.version AND o.state = 'verifying'
    RETURNING o.user_key, o.version";

const REMOVED: &str =
    "UPDATE handover.open_attempt o SET removed_at = clock_timestamp(), state_at = clock_timestamp()
    FROM unnest($2::text[], $3::int8[]) c(user_key, version)
    WHERE o.migration_id = $1 AND o.user_key = c.user_key AND o.version = c.version
      AND o.state = 'rolling_back' AND o.removed_at IS NULL
    RETURNING o.user_key, o.version";

const RAISE: &str = "UPDATE handover.open_attempt o
    SET state = 'failing', version = $4, reason = coalesce(o.reason, $5), observed = coalesce(o.observed, $6),
        state_at = clock_timestamp()
    WHERE o.migration_id = $1 AND o.user_key = $2 AND o.kind = 'move'
      AND (o.version = $3 OR (o.version = $4 AND o.state = 'failing'))";

const REQUEUE: &str = "WITH back AS (
    UPDATE handover.open_attempt o SET state = 'queued', admitted_at = NULL, state_at = clock_timestamp()
      FROM unnest($2::text[], $3::int8[]) c(user_key, version)
     WHERE o.migration_id = $1 AND o.user_key = c.user_key AND o.version = c.version
       AND (o.state = 'pausing' OR (o.state = 'rolling_back' AND o.removed_at IS NULL))
    RETURNING o.user_key, o.version),
    room AS (UPDATE handover.admission SET paused = paused - (SELECT count(*) FROM back)::int4)
    SELECT user_key, version FROM back";

impl Tracking {
    /// How many more users may be paused now, under that bound. A hint: [`Tracking::admit`] decides.
    pub async fn room(&self, max_paused: u32) -> Result<usize, Error> {
        let mut session = self.pool.get().await?;
        let statement = session.prepared("SELECT paused FROM handover.admission").await?;
        let paused: i32 = session.query_one(&statement, &[]).await?.get(0);
        Ok((i64::from(max_paused) - i64::from(paused)).max(0) as usize)
    }

    /// Admits as many of the claims as `max_paused` leaves room for, `queued` → `pausing` (a rollback:
    /// `rolling_back`). Claims that were admitted before (a second delivery) are admitted again.
    pub async fn admit(
        &self,
        migration_id: i32,
        kind: Kind,
        claims: &[Claim],
        max_paused: u32,
    ) -> Result<Admission, Error> {
        let target = if kind == Kind::Move { OpenState::Pausing } else { OpenState::RollingBack };
        let (users, versions) = columns(claims);
        let mut session = self.pool.get().await?;
        let admit = session.prepared(ADMIT).await?;
        let lock = session.prepared("SELECT paused FROM handover.admission FOR UPDATE").await?;
        let count = session.prepared("UPDATE handover.admission SET paused = paused + $1").await?;
        let transaction = session.transaction().await?;
        // Everybody who pauses stands in this one row's line: the bound is exact.
        let paused: i32 = transaction.query_one(&lock, &[]).await?.get(0);
        let room = (i64::from(max_paused) - i64::from(paused)).max(0);
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&migration_id, &users, &versions, &target.as_str(), &kind.as_str(), &room];
        let admitted = if room == 0 { 0 } else { transaction.execute(&admit, &params).await? as i32 };
        if admitted > 0 {
            transaction.execute(&count, &[&admitted]).await?;
        }
        point("tracking.admitting").await?;
        transaction.commit().await?;
        Ok(sort_out(claimed(&mut session, migration_id, &users, &versions).await?, target))
    }

    /// The attempts under these claims, as they stand; stale claims are missing.
    pub async fn open(&self, migration_id: i32, claims: &[Claim]) -> Result<Vec<OpenAttempt>, Error> {
        let (users, versions) = columns(claims);
        let mut session = self.pool.get().await?;
        claimed(&mut session, migration_id, &users, &versions).await
    }

    /// The attempt that is open for this user, whatever its version.
    pub async fn open_of(&self, migration_id: i32, user: &str) -> Result<Option<OpenAttempt>, Error> {
        let sql = format!(
            "SELECT {OPEN_COLUMNS} FROM handover.open_attempt o WHERE o.migration_id = $1 AND o.user_key = $2"
        );
        let row = self.pool.get().await?.query_opt(&sql, &[&migration_id, &user]).await?;
        row.as_ref().map(OpenAttempt::from_row).transpose()
    }

    /// Keeps the fence position that was taken after the drain; `pausing` → `copying`. A rollback stays
    /// `rolling_back`.
    pub async fn fenced(
        &self,
        migration_id: i32,
        claims: &[Claim],
        lsn: &str,
        system: &str,
    ) -> Result<Vec<Claim>, Error> {
        let (users, versions) = columns(claims);
        let mut session = self.pool.get().await?;
        let statement = session.prepared(FENCED).await?;
        let rows = session.query(&statement, &[&migration_id, &users, &versions, &lsn, &system]).await?;
        Ok(rows.iter().map(claim_of).collect())
    }

    /// `verifying` → `completing`.
    pub async fn verified(&self, migration_id: i32, claims: &[Claim]) -> Result<Vec<Claim>, Error> {
        let (users, versions) = columns(claims);
        let mut session = self.pool.get().await?;
        let statement = session.prepared(VERIFIED).await?;
        let rows = session.query(&statement, &[&migration_id, &users, &versions]).await?;
        Ok(rows.iter().map(claim_of).collect())
    }

    /// Back to `queued`: for a user whom Identity cannot pause yet.
    pub async fn requeue(&self, migration_id: i32, claims: &[Claim]) -> Result<Vec<Claim>, Error> {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let (users, versions) = columns(claims);
        let mut session = self.pool.get().await?;
        let statement = session.prepared(REQUEUE).await?;
        let rows = session.query(&statement, &[&migration_id, &users, &versions]).await?;
        Ok(rows.iter().map(claim_of).collect())
    }

    /// Begins to take an attempt to move back: raises its version to `to`, which waits for, or shuts out, a copy
    /// that is committing, and keeps why (the first reason stays). Repeating it is harmless. False where
    /// the attempt has moved on.
    pub async fn raise(
        &self,
        migration_id: i32,
        claim: &Claim,
        to: i64,
        reason: &serde_json::Value,
        observed: Option<&[u8]>,
    ) -> Result<bool, Error> {
        let mut session = self.pool.get().await?;
        let statement = session.prepared(RAISE).await?;
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&migration_id, &claim.user, &claim.version, &to, reason, &observed];
        Ok(session.execute(&statement, &params).await? == 1)
    }

    /// `copying` → `verifying`, in the transaction that wrote the rows; the claims it held for.
    pub async fn copied(
        transaction: &Transaction<'_>,
        migration_id: i32,
        copied: &[Copied],
    ) -> Result<Vec<Claim>, Error> {
        let users: Vec<&str> = copied.iter().map(|c| c.claim.user.as_str()).collect();
        let versions: Vec<i64> = copied.iter().map(|c| c.claim.version).collect();
        let digests: Vec<&[u8]> = copied.iter().map(|c| c.digest.as_slice()).collect();
        let rows: Vec<i64> = copied.iter().map(|c| c.rows).collect();
        let moved = transaction.query(COPIED, &[&migration_id, &users, &versions, &digests, &rows]).await?;
        Ok(moved.iter().map(claim_of).collect())
    }

    /// Keeps that a rollback's rows are gone, in the transaction that removed them; the claims it held for.
    pub async fn removed(
        transaction: &Transaction<'_>,
        migration_id: i32,
        claims: &[Claim],
    ) -> Result<Vec<Claim>, Error> {
        let (users, versions) = columns(claims);
        let rows = transaction.query(REMOVED, &[&migration_id, &users, &versions]).await?;
        Ok(rows.iter().map(claim_of).collect())
    }

    /// Locks the attempt until the transaction ends and returns it, if its version is still that of the claim.
    pub async fn lock(
        transaction: &Transaction<'_>,
        migration_id: i32,
        claim: &Claim,
    ) -> Result<Option<OpenAttempt>, Error> {
        let sql = format!(
            "SELECT {OPEN_COLUMNS} FROM handover.open_attempt o
              WHERE o.migration_id = $1 AND o.user_key = $2 AND o.version = $3 FOR UPDATE"
        );
        let row = transaction.query_opt(&sql, &[&migration_id, &claim.user, &claim.version]).await?;
        row.as_ref().map(OpenAttempt::from_row).transpose()
    }

    /// Open attempts of the window that have stood in their state for at least `age_ms`, oldest first.
    pub async fn standing(&self, age_ms: i64, limit: i64) -> Result<Vec<(String, OpenAttempt)>, Error> {
        let sql = format!(
            "SELECT {OPEN_COLUMNS}, g.name FROM handover.open_attempt o JOIN handover.migration g ON g.id = o.migration_id
              WHERE o.state_at <= clock_timestamp() - $1 * interval '1 millisecond' ORDER BY o.state_at LIMIT $2"
        );
        let rows = self.pool.get().await?.query(&sql, &[&(age_ms as f64), &limit]).await?;
        rows.iter().map(|row| Ok((row.get(18), OpenAttempt::from_row(row)?))).collect()
    }

    /// Attempts that have stood half taken back for at least `age_ms`, oldest first. However many others stand
    /// longer, these are found.
    pub async fn failing(&self, age_ms: i64, limit: i64) -> Result<Vec<(String, OpenAttempt)>, Error> {
        let sql = format!(
            "SELECT {OPEN_COLUMNS}, g.name FROM handover.open_attempt o JOIN handover.migration g ON g.id = o.migration_id
              WHERE o.state = 'failing' AND o.state_at <= clock_timestamp() - $1 * interval '1 millisecond'
              ORDER BY o.state_at LIMIT $2"
        );
        let rows = self.pool.get().await?.query(&sql, &[&(age_ms as f64), &limit]).await?;
        rows.iter().map(|row| Ok((row.get(18), OpenAttempt::from_row(row)?))).collect()
    }

    /// Admitted attempts that were admitted at least `age_ms` ago: those whose pause has lasted too long.
    pub async fn overdue(&self, age_ms: i64, limit: i64) -> Result<Vec<(String, OpenAttempt)>, Error> {
        let sql = format!(
            "SELECT {OPEN_COLUMNS}, g.name FROM handover.open_attempt o JOIN handover.migration g ON g.id = o.migration_id
              WHERE o.admitted_at <= clock_timestamp() - $1 * interval '1 millisecond' ORDER BY o.admitted_at LIMIT $2"
        );
        let rows = self.pool.get().await?.query(&sql, &[&(age_ms as f64), &limit]).await?;
        rows.iter().map(|row| Ok((row.get(18), OpenAttempt::from_row(row)?))).collect()
    }
}

async fn claimed(
    session: &mut PooledConnection,
    migration_id: i32,
    users: &[&str],
    versions: &[i64],
) -> Result<Vec<OpenAttempt>, Error> {
    let sql = format!(
        "SELECT {OPEN_COLUMNS} FROM unnest($2::text[], $3::int8[]) c(user_key, version)
           JOIN handover.open_attempt o ON o.migration_id = $1 AND o.user_key = c.user_key AND o.version = c.version"
    );
    let rows = session.query(&sql, &[&migration_id, &users, &versions]).await?;
    rows.iter().map(OpenAttempt::from_row).collect()
}

fn sort_out(attempts: Vec<OpenAttempt>, target: OpenState) -> Admission {
    let mut admission = Admission::default();
    for attempt in attempts {
        if attempt.state == target {
            admission.admitted.push(attempt);
        } else if attempt.state == OpenState::Queued {
            admission.no_room.push(attempt.claim());
        }
    }
    admission
}
