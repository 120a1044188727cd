//! Numbered schema files. A step once applied can never change: its hash is kept and compared.

use sha2::{Digest, Sha256};

use crate::{Connection, Error, quote_ident};

/// One numbered file: its name and its text.
pub type Step = (&'static str, &'static str);

/// The key of the advisory lock under which steps are applied ("handover" in ASCII).
const LOCK: i64 = 0x6861_6e64_6f76_6572;

/// Creates `schema` where it is missing, and applies the steps that are not yet recorded in its table
/// `schema_migration`, all in one transaction, under an advisory lock, so that any number of processes may
/// call this at once. Returns the names of the steps applied.
pub async fn migrate(
    connection: &mut Connection,
    schema: &str,
    steps: &[Step],
) -> Result<Vec<String>, Error> {
    let role = connection.role();
    let transaction = connection.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    let schema = quote_ident(schema);
    transaction
        .batch_execute(&format!(
            "CREATE SCHEMA IF NOT EXISTS {schema};
             CREATE TABLE IF NOT EXISTS {schema}.schema_migration
               (name text PRIMARY KEY, sha256 bytea NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        ))
        .await?;
    let known =
        transaction.query(&format!("SELECT name, sha256 FROM {schema}.schema_migration"), &[]).await?;
    let mut applied = Vec::new();
    for (name, sql) in steps {
        let hash = Sha256::digest(sql.as_bytes()).to_vec();
        match known.iter().find(|row| row.get::<_, &str>(0) == *name) {
            Some(row) if row.get::<_, &[u8]>(1) == hash => {}
            Some(_) => {
                return Err(Error::config(
                    role,
                    format!("schema step {name} was applied in another version"),
                ));
            }
            None => {
                transaction.batch_execute(sql).await?;
                let record = format!("INSERT INTO {schema}.schema_migration (name, sha256) VALUES ($1, $2)");
                transaction.execute(&record, &[name, &hash]).await?;
                applied.push((*name).to_owned());
            }
        }
    }
    transaction.commit().await?;
    Ok(applied)
}

/// The names of those steps that `schema` lacks; all of them where there is no such schema. Reads only.
pub async fn pending(
    connection: &Connection,
    schema: &str,
    steps: &[Step],
) -> Result<Vec<&'static str>, Error> {
    let table = format!("{}.schema_migration", quote_ident(schema));
    let exists: bool = connection.query_one("SELECT to_regclass($1) IS NOT NULL", &[&table]).await?.get(0);
    let names = format!("SELECT name FROM {table}");
    let rows = if exists { connection.query(&names, &[]).await? } else { Vec::new() };
    let known: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    Ok(steps.iter().map(|(name, _)| *name).filter(|name| !known.contains(name)).collect())
}
