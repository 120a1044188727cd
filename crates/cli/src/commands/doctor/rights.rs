//! Whether the role may do what the plans need, and on the legacy side no more than that.

use anyhow::Result;
use handover_plan::Privilege;
use handover_postgres::{Connection, QualifiedName};
use handover_settings::Server;

use super::Patient;
use super::finding::{Findings, Level};
use crate::roles::{self, Needs};

const REMEDY: &str = "grant it: `handover init --print-roles` prints the statements";

pub(super) async fn examine(patient: &Patient<'_>, findings: &mut Findings) -> Result<()> {
    for server in super::DATABASES {
        let Some(session) = patient.session(server) else { continue };
        let needs = roles::needs(session, server, &patient.plans).await?;
        let mut missing = missing(session, &needs).await?;
        missing.extend(missing_of_database(session, &needs).await?);
        findings.holds(
            ("privileges", server),
            missing.is_empty(),
            format!("all that {} need is granted", crate::users::count(patient.plans.len(), "plan")),
            (Level::Error, format!("missing: {}", missing.join("; ")), REMEDY),
        );
        if server == Server::LegacyReplica {
            writable(session, &needs, findings).await?;
        }
    }
    Ok(())
}

/// Tables without a privilege, or in a schema that may not be used.
async fn missing(session: &Connection, needs: &Needs) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    for (table, privileges) in &needs.tables {
        let words: Vec<&str> = privileges.iter().map(|privilege| privilege.sql()).collect();
        let lacking = lacking(session, table, &words).await?;
        if !lacking.is_empty() {
            missing.push(format!("{} on {}", lacking.join(", "), table.plain()));
        }
    }
    for sequence in &needs.sequences {
        let sql = "SELECT has_sequence_privilege($1, 'USAGE')";
        if !session.query_one(sql, &[&sequence.to_string()]).await?.get::<_, bool>(0) {
            missing.push(format!("USAGE on sequence {}", sequence.plain()));
        }
    }
    Ok(missing)
}

async fn lacking(session: &Connection, table: &QualifiedName, words: &[&str]) -> Result<Vec<String>> {
    // Who may not use a schema may not look up its names either.
    let usage = "SELECT has_schema_privilege($1, 'USAGE')";
    if !session.query_one(usage, &[&table.schema]).await?.get::<_, bool>(0) {
        return Ok(vec![format!("USAGE on schema {} and {}", table.schema, words.join(", "))]);
    }
    let sql = "SELECT w FROM unnest($2::text[]) AS w WHERE NOT has_table_privilege($1::text, w)";
    let rows = session.query(sql, &[&table.to_string(), &words]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn missing_of_database(session: &Connection, needs: &Needs) -> Result<Vec<String>> {
    let wanted = [("CREATE", needs.makes_schema), ("TEMPORARY", needs.makes_temporary)];
    let mut missing = Vec::new();
    for (word, _) in wanted.into_iter().filter(|(_, is_wanted)| *is_wanted) {
        let sql = "SELECT has_database_privilege(current_database(), $1)";
        if !session.query_one(sql, &[&word]).await?.get::<_, bool>(0) {
            missing.push(format!("{word} on the database"));
        }
    }
    Ok(missing)
}

/// Nothing that handover does by itself writes to legacy tables; a role that cannot is one worry less.
async fn writable(session: &Connection, needs: &Needs, findings: &mut Findings) -> Result<()> {
    let changes = [Privilege::Insert, Privilege::Update, Privilege::Delete].map(Privilege::sql);
    let mut writable = Vec::new();
    for table in needs.tables.keys() {
        if lacking(session, table, &changes).await?.len() < changes.len() {
            writable.push(table.plain());
        }
    }
    findings.holds(
        ("read only", Server::LegacyReplica),
        writable.is_empty(),
        "the role that reads may not write",
        (
            Level::Warning,
            format!("the role that reads may also change {}", writable.join(", ")),
            "connect as a role that may only read; carrying changes back is legacy.primary_url's role's",
        ),
    );
    Ok(())
}
