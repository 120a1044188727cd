//! Destination tables as their catalogue describes them. It judges nothing.

use handover_postgres::{Error, QualifiedName};
use handover_transform::{Fill, Target};
use thiserror::Error as ThisError;
use tokio_postgres::{Client, Row};

use crate::plan::{Entity, TargetKind};

/// A table of the destination.
#[derive(Debug)]
pub(super) struct TargetTable {
    pub(super) oid: u32,
    pub(super) name: QualifiedName,
    pub(super) is_table: bool,
    pub(super) is_unlogged: bool,
    pub(super) has_policies: bool,
    pub(super) missing_privileges: Vec<String>,
    /// Enabled triggers of the application that fire for INSERT.
    pub(super) insert_triggers: Vec<Trigger>,
    pub(super) columns: Vec<TargetColumn>,
}

/// A trigger of it.
#[derive(Debug)]
pub(super) struct Trigger {
    pub(super) name: String,
    /// It fires before each row is written, and so can fill a column.
    pub(super) is_before_row: bool,
}

/// A column of it.
#[derive(Debug)]
pub(super) struct TargetColumn {
    pub(super) number: i16,
    pub(super) target: Target,
    /// A default, an identity, or a domain's default.
    pub(super) has_default: bool,
    pub(super) is_generated: bool,
    pub(super) is_identity: bool,
}

