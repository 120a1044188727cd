//! Puts the fence's triggers on a plan's tables, and takes them away.
//!
//! A table at a time, each in a transaction of its own, and never waiting for a table's lock for longer than
//! writers may be held up by it. A run that was cut off is completed by the next.

use std::collections::BTreeSet;
use std::time::Duration;

use handover_postgres::{Connection, QualifiedName, migrate, quote_literal};
use tokio::time::{Instant, sleep};
use tokio_postgres::Transaction;
use tokio_postgres::error::SqlState;

use crate::Error;
use crate::guard::{self, Guard};
use crate::scope::{CARRY, Scope, Side};
use crate::triggers::Names;

/// While the lock of a table is waited for, its other writers wait behind: no longer than this at a time.
const LOCK_WAIT: Duration = Duration::from_millis(50);
/// Between two such waits the writers go on.
const LOCK_PAUSE: Duration = Duration::from_millis(150);
/// All waits for one table together.
const LOCK_PATIENCE: Duration = Duration::from_secs(15);

const SCHEMA: &str = "handover_fence";
const STEPS: &[(&str, &str)] = &[("0001_fence", include_str!("schema/0001_fence.sql"))];

/// Installs or completes the fence for a plan, and brings it up to date where the plan has changed. Gives the
/// tables that were touched. The role must own the tables.
///
/// Creating a trigger waits for every open transaction that writes to the table, so none is left that wrote
/// without the fence's lock.
pub async fn install<'p>(
    connection: &mut Connection,
    scope: impl Into<Scope<'p>>,
) -> Result<Vec<QualifiedName>, Error> {
    let scope = scope.into();
    let guards = guard::of_scope(connection, scope).await?;
    migrate(connection, SCHEMA, STEPS).await?;
    let mut touched = Vec::new();
    for guard in &guards {
        if with_table(connection, &guard.table, Work::Install(guard)).await? {
            touched.push(guard.table.clone());
        }
    }
    let wanted: BTreeSet<&QualifiedName> = guards.iter().map(|guard| &guard.table).collect();
    for table in guarded(connection, &scope.fence()).await? {
        if !wanted.contains(&table) {
            with_table(connection, &table, Work::Remove(&scope.fence())).await?;
            touched.push(table);
        }
    }
    Ok(touched)
}

/// Removes the fence of a plan's migration, whatever tables it stands on, and with the last one the schema.
/// Refused while users are paused behind it; users who have moved lose its protection.
pub async fn remove<'p>(
    connection: &mut Connection,
    scope: impl Into<Scope<'p>>,
) -> Result<Vec<QualifiedName>, Error> {
    let scope = scope.into();
    let fence = scope.fence();
    if !exists(connection).await? {
        return Ok(Vec::new());
    }
    let sql = "SELECT count(*) FROM handover_fence.fenced WHERE migration = $1 AND state <> 'moved'";
    let paused: i64 = connection.query_one(sql, &[&fence]).await?.get(0);
    if paused > 0 {
        return Err(Error::InUse { migration: scope.plan.name().to_owned(), paused });
    }
    let tables = guarded(connection, &fence).await?;
    for table in &tables {
        with_table(connection, table, Work::Remove(&fence)).await?;
    }
    let transaction = connection.transaction().await?;
    for rows in ["fenced", "crossing"] {
        let sql = format!("DELETE FROM handover_fence.{rows} WHERE migration = $1");
        transaction.execute(&sql, &[&fence]).await?;
    }
    let sql =
        "SELECT EXISTS (SELECT FROM handover_fence.guarded) OR EXISTS (SELECT FROM handover_fence.fenced)";
    let is_used: bool = transaction.query_one(sql, &[]).await?.get(0);
    if !is_used {
        transaction.batch_execute("DROP SCHEMA handover_fence CASCADE").await?;
    }
    transaction.commit().await?;
    Ok(tables)
}

