//! The privileges that handover's role needs on each server, from the plans' own text and the catalogues.
//!
//! `init --print-roles` writes them as SQL, `doctor` asks whether they are there: one list, so that the two agree.

use std::collections::BTreeSet;

use anyhow::Result;
use handover_plan::{Plan, Rights};
use handover_postgres::{Connection, QualifiedName, quote_ident};
use handover_settings::Server;

/// What the role needs on one server.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    /// Tables and views, with what is needed of each.
    pub(crate) tables: Rights,
    /// Sequences that the defaults of loaded tables draw from.
    pub(crate) sequences: BTreeSet<QualifiedName>,
    /// Whether the database itself must let the role make a schema: the one that `init` makes.
    pub(crate) makes_schema: bool,
    /// Whether the role makes temporary tables or views there.
    pub(crate) makes_temporary: bool,
}

impl Needs {
    /// The schemas that the relations are in.
    pub(crate) fn schemas(&self) -> BTreeSet<&str> {
        self.tables.keys().chain(&self.sequences).map(|name| name.schema.as_str()).collect()
    }
}

/// What the plans need on a server; relations that it does not have are left out.
pub(crate) async fn needs(session: &Connection, server: Server, plans: &[Plan]) -> Result<Needs> {
    let mut needs = Needs::default();
    for plan in plans {
        let rights = match server {
            Server::LegacyPrimary | Server::LegacyReplica => plan.source_rights(),
            Server::Destination => plan.destination_rights(),
            Server::Identity | Server::Redis => Rights::new(),
        };
        merge(&mut needs.tables, rights);
    }
    keep_known(session, &mut needs.tables).await?;
    if server == Server::Destination {
        needs.sequences = sequences(session, &needs.tables).await?;
    }
    needs.makes_schema = matches!(server, Server::Destination | Server::Identity);
    // The check's views on the primary; the tables of canonical rows at the destination.
    needs.makes_temporary = matches!(server, Server::LegacyPrimary | Server::Destination);
    Ok(needs)
}

fn merge(all: &mut Rights, more: Rights) {
    for (table, privileges) in more {
        all.entry(table).or_default().extend(privileges);
    }
}

/// A plan's text also holds `alias.column`, which looks like a table: the catalogue tells them apart.
pub(crate) async fn keep_known(session: &Connection, tables: &mut Rights) -> Result<()> {
    let (schemas, names) = columns(tables.keys());
    let sql = "SELECT n.nspname, c.relname FROM unnest($1::text[], $2::text[]) AS w(schema, name)
                 JOIN pg_namespace n ON n.nspname = w.schema
                 JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
                WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')";
    let rows = session.query(sql, &[&schemas, &names]).await?;
    let known: BTreeSet<QualifiedName> =
        rows.iter().map(|row| QualifiedName { schema: row.get(0), name: row.get(1) }).collect();
    tables.retain(|table, _| known.contains(table));
    Ok(())
}

/// Identity columns need no privilege of their own; a plain `DEFAULT nextval(…)` does.
async fn sequences(session: &Connection, tables: &Rights) -> Result<BTreeSet<QualifiedName>> {
    let (schemas, names) = columns(tables.keys());
    let sql = "SELECT DISTINCT sn.nspname, s.relname FROM unnest($1::text[], $2::text[]) AS w(schema, name)
                 JOIN pg_namespace n ON n.nspname = w.schema
                 JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
                 JOIN pg_attrdef a ON a.adrelid = c.oid
                 JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid
                                 AND d.refclassid = 'pg_class'::regclass
                 JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
                 JOIN pg_namespace sn ON sn.oid = s.relnamespace";
    let rows = session.query(sql, &[&schemas, &names]).await?;
    Ok(rows.iter().map(|row| QualifiedName { schema: row.get(0), name: row.get(1) }).collect())
}

fn columns<'a>(names: impl Iterator<Item = &'a QualifiedName>) -> (Vec<&'a str>, Vec<&'a str>) {
    names.map(|name| (name.schema.as_str(), name.name.as_str())).unzip()
}

/// The statements that give `role` what it needs in `database`.
pub(crate) fn grants(needs: &Needs, database: &str, role: &str) -> Vec<String> {
    let (role, database) = (quote_ident(role), quote_ident(database));
    let mut sql = vec![format!("GRANT CONNECT ON DATABASE {database} TO {role};")];
    if needs.makes_schema {
        sql.push(format!("GRANT CREATE ON DATABASE {database} TO {role};"));
    }
    if needs.makes_temporary {
        sql.push(format!("GRANT TEMPORARY ON DATABASE {database} TO {role};"));
    }
    sql.extend(
        needs
            .schemas()
            .iter()
            .map(|schema| format!("GRANT USAGE ON SCHEMA {} TO {role};", quote_ident(schema))),
    );
    for (table, privileges) in &needs.tables {
        let words: Vec<&str> = privileges.iter().map(|privilege| privilege.sql()).collect();
        sql.push(format!("GRANT {} ON {table} TO {role};", words.join(", ")));
    }
    sql.extend(
        needs.sequences.iter().map(|sequence| format!("GRANT USAGE ON SEQUENCE {sequence} TO {role};")),
    );
    sql
}

/// A role that can log in and nothing else, made where it is missing: it may be there for another database.
pub(crate) fn create(role: &str) -> String {
    let (name, literal) = (quote_ident(role), handover_postgres::quote_literal(role));
    format!(
        "DO $$ BEGIN\n  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {literal}) THEN\n    CREATE ROLE {name} LOGIN \
         NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;\n  END IF;\nEND $$;"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use handover_plan::Privilege;

    #[test]
    fn grants_name_each_table_with_what_is_needed_of_it_and_no_more() {
        let name = |name: &str| QualifiedName { schema: "Odd".to_owned(), name: name.to_owned() };
        let mut needs = Needs { makes_temporary: true, ..Needs::default() };
        needs.tables.insert(name("a"), [Privilege::Select, Privilege::Delete].into());
        needs.sequences.insert(name("s"));
        let expected = [
            "GRANT CONNECT ON DATABASE shop TO \"Me\";",
            "GRANT TEMPORARY ON DATABASE shop TO \"Me\";",
            "GRANT USAGE ON SCHEMA \"Odd\" TO \"Me\";",
            "GRANT SELECT, DELETE ON \"Odd\".a TO \"Me\";",
            "GRANT USAGE ON SEQUENCE \"Odd\".s TO \"Me\";",
        ];
        let found = grants(&needs, "shop", "Me")
            .into_iter()
            .map(|line| line.replace("\"shop\"", "shop").replace("\"a\"", "a").replace("\"s\"", "s"));
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }
}