/// Why an entity's destination columns could not be described.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum DescribeError {
    /// The table is not there.
    #[error("the destination has no table {0}")]
    NoTable(String),
    /// A filled column is not there.
    #[error("{table} has no column {column}")]
    NoColumn {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// The server could not be asked.
    #[error(transparent)]
    Postgres(#[from] Error),
}

/// The destination columns of an entity's fills, in the order of the plan: one for each, those that are left to
/// their default included. An entity with `load` has none.
pub async fn describe_targets(client: &Client, entity: &Entity) -> Result<Vec<Target>, DescribeError> {
    let TargetKind::Table { table: name, fill } = &entity.target else { return Ok(Vec::new()) };
    let table = table(client, name).await?.ok_or_else(|| DescribeError::NoTable(name.plain()))?;
    let describe = |(column, _): &(String, Fill)| {
        let found = table.columns.iter().find(|known| known.target.name == *column);
        found
            .map(|known| known.target.clone())
            .ok_or_else(|| DescribeError::NoColumn { table: name.plain(), column: column.clone() })
    };
    fill.iter().map(describe).collect()
}

/// A table by its name.
pub(super) async fn table(client: &Client, name: &QualifiedName) -> Result<Option<TargetTable>, Error> {
    let sql = "SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname = $1 AND c.relname = $2";
    let row = client.query_opt(sql, &[&name.schema, &name.name]).await?;
    match row {
        Some(row) => describe(client, row.get(0)).await,
        None => Ok(None),
    }
}

/// A table by what a statement calls it.
pub(super) async fn table_as_written(client: &Client, name: &str) -> Result<Option<TargetTable>, Error> {
    let row = client.query_one("SELECT pg_catalog.to_regclass($1)::oid", &[&name]).await?;
    match row.get::<_, Option<u32>>(0) {
        Some(oid) => describe(client, oid).await,
        None => Ok(None),
    }
}

async fn describe(client: &Client, oid: u32) -> Result<Option<TargetTable>, Error> {
    let sql = "SELECT n.nspname, c.relname, c.relkind IN ('r', 'p'), c.relpersistence = 'u', \
               pg_catalog.row_security_active(c.oid), \
               array(SELECT p FROM unnest('{SELECT,INSERT,DELETE}'::text[]) p \
                     WHERE NOT pg_catalog.has_table_privilege(c.oid, p)) \
               FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1";
    let Some(row) = client.query_opt(sql, &[&oid]).await? else { return Ok(None) };
    Ok(Some(TargetTable {
        oid,
        name: QualifiedName { schema: row.get(0), name: row.get(1) },
        is_table: row.get(2),
        is_unlogged: row.get(3),
        has_policies: row.get(4),
        missing_privileges: row.get(5),
        insert_triggers: triggers(client, oid).await?,
        columns: columns(client, oid).await?,
    }))
}

async fn columns(client: &Client, oid: u32) -> Result<Vec<TargetColumn>, Error> {
    // A domain over a domain is followed to its base; NOT NULL and defaults may come from any of them.
    let sql = "SELECT a.attname, a.attnum, b.oid, pg_catalog.format_type(b.oid, NULL), \
                 coalesce(e.typtype, b.typtype) = 'e', a.attnotnull OR d.not_null, \
                 CASE WHEN b.typcategory = 'A' THEN b.typelem ELSE 0 END, \
                 (a.atthasdef AND a.attgenerated = '') OR a.attidentity <> '' OR d.has_default, \
                 a.attgenerated <> '', a.attidentity <> '' \
               FROM pg_catalog.pg_attribute a \
               CROSS JOIN LATERAL ( \
                 WITH RECURSIVE step(oid, base, not_null, has_default) AS ( \
                   SELECT t.oid, t.typbasetype, t.typnotnull, t.typdefault IS NOT NULL \
                     FROM pg_catalog.pg_type t WHERE t.oid = a.atttypid \
                   UNION ALL \
                   SELECT t.oid, t.typbasetype, s.not_null OR t.typnotnull, s.has_default OR t.typdefault IS NOT NULL \
                     FROM step s JOIN pg_catalog.pg_type t ON t.oid = s.base) \
                 SELECT s.oid, s.not_null, s.has_default FROM step s WHERE s.base = 0) d \
               JOIN pg_catalog.pg_type b ON b.oid = d.oid \
               LEFT JOIN pg_catalog.pg_type e ON e.oid = b.typelem AND b.typcategory = 'A' \
               WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
    let rows = client.query(sql, &[&oid]).await?;
    Ok(rows.iter().map(column).collect())
}

fn column(row: &Row) -> TargetColumn {
    TargetColumn {
        number: row.get(1),
        target: Target {
            name: row.get(0),
            type_oid: row.get(2),
            type_name: row.get(3),
            is_enum: row.get(4),
            not_null: row.get(5),
            element_oid: row.get(6),
        },
        has_default: row.get(7),
        is_generated: row.get(8),
        is_identity: row.get(9),
    }
}

async fn triggers(client: &Client, oid: u32) -> Result<Vec<Trigger>, Error> {
    // tgtype: 1 for each row, 2 before, 4 insert. handover's own fence triggers are no surprise.
    let sql = "SELECT tgname, tgtype & 3 = 3 FROM pg_catalog.pg_trigger \
               WHERE tgrelid = $1 AND NOT tgisinternal AND tgenabled <> 'D' AND tgtype & 4 = 4 \
                 AND tgname NOT LIKE 'handover%' ORDER BY 1";
    let rows = client.query(sql, &[&oid]).await?;
    Ok(rows.iter().map(|row| Trigger { name: row.get(0), is_before_row: row.get(1) }).collect())
}

/// Whether the role may draw from a sequence; `None` where there is none.
pub(super) async fn sequence(client: &Client, name: &QualifiedName) -> Result<Option<bool>, Error> {
    let sql = "SELECT pg_catalog.has_sequence_privilege(c.oid, 'USAGE') FROM pg_catalog.pg_class c \
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind = 'S'";
    let row = client.query_opt(sql, &[&name.schema, &name.name]).await?;
    Ok(row.map(|row| row.get(0)))
}

/// The names of all tables, to suggest one.
pub(super) async fn table_names(client: &Client) -> Result<Vec<String>, Error> {
    let sql = "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c \
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";
    let rows = client.query(sql, &[]).await?;
    Ok(rows.iter().map(|row| QualifiedName { schema: row.get(0), name: row.get(1) }.plain()).collect())
}
