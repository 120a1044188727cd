//! Whether a `load` statement fills each column of the tables that it inserts into.
//!
//! A function of the statement is made in the transaction, and `pg_depend` asked which columns it touches. A
//! column that the statement only reads counts as filled.

use handover_postgres::Error;

use super::destination::left_out;
use super::session::Session;
use super::statements::Piece;
use super::{targets, uses};
use crate::finding::{Code, Findings};
use crate::sql;

/// The first server that keeps what a function's body depends on.
const PARSED_BODIES: i32 = 140_000;

pub(super) async fn check(
    piece: &Piece<'_>,
    session: &Session<'_>,
    findings: &mut Findings,
) -> Result<(), Error> {
    let written = sql::insert_targets(piece.sql);
    if written.is_empty() {
        return Ok(());
    }
    if session.version < PARSED_BODIES {
        let what = "this server cannot tell which columns the statement fills";
        findings.warn(Code::CannotCheck, &piece.start(), what, "compare its columns with the table by hand");
        return Ok(());
    }
    let touched = match uses::of_change(session, piece.sql).await? {
        Ok(found) => found.relations,
        Err(refusal) => {
            let what = format!("which columns the statement fills cannot be told: {}", refusal.message);
            findings.warn(
                Code::CannotCheck,
                &piece.start(),
                what,
                "compare its columns with the table by hand",
            );
            return Ok(());
        }
    };
    for name in written {
        let Some(table) = targets::table_as_written(session.client(), &name).await? else { continue };
        // A temporary table of the rows is no target.
        let Some(columns) = touched.get(&table.oid).filter(|_| !table.name.schema.starts_with("pg_temp"))
        else {
            continue;
        };
        for column in &table.columns {
            // An identity draws a number that means nothing, and an INSERT … SELECT cannot say DEFAULT.
            let is_own = column.is_generated || column.is_identity;
            if !columns.contains(&column.number) && !is_own {
                left_out(&piece.start(), &table, column, findings);
            }
        }
    }
    Ok(())
}
