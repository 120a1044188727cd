//! What stops users on their way: hold, release, cancel. All three leave alone who is paused already: such a
//! user's attempt ends by itself.

use tokio_postgres::Transaction;

use crate::{Cancelled, CohortInfo, Error, Tracking};

/// The attempts of the drawn window that nobody has admitted yet.
const WITHDRAW: &str =
    "DELETE FROM handover.open_attempt WHERE cohort_id = $1 AND state = 'queued' AND kind = 'move'
    RETURNING migration_id, user_key, cohort_id, version";

impl Tracking {
    /// Begins nobody new of the cohort until it is released. Returns how many users were taken back out of the
    /// window, to wait as queued.
    pub async fn hold(&self, cohort: &CohortInfo, reason: &str) -> Result<i64, Error> {
        let mut session = self.pool.get().await?;
        let transaction = session.transaction().await?;
        let hold = "UPDATE handover.cohort SET held = true, held_reason = $2 WHERE id = $1";
        transaction.execute(hold, &[&cohort.id, &reason]).await?;
        let withdrawn = withdraw(&transaction, cohort.id).await?;
        transaction.commit().await?;
        Ok(withdrawn)
    }

    /// Lets a held cohort go on; what failed before is not held against it any more. False where it was not held.
    pub async fn release(&self, cohort: &CohortInfo) -> Result<bool, Error> {
        let sql =
            "UPDATE handover.cohort SET held = false, held_reason = NULL, judged_from = clock_timestamp()
                    WHERE id = $1 AND held";
        Ok(self.pool.get().await?.execute(sql, &[&cohort.id]).await? == 1)
    }

    /// Takes everybody who is queued back to where they were before: never launched, failed or rolled back.
    pub async fn cancel(&self, cohort: &CohortInfo) -> Result<Cancelled, Error> {
        let mut session = self.pool.get().await?;
        let transaction = session.transaction().await?;
        let undrawn = unlaunch(&transaction, cohort.id).await?;
        let sql = format!(
            "WITH window_ AS ({WITHDRAW}),
             asked AS (DELETE FROM handover.request WHERE cohort_id = $1 AND kind = 'move' RETURNING migration_id, user_key),
             back AS (SELECT m.migration_id, m.user_key, m.state, m.seq, b.version, b.counted
                        FROM (SELECT migration_id, user_key, version, false AS counted FROM window_
                              UNION ALL SELECT migration_id, user_key, 0, true FROM asked) b
                        JOIN handover.member m USING (migration_id, user_key)),
             -- Those who never began stand behind `launched_seq` again, so that the next launch finds them.
             behind AS (SELECT b.migration_id, b.user_key, c.last_seq + row_number() OVER (ORDER BY b.seq) AS seq
                          FROM back b JOIN handover.cohort c ON c.id = $1 WHERE b.state = 'not_started'),
             members AS (UPDATE handover.member m SET seq = coalesce(n.seq, m.seq), version = greatest(m.version, b.version)
                           FROM back b LEFT JOIN behind n USING (migration_id, user_key)
                          WHERE m.migration_id = b.migration_id AND m.user_key = b.user_key),
             last AS (UPDATE handover.cohort SET last_seq = greatest(last_seq, (SELECT max(seq) FROM behind)) WHERE id = $1),
             count AS (INSERT INTO handover.counter
                 SELECT $1, state, count(*) FROM back GROUP BY state
                 UNION ALL SELECT $1, 'queued', -count(*) FROM back WHERE counted HAVING count(*) > 0)
             SELECT count(*) FROM back"
        );
        let withdrawn: i64 = transaction.query_one(&sql, &[&cohort.id]).await?.get(0);
        let open = "SELECT count(*) FROM handover.open_attempt WHERE cohort_id = $1";
        let on_their_way = transaction.query_one(open, &[&cohort.id]).await?.get(0);
        transaction.commit().await?;
        Ok(Cancelled { withdrawn: withdrawn + undrawn, on_their_way })
    }

    /// Forgets the rollbacks of a cohort that were asked for and have not begun: their users stay completed.
    /// Returns how many.
    pub async fn cancel_rollbacks(&self, cohort: &CohortInfo) -> Result<i64, Error> {
        let sql = "WITH gone AS (DELETE FROM handover.request WHERE cohort_id = $1 AND kind = 'rollback' RETURNING 1),
             count AS (INSERT INTO handover.counter
                SELECT $1, 'rollback_requested', -count(*) FROM gone HAVING count(*) > 0)
            SELECT count(*) FROM gone";
        Ok(self.pool.get().await?.query_one(sql, &[&cohort.id]).await?.get(0))
    }
}

/// Takes a held cohort's users back out of the window, to wait as queued; returns how many.
pub(crate) async fn withdraw(transaction: &Transaction<'_>, cohort_id: i32) -> Result<i64, Error> {
    let sql = format!(
        "WITH back AS ({WITHDRAW}),
         asked AS (INSERT INTO handover.request (kind, migration_id, user_key, cohort_id)
                   SELECT 'move', migration_id, user_key, cohort_id FROM back),
         -- A number that was given out is never given to another attempt.
         used AS (UPDATE handover.member m SET version = back.version FROM back
                   WHERE m.migration_id = back.migration_id AND m.user_key = back.user_key),
         count AS (INSERT INTO handover.counter SELECT $1, 'queued', count(*) FROM back HAVING count(*) > 0)
         SELECT count(*) FROM back"
    );
    Ok(transaction.query_one(&sql, &[&cohort_id]).await?.get(0))
}

/// Moves `launched_seq` back to what was drawn; returns how many users that un-queues.
async fn unlaunch(transaction: &Transaction<'_>, cohort_id: i32) -> Result<i64, Error> {
    let lock = "SELECT drawn_seq, launched_seq FROM handover.cohort WHERE id = $1 FOR UPDATE";
    let row = transaction.query_one(lock, &[&cohort_id]).await?;
    let (drawn, launched): (i64, i64) = (row.get(0), row.get(1));
    let count = "SELECT count(*) FROM handover.member WHERE cohort_id = $1 AND seq > $2 AND seq <= $3";
    let undrawn: i64 = transaction.query_one(count, &[&cohort_id, &drawn, &launched]).await?.get(0);
    transaction
        .execute("UPDATE handover.cohort SET launched_seq = drawn_seq WHERE id = $1", &[&cohort_id])
        .await?;
    if undrawn > 0 {
        let deltas = "INSERT INTO handover.counter VALUES ($1, 'queued', -$2::int8), ($1, 'not_started', $2)";
        transaction.execute(deltas, &[&cohort_id, &undrawn]).await?;
    }
    Ok(undrawn)
}
