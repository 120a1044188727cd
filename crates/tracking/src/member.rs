//! Adding users to a cohort: streamed through COPY into a temporary table, then put in place by one statement,
//! so that a file is added whole or not at all and a million users need no memory here.

use bytes::{BufMut, BytesMut};
use futures_util::SinkExt;
use handover_postgres::PooledConnection;
use tokio_postgres::CopyInSink;

use crate::{CohortInfo, Error, Tracking};

/// How many clashes are listed; the rest are only counted.
const LISTED: i64 = 1_000;

/// How many bytes are sent to the server at a time.
const CHUNK: usize = 256 * 1024;

/// Why a line of a cohort file added nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClashKind {
    /// The user stands on an earlier line too.
    Duplicate,
    /// The user is of this cohort already.
    AlreadyHere,
    /// The user is of another cohort of this migration.
    OtherCohort,
}

/// A line that added nobody.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Clash {
    /// The line, from 1.
    pub line: i64,
    /// The user.
    pub user: String,
    /// Why.
    pub kind: ClashKind,
    /// The other cohort's name.
    pub cohort: Option<String>,
}

/// What adding did.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct AddReport {
    /// Users added.
    pub added: i64,
    /// Lines that repeat an earlier one.
    pub duplicates: i64,
    /// Users who were of this cohort already.
    pub already_here: i64,
    /// Users of another cohort of this migration.
    pub other_cohort: i64,
    /// The first thousand of those lines.
    pub clashes: Vec<Clash>,
}

/// Users being added. Dropping it adds nobody.
pub struct Adding {
    // Dropped before the session, whose COPY it is.
    sink: std::pin::Pin<Box<CopyInSink<bytes::Bytes>>>,
    session: Apart,
    buffer: BytesMut,
    cohort: CohortInfo,
    /// Users pushed so far: their order, since all that are named as parameters share one line.
    pushed: i64,
}

/// A session that has a temporary table and no time-outs: it never goes back to the pool.
struct Apart(Option<PooledConnection>);

impl Apart {
    fn session(&mut self) -> &mut PooledConnection {
        self.0.as_mut().expect("taken by drop alone")
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        if let Some(session) = self.0.take() {
            session.discard();
        }
    }
}

impl Tracking {
    /// Begins to add users to a cohort.
    pub async fn add_users(&self, cohort: &CohortInfo) -> Result<Adding, Error> {
        let mut apart = Apart(Some(self.pool.get().await?));
        let session = apart.session();
        session
            .batch_execute(
                "DROP TABLE IF EXISTS pg_temp.adding;
                 CREATE TEMPORARY TABLE adding (nth int8 NOT NULL, line int8 NOT NULL, user_key text NOT NULL);
                 SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0",
            )
            .await?;
        let sink = Box::pin(session.copy_in("COPY pg_temp.adding FROM STDIN BINARY").await?);
        let mut buffer = BytesMut::with_capacity(CHUNK + 1024);
        buffer.put_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
        Ok(Adding { sink, session: apart, buffer, cohort: cohort.clone(), pushed: 0 })
    }
}

impl Adding {
    /// Adds the user of that line, spelled as the key type spells it.
    pub async fn push(&mut self, line: i64, user: &str) -> Result<(), Error> {
        self.pushed += 1;
        self.buffer.put_i16(3);
        for number in [self.pushed, line] {
            self.buffer.put_i32(8);
            self.buffer.put_i64(number);
        }
        self.buffer.put_i32(user.len() as i32);
        self.buffer.put_slice(user.as_bytes());
        if self.buffer.len() >= CHUNK {
            self.sink.send(self.buffer.split().freeze()).await?;
        }
        Ok(())
    }

    /// Puts the users in place, in one transaction, and says which lines added nobody.
    pub async fn finish(mut self) -> Result<AddReport, Error> {
        self.buffer.put_i16(-1);
        self.sink.send(self.buffer.split().freeze()).await?;
        self.sink.as_mut().finish().await?;
        settle(self.session.session(), &self.cohort).await
    }
}

