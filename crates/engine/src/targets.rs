//! What the destination's catalogue says of the columns that a plan fills.

use handover_plan::{Entity, TargetKind};
use handover_postgres::Connection;
use handover_transform::Target;

use crate::Error;

const COLUMNS: &str =
    "SELECT a.attname, b.oid, b.typname, (coalesce(e.typtype, b.typtype) = 'e'), a.attnotnull,
        CASE WHEN b.typcategory = 'A' THEN b.typelem ELSE 0 END
   FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
   JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
   LEFT JOIN pg_type e ON b.typcategory = 'A' AND e.oid = b.typelem
  WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped";

/// The columns of the table that an entity is loaded into.
pub(crate) async fn describe(session: &Connection, entity: &Entity) -> Result<Vec<Target>, Error> {
    let TargetKind::Table { table, .. } = &entity.target else { return Ok(Vec::new()) };
    let rows = session.query(COLUMNS, &[&table.to_string()]).await.map_err(|error| session.explain(error))?;
    let target = |row: tokio_postgres::Row| Target {
        name: row.get(0),
        type_oid: row.get(1),
        type_name: row.get(2),
        is_enum: row.get(3),
        not_null: row.get(4),
        element_oid: row.get(5),
    };
    Ok(rows.into_iter().map(target).collect())
}
