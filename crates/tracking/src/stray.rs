//! What the reconciler and the stages ask of attempts that may have been left alone: whose worker died, or
//! whose user was paused too late. It changes nothing but a number.

use std::collections::HashMap;

use futures_util::TryStreamExt as _;

use crate::{Claim, Error, Kind, OpenState, Tracking};

/// Where an open attempt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The fencing token.
    pub version: i64,
    /// How far it has come.
    pub state: OpenState,
}

/// An attempt whose job should be in a queue: no more of it than the job needs, since there can be a million.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The migration's name.
    pub migration: String,
    /// The user.
    pub user: String,
    /// The fencing token.
    pub version: i64,
    /// Which way it goes.
    pub kind: Kind,
    /// How far it has come.
    pub state: OpenState,
}

impl Tracking {
    /// Shows every open attempt that has stood in its state for at least `age_ms`, in no order, one at a time.
    pub async fn each_due(&self, age_ms: i64, mut each: impl FnMut(Due)) -> Result<(), Error> {
        let sql = "SELECT g.name, o.user_key, o.version, o.kind::text, o.state::text
                     FROM handover.open_attempt o JOIN handover.migration g ON g.id = o.migration_id
                    WHERE o.state_at <= clock_timestamp() - $1 * interval '1 millisecond'";
        let mut session = self.pool.get().await?;
        let statement = session.prepared(sql).await?;
        let rows = session.query_raw(&statement, [age_ms as f64]).await?;
        let mut rows = std::pin::pin!(rows);
        while let Some(row) = rows.try_next().await? {
            each(Due {
                migration: row.get(0),
                user: row.get(1),
                version: row.get(2),
                kind: row.get::<_, &str>(3).parse()?,
                state: row.get::<_, &str>(4).parse()?,
            });
        }
        Ok(())
    }

    /// The number of the migration of that name, if it was registered.
    pub async fn migration_id(&self, name: &str) -> Result<Option<i32>, Error> {
        let mut session = self.pool.get().await?;
        let statement = session.prepared("SELECT id FROM handover.migration WHERE name = $1").await?;
        Ok(session.query_opt(&statement, &[&name]).await?.map(|row| row.get(0)))
    }

    /// Which of these users have an open attempt, and where it stands.
    pub async fn standing_of(
        &self,
        migration_id: i32,
        users: &[String],
    ) -> Result<HashMap<String, Standing>, Error> {
        let sql = "SELECT user_key, version, state::text FROM handover.open_attempt
                    WHERE migration_id = $1 AND user_key = ANY ($2)";
        let rows = self.pool.get().await?.query(sql, &[&migration_id, &users]).await?;
        let standing = |row: &tokio_postgres::Row| {
            let state = row.get::<_, &str>(2).parse()?;
            Ok((row.get(0), Standing { version: row.get(1), state }))
        };
        rows.iter().map(standing).collect()
    }

    /// Gives an attempt that waits a higher version, so that whoever still acts for the old one is refused.
    /// False where it does not wait any more, or not under this version.
    pub async fn renumber(&self, migration_id: i32, claim: &Claim, to: i64) -> Result<bool, Error> {
        let sql = "UPDATE handover.open_attempt SET version = $4, state_at = clock_timestamp()
                    WHERE migration_id = $1 AND user_key = $2 AND version = $3 AND state = 'queued'";
        let session = self.pool.get().await?;
        Ok(session.execute(sql, &[&migration_id, &claim.user, &claim.version, &to]).await? == 1)
    }

    /// How many attempts of that kind were admitted and have stood at their first stage for at least `age_ms`:
    /// longer than a stage that lives would leave them there.
    pub async fn stalled(&self, kind: Kind, age_ms: i64) -> Result<usize, Error> {
        let sql = "SELECT count(*) FROM handover.open_attempt
                    WHERE state = $1::text::handover.open_state
                      AND state_at <= clock_timestamp() - $2 * interval '1 millisecond'";
        let state = match kind {
            Kind::Move => OpenState::Pausing,
            Kind::Rollback => OpenState::RollingBack,
        };
        let mut session = self.pool.get().await?;
        let statement = session.prepared(sql).await?;
        let count: i64 = session.query_one(&statement, &[&state.as_str(), &(age_ms as f64)]).await?.get(0);
        Ok(count as usize)
    }
}
