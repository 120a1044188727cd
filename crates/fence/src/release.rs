//! What happens to a fence that stands: it is lifted, or stays for good, or is looked for in a snapshot.

use std::collections::BTreeMap;

use handover_postgres::Connection;
use tokio_postgres::{GenericClient, Transaction};

use crate::{CARRY, Error, UserVersion, columns};

/// What lifting did for one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lift {
    /// The user may be written for again.
    Lifted,
    /// There was no fence: a repeat.
    Absent,
    /// The fence is another attempt's, or the user has moved: nothing was done.
    NotOurs,
}

/// What settling did for one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settle {
    /// The fence stays, and says that the home is the other system; also for a repeat.
    Settled,
    /// There is no fence, or it was raised and not drained: it must be raised first.
    NotRaised,
    /// The fence is another attempt's.
    NotOurs,
}

/// Lifts the fences of these attempts and of older ones: a late worker lifts no newer one's, and nobody a settled one
/// but the rollback that raised it again.
pub async fn lift(
    connection: &mut Connection,
    migration: &str,
    users: &[UserVersion],
) -> Result<Vec<Lift>, Error> {
    let sql = "WITH mine AS (
                 SELECT f.user_key FROM handover_fence.fenced f
                   JOIN unnest($2::text[], $3::int8[]) AS u (user_key, version)
                     ON f.user_key = u.user_key AND f.version <= u.version
                  WHERE f.migration = $1 AND f.state <> 'moved' ORDER BY f.user_key FOR UPDATE OF f)
               DELETE FROM handover_fence.fenced f USING mine
                WHERE f.user_key = mine.user_key AND f.migration = $1
               RETURNING f.user_key";
    delete(connection, migration, users, sql).await
}

/// The same, and settled fences as well: for users who come to live in this database, or do.
pub async fn clear(
    connection: &mut Connection,
    migration: &str,
    users: &[UserVersion],
) -> Result<Vec<Lift>, Error> {
    let sql = "WITH mine AS (
                 SELECT f.user_key FROM handover_fence.fenced f
                   JOIN unnest($2::text[], $3::int8[]) AS u (user_key, version)
                     ON f.user_key = u.user_key AND f.version <= u.version
                  WHERE f.migration = $1 ORDER BY f.user_key FOR UPDATE OF f)
               DELETE FROM handover_fence.fenced f USING mine
                WHERE f.user_key = mine.user_key AND f.migration = $1
               RETURNING f.user_key";
    delete(connection, migration, users, sql).await
}

async fn delete(
    connection: &mut Connection,
    migration: &str,
    users: &[UserVersion],
    sql: &str,
) -> Result<Vec<Lift>, Error> {
    let outcome = |is_done, is_there| match (is_done, is_there) {
        (true, _) => Lift::Lifted,
        (false, false) => Lift::Absent,
        (false, true) => Lift::NotOurs,
    };
    change(connection, migration, users, sql, |_, is_done, rest| outcome(is_done, rest.is_some())).await
}

/// Leaves the fences of these attempts standing for good, with the other system as home: a forgotten job cannot
/// write here. Also ends a rollback that was taken back.
pub async fn settle(
    connection: &mut Connection,
    migration: &str,
    users: &[UserVersion],
) -> Result<Vec<Settle>, Error> {
    let sql = "WITH mine AS (
                 SELECT f.user_key FROM handover_fence.fenced f
                   JOIN unnest($2::text[], $3::int8[]) AS u (user_key, version)
                     ON f.user_key = u.user_key AND f.version = u.version
                  WHERE f.migration = $1 AND f.drained ORDER BY f.user_key FOR UPDATE OF f)
               UPDATE handover_fence.fenced f
                  SET state = 'moved',
                      since = CASE f.state WHEN 'moved' THEN f.since ELSE clock_timestamp() END
                 FROM mine WHERE f.user_key = mine.user_key AND f.migration = $1
               RETURNING f.user_key";
    let outcome = |version: i64, is_done, rest: Option<i64>| match (is_done, rest) {
        (true, _) => Settle::Settled,
        (false, Some(other)) if other != version => Settle::NotOurs,
        (false, _) => Settle::NotRaised,
    };
    change(connection, migration, users, sql, outcome).await
}

/// Runs a change, and tells the users whom it did not concern apart by the version that stands there.
async fn change<T>(
    connection: &mut Connection,
    migration: &str,
    users: &[UserVersion],
    sql: &str,
    outcome: impl Fn(i64, bool, Option<i64>) -> T,
) -> Result<Vec<T>, Error> {
    let (keys, versions) = columns(users);
    let transaction = connection.transaction().await?;
    let rows = transaction.query(sql, &[&migration, &keys, &versions]).await?;
    let done: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let sql =
        "SELECT user_key, version FROM handover_fence.fenced WHERE migration = $1 AND user_key = ANY ($2)";
    let rows = transaction.query(sql, &[&migration, &keys]).await?;
    let rest: BTreeMap<String, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    transaction.commit().await?;
    let of = |(user, version): &UserVersion| outcome(*version, done.contains(user), rest.get(user).copied());
    Ok(users.iter().map(of).collect())
}

/// Whether each user's fence of this version can be seen, and was drained, in the snapshot that this
/// transaction reads by: then the snapshot holds all that was ever written for the user. For the transaction
/// at the replica that extracts, and in that transaction; needs SELECT on `handover_fence.fenced`.
pub async fn visible_in(
    reading: &impl GenericClient,
    migration: &str,
    users: &[UserVersion],
) -> Result<Vec<bool>, Error> {
    // Asked, since a failed query would end the reader's transaction: a replica can be behind the installation.
    let sql = "SELECT to_regclass('handover_fence.fenced') IS NOT NULL";
    if !reading.query_one(sql, &[]).await?.get::<_, bool>(0) {
        return Ok(vec![false; users.len()]);
    }
    let (keys, versions) = columns(users);
    let sql = "SELECT coalesce(f.drained, false)
                 FROM unnest($2::text[], $3::int8[]) WITH ORDINALITY AS u (user_key, version, place)
                 LEFT JOIN handover_fence.fenced f
                   ON f.user_key = u.user_key AND f.migration = $1 AND f.version = u.version
                ORDER BY u.place";
    Ok(reading.query(sql, &[&migration, &keys, &versions]).await?.iter().map(|row| row.get(0)).collect())
}

/// Lets this transaction, and no other, write for users of the fence: on legacy for those whose rollback is under way
/// (the reverse load; users who are paused or have moved stay refused), at the destination for all.
pub async fn carry(transaction: &Transaction<'_>, migration: &str) -> Result<(), Error> {
    transaction.execute("SELECT set_config($2, $1, true)", &[&migration, &CARRY]).await?;
    Ok(())
}