async fn settle(session: &mut PooledConnection, cohort: &CohortInfo) -> Result<AddReport, Error> {
    session.batch_execute("ANALYZE pg_temp.adding").await?;
    let transaction = session.transaction().await?;
    let lock = "SELECT last_seq FROM handover.cohort WHERE id = $1 FOR UPDATE";
    let last: i64 = transaction.query_one(lock, &[&cohort.id]).await?.get(0);
    let put = "WITH lines AS (SELECT user_key, min(nth) AS nth FROM pg_temp.adding GROUP BY user_key),
         added AS (INSERT INTO handover.member (migration_id, user_key, cohort_id, seq)
             SELECT $1, user_key, $2, $3 + row_number() OVER (ORDER BY nth) FROM lines ORDER BY nth
             ON CONFLICT (migration_id, user_key) DO NOTHING RETURNING seq)
        SELECT count(*), max(seq) FROM added";
    let row = transaction.query_one(put, &[&cohort.migration_id, &cohort.id, &last]).await?;
    let (added, max): (i64, Option<i64>) = (row.get(0), row.get(1));
    if let Some(max) = max {
        transaction
            .execute("UPDATE handover.cohort SET last_seq = $2 WHERE id = $1", &[&cohort.id, &max])
            .await?;
        let count = "INSERT INTO handover.counter VALUES ($1, 'not_started', $2)";
        transaction.execute(count, &[&cohort.id, &added]).await?;
    }
    let mut report = AddReport { added, ..AddReport::default() };
    clashes(&transaction, cohort, last, &mut report).await?;
    transaction.commit().await?;
    Ok(report)
}

/// Finds the lines that added nobody: repeats, and users whose row was there before this addition.
async fn clashes(
    transaction: &tokio_postgres::Transaction<'_>,
    cohort: &CohortInfo,
    last: i64,
    report: &mut AddReport,
) -> Result<(), Error> {
    let lines: i64 = transaction.query_one("SELECT count(*) FROM pg_temp.adding", &[]).await?.get(0);
    if lines == report.added {
        return Ok(());
    }
    transaction
        .execute(
            "CREATE TEMPORARY TABLE clash ON COMMIT DROP AS
             SELECT a.nth, a.line, a.user_key, m.cohort_id, row_number() OVER w > 1 AS repeated,
                    m.cohort_id = $2 AND m.seq <= $3 AS here, m.cohort_id <> $2 AS other
               FROM pg_temp.adding a JOIN handover.member m ON m.migration_id = $1 AND m.user_key = a.user_key
             WINDOW w AS (PARTITION BY a.user_key ORDER BY a.nth)",
            &[&cohort.migration_id, &cohort.id, &last],
        )
        .await?;
    let counts = "SELECT count(*) FILTER (WHERE repeated), count(*) FILTER (WHERE here AND NOT repeated),
                         count(*) FILTER (WHERE other AND NOT repeated) FROM pg_temp.clash";
    let row = transaction.query_one(counts, &[]).await?;
    (report.duplicates, report.already_here, report.other_cohort) = (row.get(0), row.get(1), row.get(2));
    let list = "SELECT l.line, l.user_key, l.repeated, l.here, c.name FROM pg_temp.clash l
        LEFT JOIN handover.cohort c ON c.id = l.cohort_id WHERE repeated OR here OR other ORDER BY nth LIMIT $1";
    for row in transaction.query(list, &[&LISTED]).await? {
        let kind = match (row.get(2), row.get(3)) {
            (true, _) => ClashKind::Duplicate,
            (false, true) => ClashKind::AlreadyHere,
            (false, false) => ClashKind::OtherCohort,
        };
        let cohort = (kind == ClashKind::OtherCohort).then(|| row.get(4));
        report.clashes.push(Clash { line: row.get(0), user: row.get(1), kind, cohort });
    }
    Ok(())
}
