//! The installation's key type, the migrations, and every plan that an attempt was ever pinned to.

use std::collections::BTreeMap;

use crate::{Error, Tracking};

/// A plan as it was stored.
#[derive(Clone, Debug)]
pub struct StoredPlan {
    /// Its number, which attempts are pinned to.
    pub id: i32,
    /// The migration's number.
    pub migration_id: i32,
    /// The migration's name.
    pub migration: String,
    /// SHA-256 over its files.
    pub hash: Vec<u8>,
    /// `plan.toml` and the SQL files by name.
    pub files: BTreeMap<String, String>,
}

const STORED: &str = "SELECT p.id, g.id, g.name, p.hash, p.files FROM handover.plan p
    JOIN handover.migration g ON g.name = p.migration";

impl Tracking {
    /// Fixes the installation's key type, or checks that it is the one fixed before.
    pub async fn fix_key_type(&self, user_key: &str) -> Result<(), Error> {
        let session = self.pool.get().await?;
        let insert = "INSERT INTO handover.installation (user_key) VALUES ($1) ON CONFLICT DO NOTHING";
        session.execute(insert, &[&user_key]).await?;
        let installed: String =
            session.query_one("SELECT user_key FROM handover.installation", &[]).await?.get(0);
        if installed == user_key {
            return Ok(());
        }
        Err(Error::KeyTypeDiffers { installed, plan: user_key.to_owned() })
    }

    /// The installation's key type, once a plan was registered.
    pub async fn key_type(&self) -> Result<Option<String>, Error> {
        let row = self.pool.get().await?.query_opt("SELECT user_key FROM handover.installation", &[]).await?;
        Ok(row.map(|row| row.get(0)))
    }

    /// Stores a plan (once, by its hash) and makes it the one that new attempts of its migration are pinned to.
    pub async fn register(
        &self,
        migration: &str,
        hash: &[u8; 32],
        files: &BTreeMap<String, String>,
    ) -> Result<StoredPlan, Error> {
        let json = serde_json::to_value(files).map_err(|error| Error::Damaged(error.to_string()))?;
        let mut session = self.pool.get().await?;
        let transaction = session.transaction().await?;
        let store = "INSERT INTO handover.plan (migration, hash, files) VALUES ($1, $2, $3) ON CONFLICT (hash) DO NOTHING";
        transaction.execute(store, &[&migration, &hash.as_slice(), &json]).await?;
        let current =
            "INSERT INTO handover.migration (name, plan_id) SELECT $1, id FROM handover.plan WHERE hash = $2
            ON CONFLICT (name) DO UPDATE SET plan_id = excluded.plan_id";
        transaction.execute(current, &[&migration, &hash.as_slice()]).await?;
        transaction.commit().await?;
        let row = session.query_one(&format!("{STORED} WHERE p.hash = $1"), &[&hash.as_slice()]).await?;
        stored(&row)
    }

    /// The plan of that number.
    pub async fn plan(&self, id: i32) -> Result<StoredPlan, Error> {
        let row = self.pool.get().await?.query_opt(&format!("{STORED} WHERE p.id = $1"), &[&id]).await?;
        stored(&row.ok_or_else(|| Error::Damaged(format!("plan {id} is missing")))?)
    }

    /// The migration's current plan.
    pub async fn current_plan(&self, migration: &str) -> Result<StoredPlan, Error> {
        let sql = format!("{STORED} WHERE g.name = $1 AND g.plan_id = p.id");
        let row = self.pool.get().await?.query_opt(&sql, &[&migration]).await?;
        stored(&row.ok_or_else(|| Error::NoSuchMigration(migration.to_owned()))?)
    }

    /// The registered migrations, by number.
    pub async fn migrations(&self) -> Result<Vec<(i32, String)>, Error> {
        let session = self.pool.get().await?;
        let rows = session.query("SELECT id, name FROM handover.migration ORDER BY id", &[]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }
}

fn stored(row: &tokio_postgres::Row) -> Result<StoredPlan, Error> {
    let files = serde_json::from_value(row.get(4))
        .map_err(|error| Error::Damaged(format!("a plan's files: {error}")))?;
    Ok(StoredPlan {
        id: row.get(0),
        migration_id: row.get(1),
        migration: row.get(2),
        hash: row.get(3),
        files,
    })
}
