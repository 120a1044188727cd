//! The temporary tables of canonical rows, over which `load` and `reverse` are prepared.

use handover_postgres::{Error, quote_ident};

use super::session::Session;
use crate::finding::{Code, Findings};
use crate::plan::{Entity, Plan};

/// Makes the table of an entity.
pub(super) async fn create(
    entity: &Entity,
    plan: &Plan,
    session: &Session<'_>,
    findings: &mut Findings,
) -> Result<(), Error> {
    let sql = entity.staging_table(plan.user_key());
    if let Err(refusal) = session.attempt(session.client().batch_execute(&sql)).await? {
        let what = format!("no temporary table can hold entity `{}`: {}", entity.name, refusal.message);
        findings.error(Code::CannotCheck, &entity.origin.place, what, refusal.remedy());
    }
    Ok(())
}

/// Removes those of the entities that `wanted` says, so that their names hide nothing from later statements.
pub(super) async fn drop_all(
    plan: &Plan,
    session: &Session<'_>,
    wanted: impl Fn(&&Entity) -> bool,
) -> Result<(), Error> {
    for entity in plan.entities().iter().filter(&wanted) {
        let sql = format!("DROP TABLE IF EXISTS pg_temp.{}", quote_ident(&entity.name));
        session.client().batch_execute(&sql).await?;
    }
    Ok(())
}
