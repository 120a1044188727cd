//! Identity's truth: every change of a user's state, and every question that must not be answered from a
//! copy. Does not write the mirror: what changed is noted in the outbox, in the same statement.
//!
//! All operations take a batch, in any order and with repeats, and answer in the order of the input.

mod batch;
mod members;
mod queries;
mod rows;
mod statements;

use handover_postgres::{Pool, Step};
use tokio_postgres::types::{ToSql, Type};

use crate::error::Error;
use crate::keys::check_user;
use crate::outcome::{Begin, BeginRollback, Enroll, Flip, Raise, Release, Restore};
use crate::record::Record;
use crate::rules;
use crate::text::check_migration;

pub use members::Member;

pub use queries::{Counts, Outbox, OutboxRow};

/// The schema's numbered files.
const STEPS: &[Step] = &[
    ("0001_users", include_str!("../schema/0001_users.sql")),
    ("0002_gates", include_str!("../schema/0002_gates.sql")),
    ("0003_mirror", include_str!("../schema/0003_mirror.sql")),
];

/// Identity's truth, in the database of that pool. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Truth {
    pool: Pool,
}

/// What a batch did.
#[derive(Clone, Debug)]
pub struct Change<T> {
    /// One a user, in the order of the input.
    pub outcomes: Vec<T>,
    /// The row of each user who has one, once, as it stood at the end, changed or not.
    pub records: Vec<Record>,
    /// The outbox rows that the batch wrote; to be deleted once the mirror holds `records`.
    pub outbox: Vec<i64>,
}

impl Truth {
    /// The truth in that database; [`migrate`](Self::migrate) makes its tables.
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }

    /// Brings the schema `identity` up to date. Any number of processes may call this at once. Returns the
    /// names of the steps applied.
    pub async fn migrate(&self) -> Result<Vec<String>, Error> {
        let mut connection = self.pool.get().await?;
        Ok(handover_postgres::migrate(&mut connection, "identity", STEPS).await?)
    }

    /// The steps that the schema still lacks; none where [`Truth::migrate`] has nothing to do.
    pub async fn pending(&self) -> Result<Vec<&'static str>, Error> {
        let connection = self.pool.get().await?;
        Ok(handover_postgres::pending(&connection, "identity", STEPS).await?)
    }

    /// Pauses users for an attempt: `legacy` → `migrating`. Users without a row get one.
    ///
    /// A version begins once: after it has ended, only a higher one can begin.
    pub async fn begin(&self, migration: &str, users: &[(String, i64)]) -> Result<Change<Begin>, Error> {
        self.change("begin", statements::BEGIN, batch::Missing::Made, rules::begin, migration, users).await
    }

    /// Makes the new system the users' home and ends the pause: `migrating` → `migrated`, where this version
    /// holds the user.
    pub async fn flip(&self, migration: &str, users: &[(String, i64)]) -> Result<Change<Flip>, Error> {
        self.change("flip", statements::FLIP, batch::Missing::Left, rules::flip, migration, users).await
    }

    /// Takes open attempts over for a newer version, still paused; and shuts out every older version that
    /// has not begun yet. The first step of taking an attempt back.
    pub async fn raise(&self, migration: &str, users: &[(String, i64)]) -> Result<Change<Raise>, Error> {
        self.change("raise", statements::RAISE, batch::Missing::Made, rules::raise, migration, users).await
    }

    /// Ends the pause with home legacy: `migrating` → `legacy` (an attempt taken back) and `rolling_back` →
    /// `legacy` (a rollback done), where this version holds the user.
    pub async fn release(&self, migration: &str, users: &[(String, i64)]) -> Result<Change<Release>, Error> {
        self.change("release", statements::RELEASE, batch::Missing::Left, rules::release, migration, users)
            .await
    }

    /// Pauses users for a rollback: `migrated` → `rolling_back`.
    pub async fn begin_rollback(
        &self,
        migration: &str,
        users: &[(String, i64)],
    ) -> Result<Change<BeginRollback>, Error> {
        let sql = statements::BEGIN_ROLLBACK;
        self.change("begin_rollback", sql, batch::Missing::Left, rules::begin_rollback, migration, users)
            .await
    }

    /// Gives a rollback up: `rolling_back` → `migrated`, where this version holds the user.
    pub async fn restore(&self, migration: &str, users: &[(String, i64)]) -> Result<Change<Restore>, Error> {
        self.change("restore", statements::RESTORE, batch::Missing::Left, rules::restore, migration, users)
            .await
    }

    /// Enters a sign-up that is born on the new system in these migrations. Refuses a user who is being moved
    /// ([`Error::Paused`]) or is known without one of them ([`Error::KnownOnLegacy`]).
    pub async fn enroll(&self, user: &str, migrations: &[String]) -> Result<Change<Enroll>, Error> {
        check_user(user).map_err(Error::UserKey)?;
        if migrations.is_empty() {
            return Err(Error::Migration("is missing"));
        }
        migrations.iter().try_for_each(|name| check_migration(name)).map_err(Error::Migration)?;
        let rows =
            self.query(statements::ENROLL, &[(&user, Type::TEXT), (&migrations, Type::TEXT_ARRAY)]).await?;
        if let Some(row) = rows.first() {
            let made = rows::touched(row)?;
            let outbox = made.outbox.into_iter().collect();
            return Ok(Change { outcomes: vec![Enroll::Enrolled], records: vec![made.record], outbox });
        }
        self.enrolled_before(user, migrations).await
    }

    /// A row was there: either it says what the sign-up asks for, or the sign-up is refused.
    async fn enrolled_before(&self, user: &str, migrations: &[String]) -> Result<Change<Enroll>, Error> {
        let records = self.get(&[user.to_owned()]).await?;
        let record =
            records.first().filter(|record| record.is_known()).ok_or(Error::Disagreement("enroll"))?;
        if let Some(open) = record.open() {
            return Err(Error::Paused { migration: open.migration.clone() });
        }
        match migrations.iter().find(|name| record.flipped_by(name).is_none()) {
            Some(name) => Err(Error::KnownOnLegacy { migration: name.clone() }),
            None => Ok(Change { outcomes: vec![Enroll::AlreadyEnrolled], records, outbox: Vec::new() }),
        }
    }

    /// Sends one statement, unprepared: one round trip, planned for these values.
    pub(crate) async fn query(
        &self,
        sql: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<tokio_postgres::Row>, Error> {
        let connection = self.pool.get().await?;
        let answer = connection.query_typed(sql, parameters).await;
        Ok(answer.map_err(|error| connection.explain(error))?)
    }
}
