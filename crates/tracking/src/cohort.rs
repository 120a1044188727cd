//! Cohorts: made, listed, and cleared of users who were never launched.

use tokio_postgres::Row;

use crate::{Error, Tracking};

pub use crate::member::{AddReport, Adding, Clash, ClashKind};

/// A cohort as operators see it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct CohortInfo {
    /// Its number.
    #[serde(skip)]
    pub id: i32,
    /// Its name, unique in the installation.
    pub name: String,
    /// The migration's number.
    #[serde(skip)]
    pub migration_id: i32,
    /// The migration that its users pass through.
    pub migration: String,
    /// Whether nobody new is begun.
    pub held: bool,
    /// Why it is held.
    pub held_reason: Option<String>,
    /// When it was made (ISO 8601, UTC).
    pub created_at: String,
    /// When it was last launched.
    pub launched_at: Option<String>,
    /// How many users it has.
    pub users: i64,
}

/// What became of users who were to be removed from a cohort.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Removed {
    /// Removed.
    pub removed: Vec<String>,
    /// Kept, since they were launched or tried before: their versions must go on growing.
    pub launched: Vec<String>,
    /// Not of this cohort.
    pub unknown: Vec<String>,
}

const ISO: &str = "YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"";

fn select() -> String {
    format!(
        "SELECT c.id, c.name, c.migration_id, g.name, c.held, c.held_reason, to_char(c.created_at, '{ISO}'),
                to_char(c.launched_at, '{ISO}'),
                coalesce((SELECT sum(delta) FROM handover.counter k
                           WHERE k.cohort_id = c.id AND k.state <> 'rollback_requested'), 0)::int8
                + (SELECT count(*) FROM handover.open_attempt o WHERE o.cohort_id = c.id)
           FROM handover.cohort c JOIN handover.migration g ON g.id = c.migration_id"
    )
}

fn info(row: &Row) -> CohortInfo {
    CohortInfo {
        id: row.get(0),
        name: row.get(1),
        migration_id: row.get(2),
        migration: row.get(3),
        held: row.get(4),
        held_reason: row.get(5),
        created_at: row.get(6),
        launched_at: row.get(7),
        users: row.get(8),
    }
}

impl Tracking {
    /// Makes an empty cohort.
    pub async fn create_cohort(&self, migration: &str, name: &str) -> Result<CohortInfo, Error> {
        check_name(name)?;
        let migration_id = self.current_plan(migration).await?.migration_id;
        let session = self.pool.get().await?;
        let insert =
            "INSERT INTO handover.cohort (migration_id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        if session.execute(insert, &[&migration_id, &name]).await? == 0 {
            drop(session);
            let there = self.cohort(name).await?;
            return Err(Error::CohortExists(there.name, there.migration));
        }
        drop(session);
        self.cohort(name).await
    }

    /// The cohort of that name.
    pub async fn cohort(&self, name: &str) -> Result<CohortInfo, Error> {
        let sql = format!("{} WHERE c.name = $1", select());
        let row = self.pool.get().await?.query_opt(&sql, &[&name]).await?;
        row.as_ref().map(info).ok_or_else(|| Error::NoSuchCohort(name.to_owned()))
    }

    /// Every cohort, in the order they were made.
    pub async fn cohorts(&self) -> Result<Vec<CohortInfo>, Error> {
        let rows = self.pool.get().await?.query(&format!("{} ORDER BY c.id", select()), &[]).await?;
        Ok(rows.iter().map(info).collect())
    }

    /// Removes users who were never launched nor tried.
    pub async fn remove_users(&self, cohort: &CohortInfo, users: &[String]) -> Result<Removed, Error> {
        let sql = "WITH gone AS (DELETE FROM handover.member m USING handover.cohort c
                WHERE c.id = $1 AND m.cohort_id = c.id AND m.user_key = ANY($2) AND m.seq > c.launched_seq
                  AND m.version = 0 RETURNING m.user_key),
             count AS (INSERT INTO handover.counter SELECT $1, 'not_started', -count(*) FROM gone HAVING count(*) > 0)
            SELECT w.user_key, gone.user_key IS NOT NULL, m.user_key IS NOT NULL
              FROM unnest($2::text[]) WITH ORDINALITY w(user_key, nth)
              LEFT JOIN gone USING (user_key)
              LEFT JOIN handover.member m ON m.migration_id = $3 AND m.user_key = w.user_key AND m.cohort_id = $1
             ORDER BY nth";
        let mut session = self.pool.get().await?;
        let transaction = session.transaction().await?;
        // The lock keeps a launch from moving on between the look at `launched_seq` and the removal.
        transaction.execute("SELECT FROM handover.cohort WHERE id = $1 FOR UPDATE", &[&cohort.id]).await?;
        let rows = transaction.query(sql, &[&cohort.id, &users, &cohort.migration_id]).await?;
        transaction.commit().await?;
        let mut report = Removed::default();
        for row in rows {
            let list = match (row.get(1), row.get(2)) {
                (true, _) => &mut report.removed,
                (false, true) => &mut report.launched,
                (false, false) => &mut report.unknown,
            };
            list.push(row.get(0));
        }
        Ok(report)
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    let rest = name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if first && rest && name.len() <= 63 {
        Ok(())
    } else {
        Err(Error::BadCohortName(name.escape_debug().to_string()))
    }
}
