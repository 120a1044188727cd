//! Raises the fence for users: their rows first, and then the wait for the transactions in flight.
//!
//! The order is the guarantee. Once the rows are committed, whoever takes a bucket's lock afterwards sees them
//! (or learns from the sequence that his snapshot is too old to); whoever took it before is waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use handover_postgres::Connection;
use tokio::time::{Instant, sleep};

use crate::install::is_lock_timeout;
use crate::{Error, LOCK_CLASS, NOBODY, State, UserVersion, columns};

/// A lock that is waited for makes the bucket's other writers wait behind it: no longer than this.
const TRY: Duration = Duration::from_millis(50);
/// Between two rounds of such waits those writers go on.
const GAP: Duration = Duration::from_millis(50);

/// Draws the next number and keeps it, under the row's lock: snapshots that show an older one are behind.
const BUMP: &str = "UPDATE handover_fence.clock SET n = nextval('handover_fence.raised')";

/// What became of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Raise {
    /// No write of the user is open, and none will be let through.
    Raised,
    /// Transactions that wrote for the user, or for one in the same bucket, did not end in time. The row stands
    /// and refuses writes: call again, or lift it.
    Busy,
    /// The user has moved by this very attempt: a late repeat.
    Moved,
    /// A newer attempt holds the fence.
    Superseded {
        /// That attempt's version.
        version: i64,
    },
}

/// A transaction that keeps a pause waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The server process; `None` for a prepared transaction, which nobody but COMMIT PREPARED or
    /// ROLLBACK PREPARED ends.
    pub pid: Option<i32>,
    /// The session's `application_name`; empty for a prepared transaction.
    pub application: String,
    /// For how long the transaction has been running; zero for a prepared one, since its lock does not tell
    /// which of `pg_prepared_xacts` it is.
    pub age: Duration,
}

/// Fences users, each with its attempt's version, and waits up to `patience` in all until the transactions
/// that wrote for them have ended. The outcomes are in the order of `users`; repeats are recognised.
///
/// For users who are about to leave this database: legacy by a move, the destination by a rollback.
pub async fn raise(
    connection: &mut Connection,
    migration: &str,
    users: &[UserVersion],
    patience: Duration,
) -> Result<Vec<Raise>, Error> {
    fence(connection, migration, State::Paused, users, patience).await
}

/// The same for users who may come back to this database: legacy, by a rollback. The home stays the other system
/// until the fence is lifted, and [`carry`](crate::carry) alone may write for them.
pub async fn recall(
    connection: &mut Connection,
    migration: &str,
    users: &[UserVersion],
    patience: Duration,
) -> Result<Vec<Raise>, Error> {
    fence(connection, migration, State::Returning, users, patience).await
}

async fn fence(
    connection: &mut Connection,
    migration: &str,
    state: State,
    users: &[UserVersion],
    patience: Duration,
) -> Result<Vec<Raise>, Error> {
    check(users)?;
    let deadline = Instant::now() + patience;
    let mut outcomes = write(connection, migration, state, users).await?;
    let waiting: BTreeSet<&str> = users
        .iter()
        .filter(|(user, _)| outcomes.get(user.as_str()) == Some(&Raise::Busy))
        .map(|(user, _)| user.as_str())
        .collect();
    let drained = drain(connection, migration, &waiting, deadline).await?;
    for user in mark(connection, migration, users, &drained).await? {
        outcomes.insert(user, Raise::Raised);
    }
    Ok(users.iter().map(|(user, _)| outcomes.remove(user).unwrap_or(Raise::Busy)).collect())
}

/// The transactions that hold locks of these users' buckets now. For messages: a bucket is shared by many
/// users, and the list is old when it arrives.
pub async fn holders(connection: &Connection, users: &[&str]) -> Result<Vec<Holder>, Error> {
    let sql = "SELECT DISTINCT l.pid, coalesce(a.application_name, ''),
                      greatest(extract(epoch FROM clock_timestamp() - a.xact_start), 0)::float8
                 FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
                WHERE l.locktype = 'advisory' AND l.granted AND l.mode = 'ShareLock' AND l.objsubid = 2
                  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                  AND l.classid::int8 = $1
                  AND l.objid IN (SELECT (handover_fence.bucket(u)::int8 & 4294967295)::oid
                                    FROM unnest($2::text[] || '!'::text) AS u)";
    let rows = connection.query(sql, &[&i64::from(LOCK_CLASS), &users]).await?;
    Ok(rows
        .iter()
        .map(|row| Holder {
            pid: row.get(0),
            application: row.get(1),
            age: Duration::from_secs_f64(row.get(2)),
        })
        .collect())
}

