//! The tables of a database as its catalogue describes them: columns, keys, indexes, inheritance.
//!
//! Read in five queries, whatever the number of tables. System schemas are left out.

use std::collections::BTreeMap;

use handover_postgres::{Error, QualifiedName};
use tokio_postgres::Client;

const OF_PEOPLE: &str = "n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'";

/// All tables, views and the like, by their OID.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    pub(super) tables: BTreeMap<u32, Table>,
    by_name: BTreeMap<QualifiedName, u32>,
}

/// What a relation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An ordinary or partitioned table.
    Table,
    /// A foreign table.
    Foreign,
    /// A materialized view.
    Materialized,
    /// A view.
    View,
}

#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: QualifiedName,
    pub(super) kind: Kind,
    /// Not written to the WAL, so that no replica has its rows.
    pub(super) is_unlogged: bool,
    /// The partitioned table that this is a part of, at the top; else itself.
    pub(super) root: u32,
    /// The planner's estimate of its rows; negative where it was never analysed.
    pub(super) rows: f64,
    /// Whether an extension made it.
    pub(super) is_of_extension: bool,
    pub(super) columns: Vec<Column>,
    pub(super) primary_key: Vec<i16>,
    /// The columns of each whole, valid index.
    pub(super) indexes: Vec<Vec<i16>>,
    pub(super) foreign_keys: Vec<ForeignKey>,
    /// The tables that it inherits from (not: is a partition of).
    pub(super) inherits: Vec<u32>,
}

#[derive(Debug)]
pub(super) struct Column {
    pub(super) number: i16,
    pub(super) name: String,
    /// The type's OID, or its base's where it is a domain.
    pub(super) type_oid: u32,
    pub(super) type_name: String,
}

#[derive(Debug)]
pub(super) struct ForeignKey {
    pub(super) columns: Vec<i16>,
    pub(super) target: u32,
    pub(super) target_columns: Vec<i16>,
}

impl Table {
    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    pub(super) fn column_name(&self, number: i16) -> &str {
        self.columns.iter().find(|column| column.number == number).map_or("?", |column| &column.name)
    }

    /// Whether an index leads with exactly these columns, in any order.
    pub(super) fn is_indexed_by(&self, columns: &[&str]) -> bool {
        let found = columns.iter().filter_map(|name| self.column(name));
        let numbers: Vec<i16> = found.map(|column| column.number).collect();
        numbers.len() == columns.len()
            && self
                .indexes
                .iter()
                .filter_map(|index| index.get(..columns.len()))
                .any(|leading| !leading.is_empty() && numbers.iter().all(|number| leading.contains(number)))
    }

    pub(super) fn column_names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }
}

impl Catalogue {
    /// Reads the catalogue.
    pub(super) async fn read(client: &Client) -> Result<Self, Error> {
        let mut catalogue = Self::default();
        catalogue.read_tables(client).await?;
        catalogue.read_columns(client).await?;
        catalogue.read_foreign_keys(client).await?;
        catalogue.read_indexes(client).await?;
        catalogue.read_inheritance(client).await?;
        Ok(catalogue)
    }

    pub(super) fn find(&self, name: &QualifiedName) -> Option<(u32, &Table)> {
        let oid = *self.by_name.get(name)?;
        Some((oid, self.tables.get(&oid)?))
    }

    pub(super) fn plain_names(&self) -> Vec<String> {
        self.by_name.keys().map(QualifiedName::plain).collect()
    }

    async fn read_tables(&mut self, client: &Client) -> Result<(), Error> {
        let sql = format!(
            "SELECT c.oid, n.nspname, c.relname, c.relkind::text, c.relpersistence = 'u', \
             coalesce(pg_partition_root(c.oid)::oid, c.oid), c.reltuples::float8, \
             EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid \
                     AND d.deptype = 'e') \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ('r', 'p', 'f', 'm', 'v') AND {OF_PEOPLE}"
        );
        for row in client.query(&sql, &[]).await? {
            let kind = match row.get::<_, &str>(3) {
                "f" => Kind::Foreign,
                "m" => Kind::Materialized,
                "v" => Kind::View,
                _ => Kind::Table,
            };
            let name = QualifiedName { schema: row.get(1), name: row.get(2) };
            self.by_name.insert(name.clone(), row.get(0));
            let table = Table {
                name,
                kind,
                is_unlogged: row.get(4),
                root: row.get(5),
                rows: row.get(6),
                is_of_extension: row.get(7),
                columns: Vec::new(),
                primary_key: Vec::new(),
                indexes: Vec::new(),
                foreign_keys: Vec::new(),
                inherits: Vec::new(),
            };
            self.tables.insert(row.get(0), table);
        }
        Ok(())
    }

    async fn read_columns(&mut self, client: &Client) -> Result<(), Error> {
        let sql = format!(
            "SELECT a.attrelid, a.attnum, a.attname, b.oid, format_type(b.oid, NULL) \
             FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
             JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_type t ON t.oid = a.atttypid \
             JOIN pg_type b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END \
             WHERE a.attnum > 0 AND NOT a.attisdropped AND {OF_PEOPLE} ORDER BY a.attrelid, a.attnum"
        );
        for row in client.query(&sql, &[]).await? {
            if let Some(table) = self.tables.get_mut(&row.get(0)) {
                let (number, name) = (row.get(1), row.get(2));
                table.columns.push(Column { number, name, type_oid: row.get(3), type_name: row.get(4) });
            }
        }
        Ok(())
    }

    async fn read_foreign_keys(&mut self, client: &Client) -> Result<(), Error> {
        let sql = "SELECT conrelid, conkey, confrelid, confkey FROM pg_constraint \
                   WHERE contype = 'f' AND conparentid = 0";
        for row in client.query(sql, &[]).await? {
            if let Some(table) = self.tables.get_mut(&row.get(0)) {
                let (columns, target) = (row.get(1), row.get(2));
                table.foreign_keys.push(ForeignKey { columns, target, target_columns: row.get(3) });
            }
        }
        Ok(())
    }

    async fn read_indexes(&mut self, client: &Client) -> Result<(), Error> {
        // Columns behind indnkeyatts are only carried along.
        let sql = "SELECT indrelid, array(SELECT k FROM unnest(indkey::int2[]) WITH ORDINALITY AS u(k, nth) \
                   WHERE nth <= indnkeyatts ORDER BY nth), indisprimary \
                   FROM pg_index WHERE indisvalid AND indpred IS NULL";
        for row in client.query(sql, &[]).await? {
            if let Some(table) = self.tables.get_mut(&row.get(0)) {
                let columns: Vec<i16> = row.get(1);
                if row.get(2) {
                    table.primary_key.clone_from(&columns);
                }
                table.indexes.push(columns);
            }
        }
        Ok(())
    }

    async fn read_inheritance(&mut self, client: &Client) -> Result<(), Error> {
        let sql = "SELECT i.inhrelid, i.inhparent FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
                   WHERE NOT c.relispartition";
        for row in client.query(sql, &[]).await? {
            if let Some(table) = self.tables.get_mut(&row.get(0)) {
                table.inherits.push(row.get(1));
            }
        }
        Ok(())
    }
}

/// Types whose values can be the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    Int,
    Text,
    Uuid,
    Other(u32),
}

impl Column {
    pub(super) fn family(&self) -> Family {
        match self.type_oid {
            20 | 21 | 23 => Family::Int,
            25 | 1042 | 1043 => Family::Text,
            2950 => Family::Uuid,
            _ if self.type_name == "citext" || self.type_name.ends_with(".citext") => Family::Text,
            oid => Family::Other(oid),
        }
    }
}