/// Whether the fence's schema is there.
pub(crate) async fn exists(connection: &Connection) -> Result<bool, Error> {
    let sql = "SELECT to_regclass('handover_fence.guarded') IS NOT NULL";
    Ok(connection.query_one(sql, &[]).await?.get(0))
}

/// Whether any table of a fence is noted as guarded.
pub async fn guards_any(connection: &Connection, fence: &str) -> Result<bool, Error> {
    if !exists(connection).await? {
        return Ok(false);
    }
    let sql = "SELECT EXISTS (SELECT FROM handover_fence.guarded WHERE migration = $1)";
    Ok(connection.query_one(sql, &[&fence]).await?.get(0))
}

/// The tables that carry a migration's triggers, as they were noted.
async fn guarded(connection: &Connection, migration: &str) -> Result<Vec<QualifiedName>, Error> {
    let sql = "SELECT schema_name, table_name FROM handover_fence.guarded WHERE migration = $1 ORDER BY 1, 2";
    let rows = connection.query(sql, &[&migration]).await?;
    Ok(rows.iter().map(|row| QualifiedName { schema: row.get(0), name: row.get(1) }).collect())
}

/// What is done to one table. Gives whether anything was.
#[derive(Clone, Copy)]
enum Work<'w> {
    Install(&'w Guard),
    /// With the fence's name.
    Remove(&'w str),
}

/// Does the work in a transaction; where a lock is not to be had, again, within bounds.
async fn with_table(
    connection: &mut Connection,
    table: &QualifiedName,
    work: Work<'_>,
) -> Result<bool, Error> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        let transaction = connection.transaction().await?;
        let bound = format!("SET LOCAL lock_timeout = {}", LOCK_WAIT.as_millis());
        transaction.batch_execute(&bound).await?;
        let worked = match work {
            Work::Install(guard) => install_table(&transaction, guard).await,
            Work::Remove(migration) => remove_table(&transaction, migration, table).await,
        };
        match worked {
            Ok(done) => {
                transaction.commit().await?;
                return Ok(done);
            }
            Err(error) if !is_lock_timeout(&error) => return Err(error),
            Err(_) if Instant::now() >= deadline => {
                return Err(Error::TableBusy { table: table.plain() });
            }
            Err(_) => transaction.rollback().await?,
        }
        sleep(LOCK_PAUSE).await;
    }
}

pub(crate) fn is_lock_timeout(error: &Error) -> bool {
    matches!(error, Error::Postgres(error) if error.sqlstate() == Some(&SqlState::LOCK_NOT_AVAILABLE))
}

/// Returns whether there was anything to do.
async fn install_table(transaction: &Transaction<'_>, guard: &Guard) -> Result<bool, Error> {
    let definition = guard.definition();
    let key: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
        [&guard.migration, &guard.table.schema, &guard.table.name, &guard.role.word(), &definition];
    let note = "INSERT INTO handover_fence.guarded AS g VALUES ($1, $2, $3, $4, $5)
                ON CONFLICT (migration, schema_name, table_name) DO UPDATE
                SET role = excluded.role, definition = excluded.definition
                WHERE (g.role, g.definition) IS DISTINCT FROM (excluded.role, excluded.definition)";
    let changed = transaction.execute(note, &key).await? > 0;
    if changed {
        transaction.batch_execute(&guard.functions()).await?;
    }
    let statements = missing_triggers(transaction, guard).await?;
    if !statements.is_empty() {
        transaction.batch_execute(&statements.join(";\n")).await?;
    }
    Ok(changed || !statements.is_empty())
}