fn check(users: &[UserVersion]) -> Result<(), Error> {
    let distinct: BTreeSet<&str> = users.iter().map(|(user, _)| user.as_str()).collect();
    if distinct.len() < users.len() {
        return Err(Error::Request("a user is named twice in one call"));
    }
    if users.iter().any(|(_, version)| *version < 1) {
        return Err(Error::Request("a version must be 1 or more"));
    }
    if distinct.iter().any(|user| user.is_empty() || user.starts_with(NOBODY)) {
        return Err(Error::Request("a user's key must be in its canonical spelling"));
    }
    Ok(())
}

/// Writes the rows and bumps the sequence, durably. `Busy` stands for "written, and not drained yet".
async fn write(
    connection: &mut Connection,
    migration: &str,
    state: State,
    users: &[UserVersion],
) -> Result<BTreeMap<String, Raise>, Error> {
    let (keys, versions) = columns(users);
    let transaction = connection.transaction().await?;
    // A crash must not forget a fence that a pause was built on, whatever the role's default is.
    let durable = "SELECT set_config('synchronous_commit', 'local', true)
                    WHERE current_setting('synchronous_commit') = 'off'";
    transaction.execute(durable, &[]).await?;
    // First, and drawn under the row's lock: the numbers must be committed in the order they were drawn.
    transaction.execute(BUMP, &[]).await?;
    let sql = "INSERT INTO handover_fence.fenced AS f (user_key, migration, version, state)
               SELECT u.user_key, $1, u.version, $4
                 FROM unnest($2::text[], $3::int8[]) AS u (user_key, version)
                ORDER BY u.user_key COLLATE \"C\"
               ON CONFLICT (user_key, migration) DO UPDATE
               SET version = excluded.version,
                   state = excluded.state,
                   drained = f.drained AND f.version = excluded.version,
                   since = CASE WHEN f.version = excluded.version THEN f.since ELSE clock_timestamp() END
               WHERE f.version < excluded.version OR (f.version = excluded.version AND f.state <> 'moved')
               RETURNING f.user_key, f.drained";
    let rows = transaction.query(sql, &[&migration, &keys, &versions, &state.as_str()]).await?;
    let mut outcomes: BTreeMap<String, Raise> =
        rows.iter().map(|row| (row.get(0), if row.get(1) { Raise::Raised } else { Raise::Busy })).collect();
    let sql = "SELECT f.user_key, f.version, f.version = u.version
                 FROM unnest($2::text[], $3::int8[]) AS u (user_key, version)
                 JOIN handover_fence.fenced f ON f.user_key = u.user_key AND f.migration = $1";
    for row in transaction.query(sql, &[&migration, &keys, &versions]).await? {
        let outcome = if row.get(2) { Raise::Moved } else { Raise::Superseded { version: row.get(1) } };
        outcomes.entry(row.get(0)).or_insert(outcome);
    }
    transaction.commit().await?;
    Ok(outcomes)
}

/// The users whose writers have all ended.
async fn drain<'u>(
    connection: &mut Connection,
    migration: &str,
    users: &BTreeSet<&'u str>,
    deadline: Instant,
) -> Result<BTreeSet<&'u str>, Error> {
    if users.is_empty() {
        return Ok(BTreeSet::new());
    }
    let keys: Vec<&str> = users.iter().copied().collect();
    let buckets = buckets(connection, &keys).await?;
    let held = pass(connection, buckets.values().copied().collect(), deadline).await?;
    let mut drained: BTreeSet<&str> =
        keys.iter().copied().filter(|user| !held.contains(&buckets[*user])).collect();
    // A second time: a snapshot taken since the rows were written shows the fence, and may yet hide what those
    // who were waited for committed, such as a parent row that they gave to one of these users.
    connection.execute(BUMP, &[]).await?;
    // Only now: whoever gave a parent row to one of these users has ended, so that his note can be read.
    drained = follow_crossings(connection, migration, drained, deadline).await?;
    // Last: a row that reached nobody when it was written may have got its parent by what was waited for above.
    let nobody = buckets_of_nobody();
    if !pass(connection, nobody, deadline).await?.is_empty() {
        return Ok(BTreeSet::new());
    }
    Ok(drained)
}

fn buckets_of_nobody() -> BTreeSet<i32> {
    [-1].into()
}

