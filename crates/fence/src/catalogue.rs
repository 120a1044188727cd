//! What the catalogue says of one legacy table, as far as its triggers depend on it.

use std::collections::BTreeMap;

use handover_postgres::QualifiedName;
use tokio_postgres::Client;

use crate::Error;

/// A table that exists.
#[derive(Debug)]
pub(crate) struct Table {
    /// Column to the type it is stored as (a domain's base).
    pub(crate) columns: BTreeMap<String, Stored>,
    /// The columns of each unique index that covers the whole table.
    pub(crate) unique: Vec<Vec<String>>,
    /// Referring columns with referred table and columns.
    pub(crate) foreign_keys: Vec<ForeignKey>,
    /// Whether row policies would hide rows from this role.
    pub(crate) has_policies: bool,
    /// Partitions and inheriting tables at any depth, and itself first.
    pub(crate) family: Vec<Member>,
}

/// A column's type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) schema: String,
    pub(crate) name: String,
    /// The schema of its own `=`, where it has one.
    pub(crate) equals: Option<String>,
}

#[derive(Debug)]
pub(crate) struct ForeignKey {
    pub(crate) target: QualifiedName,
    /// Pairs of this table's column and the other's.
    pub(crate) columns: Vec<(String, String)>,
}

/// A table of a family.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) oid: u32,
    pub(crate) name: QualifiedName,
    /// A partition gets its row triggers from the table above.
    pub(crate) is_partition: bool,
}

impl Table {
    /// Reads a table; `None` where there is no such table.
    pub(crate) async fn read(client: &Client, name: &QualifiedName) -> Result<Option<Self>, Error> {
        let sql = "SELECT c.oid, c.relkind::text, row_security_active(c.oid)
                     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                    WHERE n.nspname = $1 AND c.relname = $2";
        let Some(row) = client.query_opt(sql, &[&name.schema, &name.name]).await? else { return Ok(None) };
        let (oid, kind): (u32, &str) = (row.get(0), row.get(1));
        if !matches!(kind, "r" | "p") {
            return Err(refused(name, "it is not a table", "list the table that holds the rows"));
        }
        Ok(Some(Self {
            columns: columns(client, oid).await?,
            unique: unique(client, oid).await?,
            foreign_keys: foreign_keys(client, oid).await?,
            has_policies: row.get(2),
            family: family(client, oid).await?,
        }))
    }

    /// Whether these columns name at most one row.
    pub(crate) fn is_unique(&self, columns: &[&str]) -> bool {
        self.unique.iter().any(|index| index.iter().all(|column| columns.contains(&column.as_str())))
    }

    /// Whether the server itself sees to it that the pairs lead to a row.
    pub(crate) fn refers(&self, target: &QualifiedName, pairs: &[(String, String)]) -> bool {
        self.foreign_keys
            .iter()
            .any(|key| key.target == *target && pairs.iter().all(|pair| key.columns.contains(pair)))
    }
}

pub(crate) fn refused(table: &QualifiedName, why: impl Into<String>, remedy: &'static str) -> Error {
    Error::Table { table: table.plain(), why: why.into(), remedy }
}

async fn columns(client: &Client, oid: u32) -> Result<BTreeMap<String, Stored>, Error> {
    let sql = "WITH RECURSIVE base (attname, oid) AS (
                 SELECT attname, atttypid FROM pg_attribute
                  WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped
                 UNION ALL
                 SELECT b.attname, t.typbasetype FROM base b JOIN pg_type t ON t.oid = b.oid
                  WHERE t.typtype = 'd')
               SELECT b.attname::text, tn.nspname::text, t.typname::text,
                      (SELECT max(n.nspname)::text FROM pg_operator o
                         JOIN pg_namespace n ON n.oid = o.oprnamespace
                        WHERE o.oprname = '=' AND o.oprleft = t.oid AND o.oprright = t.oid)
                 FROM base b JOIN pg_type t ON t.oid = b.oid JOIN pg_namespace tn ON tn.oid = t.typnamespace
                WHERE t.typtype <> 'd'";
    let rows = client.query(sql, &[&oid]).await?;
    Ok(rows
        .iter()
        .map(|row| (row.get(0), Stored { schema: row.get(1), name: row.get(2), equals: row.get(3) }))
        .collect())
}

async fn unique(client: &Client, oid: u32) -> Result<Vec<Vec<String>>, Error> {
    let sql = "SELECT array_agg(a.attname::text)
                 FROM pg_index i
                 JOIN LATERAL unnest(i.indkey[0:i.indnkeyatts - 1]) AS k (number) ON true
                 LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
                WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
                  AND i.indexprs IS NULL
                GROUP BY i.indexrelid";
    Ok(client.query(sql, &[&oid]).await?.iter().map(|row| row.get(0)).collect())
}

async fn foreign_keys(client: &Client, oid: u32) -> Result<Vec<ForeignKey>, Error> {
    let sql = "SELECT n.nspname::text, t.relname::text, array_agg(a.attname::text ORDER BY k.place),
                      array_agg(b.attname::text ORDER BY k.place)
                 FROM pg_constraint c
                 JOIN pg_class t ON t.oid = c.confrelid JOIN pg_namespace n ON n.oid = t.relnamespace
                 JOIN LATERAL unnest(c.conkey, c.confkey) WITH ORDINALITY AS k (here, there, place) ON true
                 JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.here
                 JOIN pg_attribute b ON b.attrelid = c.confrelid AND b.attnum = k.there
                WHERE c.conrelid = $1 AND c.contype = 'f' AND c.convalidated
                GROUP BY c.oid, n.nspname, t.relname";
    let rows = client.query(sql, &[&oid]).await?;
    Ok(rows
        .iter()
        .map(|row| {
            let (here, there): (Vec<String>, Vec<String>) = (row.get(2), row.get(3));
            let target = QualifiedName { schema: row.get(0), name: row.get(1) };
            ForeignKey { target, columns: here.into_iter().zip(there).collect() }
        })
        .collect())
}

async fn family(client: &Client, oid: u32) -> Result<Vec<Member>, Error> {
    let sql = "WITH RECURSIVE family (oid, depth) AS (
                 SELECT $1::oid, 0 UNION SELECT i.inhrelid, f.depth + 1
                   FROM family f JOIN pg_inherits i ON i.inhparent = f.oid)
               SELECT c.oid, n.nspname::text, c.relname::text, c.relispartition AND c.oid <> $1
                 FROM (SELECT oid, min(depth) AS depth FROM family GROUP BY oid) f
                 JOIN pg_class c ON c.oid = f.oid JOIN pg_namespace n ON n.oid = c.relnamespace
                ORDER BY f.depth, n.nspname, c.relname";
    let rows = client.query(sql, &[&oid]).await?;
    Ok(rows
        .iter()
        .map(|row| Member {
            oid: row.get(0),
            name: QualifiedName { schema: row.get(1), name: row.get(2) },
            is_partition: row.get(3),
        })
        .collect())
}