/// The statements for triggers that are missing or would not fire always. Those that stand are let be: each
/// statement locks its table against writers.
async fn missing_triggers(transaction: &Transaction<'_>, guard: &Guard) -> Result<Vec<String>, Error> {
    let names = guard.names();
    let mut statements = Vec::new();
    for kind in [Kind::Row, Kind::Truncate] {
        let (trigger, function) = match kind {
            Kind::Row => (&names.row_trigger, &names.row_function),
            Kind::Truncate => (&names.truncate_trigger, &names.truncate_function),
        };
        for member in &guard.family {
            let fires = fires(transaction, member.oid, trigger).await?;
            let quoted = handover_postgres::quote_ident(trigger);
            // A partition's row trigger is made with that of the table above.
            if fires.is_none() && !(matches!(kind, Kind::Row) && member.is_partition) {
                let (when, each) = kind.when();
                statements.push(format!(
                    "CREATE TRIGGER {quoted} {when} ON {} {each}{} EXECUTE FUNCTION {function}()",
                    member.name,
                    kind.condition(guard)
                ));
                let comment = quote_literal(&format!("handover's fence of {}", guard.migration));
                statements.push(format!("COMMENT ON TRIGGER {quoted} ON {} IS {comment}", member.name));
            }
            if fires != Some(true) {
                statements.push(format!("ALTER TABLE {} ENABLE ALWAYS TRIGGER {quoted}", member.name));
            }
        }
    }
    Ok(statements)
}

#[derive(Clone, Copy)]
enum Kind {
    Row,
    Truncate,
}

impl Kind {
    fn when(self) -> (&'static str, &'static str) {
        match self {
            Self::Row => ("AFTER INSERT OR UPDATE OR DELETE", "FOR EACH ROW"),
            Self::Truncate => ("BEFORE TRUNCATE", "FOR EACH STATEMENT"),
        }
    }

    /// At the destination the attempt's own load and removal pass without a look, and without an entry for each of
    /// their rows in the server's list of triggers to be run.
    fn condition(self, guard: &Guard) -> String {
        match (self, guard.side) {
            (Self::Row, Side::Destination) => {
                let (carry, fence) = (quote_literal(CARRY), quote_literal(&guard.migration));
                format!(" WHEN (pg_catalog.current_setting({carry}, true) IS DISTINCT FROM {fence})")
            }
            _ => String::new(),
        }
    }
}

/// Whether the trigger fires under any replication role; `None` where there is none.
async fn fires(transaction: &Transaction<'_>, table: u32, trigger: &str) -> Result<Option<bool>, Error> {
    let sql = "SELECT tgenabled = 'A' FROM pg_trigger WHERE tgrelid = $1 AND tgname = $2";
    Ok(transaction.query_opt(sql, &[&table, &trigger]).await?.map(|row| row.get(0)))
}

async fn remove_table(
    transaction: &Transaction<'_>,
    migration: &str,
    table: &QualifiedName,
) -> Result<bool, Error> {
    let names = Names::of(migration, table);
    // Whatever the tables are called now, and whichever inherit: found by the functions they call. A
    // partition's trigger goes with that of the table above.
    let sql = "SELECT n.nspname::text, c.relname::text, t.tgname::text
                 FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
                 JOIN pg_namespace pn ON pn.oid = p.pronamespace
                 JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE pn.nspname = 'handover_fence' AND p.proname = ANY ($1) AND t.tgparentid = 0";
    let functions = [&names.row_function.name, &names.truncate_function.name];
    for row in transaction.query(sql, &[&functions.as_slice()]).await? {
        let on = QualifiedName { schema: row.get(0), name: row.get(1) };
        let trigger = handover_postgres::quote_ident(row.get(2));
        transaction.batch_execute(&format!("DROP TRIGGER {trigger} ON {on}")).await?;
    }
    for function in [&names.row_function, &names.truncate_function] {
        transaction.batch_execute(&format!("DROP FUNCTION IF EXISTS {function}()")).await?;
    }
    let sql = "DELETE FROM handover_fence.guarded
                WHERE migration = $1 AND schema_name = $2 AND table_name = $3";
    transaction.execute(sql, &[&migration, &table.schema, &table.name]).await?;
    Ok(true)
}
