//! Drawing: taking the next users of the launched cohorts, in turn, into the bounded window of open attempts.

use handover_fault::point;
use tokio_postgres::Transaction;

use crate::{Error, Kind, Tracking};

/// An attempt that was opened by a draw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// The migration's name.
    pub migration: String,
    /// The user.
    pub user: String,
    /// The fencing token.
    pub version: i64,
}

/// 64 random bytes from the server's strong source; four version-4 UUIDs, 488 bits of which are random.
const KEY_BLOCK: &str = "uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || \
     uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())";

struct Source {
    cohort_id: i32,
    drawn: i64,
    launched: i64,
}

impl Tracking {
    /// Opens attempts for up to `most` users who wait, drawn in equal shares from the cohorts that have any,
    /// and returns them. A held cohort is passed over. Any number of processes may draw at once.
    pub async fn draw(&self, kind: Kind, most: usize) -> Result<Vec<Drawn>, Error> {
        if most == 0 {
            return Ok(Vec::new());
        }
        let mut session = self.pool.get().await?;
        let transaction = session.transaction().await?;
        let sources = sources(&transaction, kind).await?;
        let mut drawn = Vec::new();
        for (nth, source) in sources.iter().enumerate() {
            // What a small cohort leaves of its share goes to those after it.
            let share = (most - drawn.len()).div_ceil(sources.len() - nth);
            let asked = draw_requests(&transaction, kind, source, share).await?;
            let rest = share - asked.len();
            drawn.extend(asked);
            if kind == Kind::Move && rest > 0 && source.drawn < source.launched {
                drawn.extend(draw_members(&transaction, source, rest).await?);
            }
        }
        point("tracking.drawing").await?;
        transaction.commit().await?;
        Ok(drawn)
    }

    /// How many open attempts of that kind wait to be admitted.
    pub async fn window(&self, kind: Kind) -> Result<usize, Error> {
        let sql = "SELECT count(*) FROM handover.open_attempt WHERE state = 'queued' AND kind = $1::text::handover.kind";
        let session = self.pool.get().await?;
        let count: i64 = session.query_one(sql, &[&kind.as_str()]).await?.get(0);
        Ok(count as usize)
    }
}

/// The cohorts that have somebody to draw, the one that has waited longest first.
async fn sources(transaction: &Transaction<'_>, kind: Kind) -> Result<Vec<Source>, Error> {
    let sql = "SELECT c.id, c.drawn_seq, c.launched_seq FROM handover.cohort c
        WHERE ($1 = 'rollback' OR NOT c.held) AND (($1 = 'move' AND c.launched_seq > c.drawn_seq)
           OR EXISTS (SELECT FROM handover.request r WHERE r.cohort_id = c.id AND r.kind = $1::text::handover.kind))
        ORDER BY c.drawn_at, c.id FOR UPDATE OF c SKIP LOCKED";
    let rows = transaction.query(sql, &[&kind.as_str()]).await?;
    Ok(rows
        .iter()
        .map(|row| Source { cohort_id: row.get(0), drawn: row.get(1), launched: row.get(2) })
        .collect())
}

/// Users who were asked for by name. A rollback is opened with the digest and key of the attempt that it undoes.
async fn draw_requests(
    transaction: &Transaction<'_>,
    kind: Kind,
    source: &Source,
    share: usize,
) -> Result<Vec<Drawn>, Error> {
    let insert = match kind {
        Kind::Move => format!(
            "SELECT m.migration_id, m.user_key, m.cohort_id, 'move'::handover.kind, m.version + 1, m.version + 1,
                    g.plan_id, {KEY_BLOCK}, NULL::bytea, NULL::int8, NULL::timestamptz, false
               FROM taken JOIN handover.member m USING (migration_id, user_key)
               JOIN handover.migration g ON g.id = m.migration_id"
        ),
        Kind::Rollback => "SELECT m.migration_id, m.user_key, m.cohort_id, 'rollback'::handover.kind, m.version + 1,
                    m.version + 1, a.plan_id, a.key_block, a.digest, a.row_count, a.copied_at,
                    taken.carry_back
               FROM taken JOIN handover.member m USING (migration_id, user_key)
               CROSS JOIN LATERAL (SELECT * FROM handover.attempt a WHERE a.migration_id = m.migration_id
                   AND a.user_key = m.user_key AND a.outcome = 'completed' ORDER BY a.attempt DESC LIMIT 1) a"
            .to_owned(),
    };
    let sql = format!(
        "WITH taken AS (DELETE FROM handover.request WHERE (migration_id, user_key) IN
            (SELECT migration_id, user_key FROM handover.request
              WHERE kind = $1::text::handover.kind AND cohort_id = $2 ORDER BY id LIMIT $3)
            RETURNING migration_id, user_key, carry_back),
         opened AS (INSERT INTO handover.open_attempt (migration_id, user_key, cohort_id, kind, version, attempt, plan_id,
                        key_block, digest, row_count, copied_at, carry_back) {insert} RETURNING migration_id, user_key, version),
         turn AS (UPDATE handover.cohort SET drawn_at = clock_timestamp() WHERE id = $2 AND EXISTS (SELECT FROM taken)),
         count AS (INSERT INTO handover.counter
             SELECT $2, CASE $1 WHEN 'move' THEN 'queued' ELSE 'completed' END::handover.member_state, -count(*)
               FROM opened HAVING count(*) > 0
             UNION ALL SELECT $2, 'rollback_requested', -count(*) FROM taken WHERE $1 = 'rollback' HAVING count(*) > 0)
         SELECT g.name, o.user_key, o.version FROM opened o JOIN handover.migration g ON g.id = o.migration_id"
    );
    let rows = transaction.query(&sql, &[&kind.as_str(), &source.cohort_id, &(share as i64)]).await?;
    Ok(rows.iter().map(drawn).collect())
}

/// The next users of a launched cohort, by their number.
async fn draw_members(
    transaction: &Transaction<'_>,
    source: &Source,
    share: usize,
) -> Result<Vec<Drawn>, Error> {
    let sql = format!(
        "WITH next AS MATERIALIZED (SELECT migration_id, user_key, seq, version FROM handover.member
                WHERE cohort_id = $1 AND seq > $2 AND seq <= $3 ORDER BY seq LIMIT $4),
         cursor AS (UPDATE handover.cohort SET drawn_at = clock_timestamp(), drawn_seq = CASE
                WHEN (SELECT count(*) FROM next) < $4 THEN $3 ELSE (SELECT max(seq) FROM next) END WHERE id = $1),
         opened AS (INSERT INTO handover.open_attempt (migration_id, user_key, cohort_id, kind, version, attempt, plan_id, key_block)
             SELECT n.migration_id, n.user_key, $1, 'move', n.version + 1, n.version + 1, g.plan_id, {KEY_BLOCK}
               FROM next n JOIN handover.migration g ON g.id = n.migration_id RETURNING migration_id, user_key, version),
         count AS (INSERT INTO handover.counter SELECT $1, 'queued', -count(*) FROM opened HAVING count(*) > 0)
         SELECT g.name, o.user_key, o.version FROM opened o JOIN handover.migration g ON g.id = o.migration_id"
    );
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
        [&source.cohort_id, &source.drawn, &source.launched, &(share as i64)];
    Ok(transaction.query(&sql, &params).await?.iter().map(drawn).collect())
}

fn drawn(row: &tokio_postgres::Row) -> Drawn {
    Drawn { migration: row.get(0), user: row.get(1), version: row.get(2) }
}