async fn buckets(connection: &Connection, keys: &[&str]) -> Result<BTreeMap<String, i32>, Error> {
    let sql = "SELECT u, handover_fence.bucket(u) FROM unnest($1::text[]) AS u";
    Ok(connection.query(sql, &[&keys]).await?.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Waits for the old users' buckets of parent rows that now belong to these users, and forgets the crossings
/// that were waited for: every writer who still took the row for the old user's has ended.
async fn follow_crossings<'u>(
    connection: &mut Connection,
    migration: &str,
    users: BTreeSet<&'u str>,
    deadline: Instant,
) -> Result<BTreeSet<&'u str>, Error> {
    let sql = "WITH RECURSIVE way (id, old_key, root) AS (
                 SELECT id, old_key, new_key FROM handover_fence.crossing
                  WHERE migration = $1 AND new_key = ANY ($2)
                 UNION
                 SELECT c.id, c.old_key, w.root FROM way w
                   JOIN handover_fence.crossing c ON c.new_key = w.old_key AND c.migration = $1)
               SELECT id, handover_fence.bucket(old_key), root FROM way";
    let keys: Vec<&str> = users.iter().copied().collect();
    let rows = connection.query(sql, &[&migration, &keys]).await?;
    if rows.is_empty() {
        return Ok(users);
    }
    let held = pass(connection, rows.iter().map(|row| row.get(1)).collect(), deadline).await?;
    let is_held = |row: &&tokio_postgres::Row| held.contains(&row.get::<_, i32>(1));
    let waiting: BTreeSet<&str> = rows.iter().filter(is_held).map(|row| row.get(2)).collect();
    // A way is forgotten as a whole: a link in its midst leads to the older ones.
    let is_done = |row: &&tokio_postgres::Row| !waiting.contains(row.get::<_, &str>(2));
    let done: Vec<i64> = rows.iter().filter(is_done).map(|row| row.get(0)).collect();
    connection.execute("DELETE FROM handover_fence.crossing WHERE id = ANY ($1)", &[&done]).await?;
    Ok(users.into_iter().filter(|user| !waiting.contains(user)).collect())
}

/// Takes each bucket's lock exclusively once, and lets go of it at once. Gives the buckets for which that was
/// not possible until the deadline; each is tried at least once.
async fn pass(
    connection: &mut Connection,
    mut pending: BTreeSet<i32>,
    deadline: Instant,
) -> Result<BTreeSet<i32>, Error> {
    loop {
        for bucket in free(connection, &pending).await? {
            pending.remove(&bucket);
        }
        for bucket in pending.clone() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(pending);
            }
            if wait(connection, bucket, left.min(TRY)).await? {
                pending.remove(&bucket);
            }
        }
        if pending.is_empty() {
            return Ok(pending);
        }
        sleep(GAP.min(deadline.saturating_duration_since(Instant::now()))).await;
    }
}

/// Those buckets that nobody holds, all tried in one statement, at whose end they are let go.
async fn free(connection: &Connection, buckets: &BTreeSet<i32>) -> Result<Vec<i32>, Error> {
    let buckets: Vec<i32> = buckets.iter().copied().collect();
    let sql = "SELECT b FROM unnest($2::int4[]) AS b WHERE pg_try_advisory_xact_lock($1, b)";
    let rows = connection.query(sql, &[&LOCK_CLASS, &buckets]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Stands in the queue of one bucket's lock for a bounded time, which a busy bucket needs: it is never free by
/// itself. Nothing else is held meanwhile, so that no deadlock can lead through here.
async fn wait(connection: &mut Connection, bucket: i32, bound: Duration) -> Result<bool, Error> {
    let transaction = connection.transaction().await?;
    let bound = format!("SET LOCAL lock_timeout = {}", bound.as_millis().max(1));
    transaction.batch_execute(&bound).await?;
    let taken = transaction.execute("SELECT pg_advisory_xact_lock($1, $2)", &[&LOCK_CLASS, &bucket]).await;
    match taken.map_err(Error::from) {
        Ok(_) => transaction.commit().await?,
        Err(error) if is_lock_timeout(&error) => {
            transaction.rollback().await?;
            return Ok(false);
        }
        Err(error) => return Err(error),
    }
    Ok(true)
}

/// Notes durably that these users are drained, where the fence is still this attempt's; gives their keys.
async fn mark(
    connection: &mut Connection,
    migration: &str,
    users: &[UserVersion],
    drained: &BTreeSet<&str>,
) -> Result<Vec<String>, Error> {
    let drained: Vec<UserVersion> =
        users.iter().filter(|(user, _)| drained.contains(user.as_str())).cloned().collect();
    if drained.is_empty() {
        return Ok(Vec::new());
    }
    let (keys, versions) = columns(&drained);
    // In the order of keys, as everybody locks these rows.
    let sql = "WITH mine AS (
                 SELECT f.user_key FROM handover_fence.fenced f
                   JOIN unnest($2::text[], $3::int8[]) AS u (user_key, version)
                     ON f.user_key = u.user_key AND f.version = u.version
                  WHERE f.migration = $1 ORDER BY f.user_key FOR UPDATE OF f)
               UPDATE handover_fence.fenced f SET drained = true FROM mine
                WHERE f.user_key = mine.user_key AND f.migration = $1
               RETURNING f.user_key";
    let rows = connection.query(sql, &[&migration, &keys, &versions]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
