//! Which columns a query uses: a temporary view of it is made, and `pg_depend` asked.
//!
//! The server's own parser decides, so that no spelling of SQL escapes. Views are followed down to their
//! tables. Not seen: what functions read, and whole-row references, which count as no use of any column.

use std::collections::{BTreeMap, BTreeSet};

use handover_postgres::Error;

use super::session::{Refusal, Session};

/// For each relation, the numbers of the columns that are used.
pub(super) type Uses = BTreeMap<u32, BTreeSet<i16>>;

/// What a query depends on.
#[derive(Debug, Default)]
pub(super) struct Dependencies {
    pub(super) relations: Uses,
    /// Functions that may read tables.
    pub(super) functions: Vec<String>,
}

const VIEW: &str = "handover_check_query";
const FUNCTION: &str = "handover_check_change";

/// What a query of `width` columns depends on. The view lives no longer than this call.
pub(super) async fn of_query(
    session: &Session<'_>,
    sql: &str,
    width: usize,
) -> Result<Result<Dependencies, Refusal>, Error> {
    // Own names for the columns: a view's must differ, and a query's first may be called as a later one.
    let columns: Vec<String> = (1..=width).map(|n| format!("c{n}")).collect();
    let create = format!("CREATE TEMPORARY VIEW {VIEW} ({}) AS\n{sql}", columns.join(", "));
    if let Err(refusal) = session.attempt(session.client().batch_execute(&create)).await? {
        return Ok(Err(refusal));
    }
    let start = "SELECT w.oid FROM pg_rewrite w WHERE w.ev_class = 'pg_temp.handover_check_query'::regclass";
    let found = dependencies(session, "pg_rewrite", start).await?;
    session.client().batch_execute(&format!("DROP VIEW pg_temp.{VIEW}")).await?;
    Ok(Ok(found))
}

/// What a statement that changes rows depends on, the columns that it inserts into included (from
/// Postgres 14 on: functions with a parsed body).
pub(super) async fn of_change(
    session: &Session<'_>,
    sql: &str,
) -> Result<Result<Dependencies, Refusal>, Error> {
    let create =
        format!("CREATE FUNCTION pg_temp.{FUNCTION}() RETURNS void LANGUAGE sql BEGIN ATOMIC\n{sql}\n;END");
    if let Err(refusal) = session.attempt(session.client().batch_execute(&create)).await? {
        return Ok(Err(refusal));
    }
    let start = "SELECT p.oid FROM pg_proc p WHERE p.oid = 'pg_temp.handover_check_change()'::regprocedure";
    let found = dependencies(session, "pg_proc", start).await?;
    session.client().batch_execute(&format!("DROP FUNCTION pg_temp.{FUNCTION}()")).await?;
    Ok(Ok(found))
}

async fn dependencies(session: &Session<'_>, class: &str, start: &str) -> Result<Dependencies, Error> {
    // The rules of views on the way are walked as the statement itself is.
    let walked = format!(
        "WITH RECURSIVE object(class, id) AS ( \
           SELECT '{class}'::regclass::oid, s.oid FROM ({start}) s \
           UNION \
           SELECT 'pg_rewrite'::regclass::oid, w.oid FROM object o \
             JOIN pg_depend d ON d.classid = o.class AND d.objid = o.id AND d.refclassid = 'pg_class'::regclass \
             JOIN pg_class c ON c.oid = d.refobjid AND c.relkind = 'v' \
             JOIN pg_rewrite w ON w.ev_class = c.oid AND w.ev_type = '1' \
         ), found AS ( \
           SELECT d.refclassid, d.refobjid, d.refobjsubid FROM object o \
             JOIN pg_depend d ON d.classid = o.class AND d.objid = o.id \
            WHERE NOT (d.refclassid = 'pg_class'::regclass AND EXISTS ( \
                  SELECT FROM pg_rewrite own WHERE o.class = 'pg_rewrite'::regclass AND own.oid = o.id \
                     AND own.ev_class = d.refobjid))) "
    );
    let mut found = Dependencies::default();
    let relations = format!(
        "{walked} SELECT DISTINCT f.refobjid, f.refobjsubid FROM found f WHERE f.refclassid = 'pg_class'::regclass"
    );
    for row in session.client().query(&relations, &[]).await? {
        let columns = found.relations.entry(row.get(0)).or_default();
        let number: i32 = row.get(1);
        if number > 0 {
            columns.insert(number as i16);
        }
    }
    // An immutable function reads nothing, and an extension's reads no table of the application.
    let functions = format!(
        "{walked} SELECT DISTINCT p.oid::regprocedure::text FROM found f \
         JOIN pg_proc p ON f.refclassid = 'pg_proc'::regclass AND p.oid = f.refobjid \
         WHERE p.provolatile <> 'i' AND NOT EXISTS (SELECT FROM pg_depend e \
           WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e') ORDER BY 1"
    );
    let rows = session.client().query(&functions, &[]).await?;
    found.functions = rows.iter().map(|row| row.get(0)).collect();
    Ok(found)
}
