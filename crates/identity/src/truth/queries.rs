//! The truth's questions, and its outbox.

use std::collections::HashMap;
use std::time::Duration;

use tokio_postgres::types::Type;

use super::{Truth, batch, rows, statements};
use crate::error::Error;
use crate::record::Record;
use crate::text::check_migration;

/// Users by their state in one migration. Users on legacy without a row are not counted: Identity does not
/// know them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Paused, on the way to the new system.
    pub migrating: u64,
    /// At home on the new system.
    pub migrated: u64,
    /// Paused, on the way back.
    pub rolling_back: u64,
    /// Users with a row, whatever their state in this migration.
    pub known: u64,
}

/// A batch that was committed and is not known to be mirrored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its number.
    pub id: i64,
    /// The users it changed.
    pub users: Vec<String>,
}

/// How much of what was committed is not known to be mirrored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outbox {
    /// Batches that wait.
    pub rows: u64,
    /// The age of the oldest, by the database's clock.
    pub oldest: Option<Duration>,
}

impl Truth {
    /// The users' records, in the order of the input; an absent one is a record of revision 0.
    pub async fn get(&self, users: &[String]) -> Result<Vec<Record>, Error> {
        let mut found: HashMap<String, Record> = HashMap::with_capacity(users.len());
        for chunk in users.chunks(batch::LARGEST) {
            let keys: Vec<&str> = chunk.iter().map(String::as_str).collect();
            found.extend(self.known(&keys).await?.into_iter().map(|record| (record.user.clone(), record)));
        }
        let record =
            |user: &String| found.get(user).cloned().unwrap_or_else(|| Record::absent(user.as_str()));
        Ok(users.iter().map(record).collect())
    }

    /// Those of these users who signed up on the new system in that migration, in no order. Only they are sent
    /// back, so that a million can be asked about, some thousands at a time.
    pub async fn born(&self, migration: &str, users: &[String]) -> Result<Vec<String>, Error> {
        let mut connection = self.pool.get().await?;
        let answer = async {
            let transaction = connection.build_transaction().read_only(true).start().await?;
            // For some thousand users the planner would read the whole table, and again for the next thousands.
            transaction.batch_execute(statements::BY_INDEX).await?;
            let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
                [(&migration, Type::TEXT), (&users, Type::TEXT_ARRAY)];
            transaction.query_typed(statements::BORN, &parameters).await
        };
        let answer = answer.await;
        let rows = answer.map_err(|error| connection.explain(error))?;
        let user =
            |row: &tokio_postgres::Row| row.try_get(0).map_err(|_| Error::Row("a key is of another type"));
        rows.iter().map(user).collect()
    }

    /// The rows of those of these users who have one, in no order.
    pub(super) async fn known(&self, users: &[&str]) -> Result<Vec<Record>, Error> {
        let rows = self.query(statements::GET, &[(&users, Type::TEXT_ARRAY)]).await?;
        rows.iter().map(rows::record).collect()
    }

    /// At most `limit` records in key order, after the key `after` (from the first, where it is empty).
    pub async fn page(&self, after: &str, limit: u32) -> Result<Vec<Record>, Error> {
        let limit = i64::from(limit);
        let rows = self.query(statements::PAGE, &[(&after, Type::TEXT), (&limit, Type::INT8)]).await?;
        rows.iter().map(rows::record).collect()
    }

    /// All users who are paused, by key. Never many: the pause stage bounds them.
    pub async fn paused(&self) -> Result<Vec<Record>, Error> {
        let rows = self.query(statements::PAUSED, &[]).await?;
        rows.iter().map(rows::record).collect()
    }

    /// Users by their state in that migration. Reads the whole table: for operators, not for loops.
    pub async fn count_by_state(&self, migration: &str) -> Result<Counts, Error> {
        check_migration(migration).map_err(Error::Migration)?;
        let rows = self.query(statements::COUNT, &[(&migration, Type::TEXT)]).await?;
        let row = rows.first().ok_or(Error::Row("a count is missing"))?;
        let count = |column: usize| row.try_get::<_, i64>(column).map(|count| count as u64);
        let counts = || -> Result<Counts, tokio_postgres::Error> {
            Ok(Counts {
                migrating: count(0)?,
                migrated: count(1)?,
                rolling_back: count(2)?,
                known: count(3)?,
            })
        };
        counts().map_err(|_| Error::Row("a count is of another type"))
    }

    /// Batches that have waited at least `min_age` for the mirror, oldest first.
    pub async fn outbox_rows(&self, min_age: Duration, limit: u32) -> Result<Vec<OutboxRow>, Error> {
        let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
            [(&min_age.as_secs_f64(), Type::FLOAT8), (&i64::from(limit), Type::INT8)];
        let rows = self.query(statements::OUTBOX, &parameters).await?;
        let read = |row: &tokio_postgres::Row| -> Result<OutboxRow, tokio_postgres::Error> {
            Ok(OutboxRow { id: row.try_get(0)?, users: row.try_get(1)? })
        };
        rows.iter().map(|row| read(row).map_err(|_| Error::Row("an outbox row is garbled"))).collect()
    }

    /// Forgets batches that the mirror has acknowledged.
    pub async fn outbox_done(&self, ids: &[i64]) -> Result<(), Error> {
        if !ids.is_empty() {
            self.query(statements::OUTBOX_DONE, &[(&ids, Type::INT8_ARRAY)]).await?;
        }
        Ok(())
    }

    /// How much waits for the mirror, and since when.
    pub async fn outbox(&self) -> Result<Outbox, Error> {
        let rows = self.query(statements::OUTBOX_STATE, &[]).await?;
        let row = rows.first().ok_or(Error::Row("a count is missing"))?;
        let garbled = |_| Error::Row("a count is of another type");
        let count: i64 = row.try_get(0).map_err(garbled)?;
        let age: Option<f64> = row.try_get(1).map_err(garbled)?;
        Ok(Outbox { rows: count as u64, oldest: age.map(|age| Duration::from_secs_f64(age.max(0.0))) })
    }
}
