//! `audit-sql`: the query by which a user's digest can be recomputed in psql, without the engine.

use anyhow::Result;
use handover_canonical::KeyBlock;
use handover_canonical::audit_sql::{Audit, Entity, script};
use handover_plan::Plan;
use serde_json::json;

use crate::args::{AuditSqlArgs, Side};
use crate::context::Context;
use crate::exit::{Exit, stop};

pub(crate) async fn run(context: &Context, args: &AuditSqlArgs) -> Result<Exit> {
    let tracking = context.tracking()?;
    let key = context.key_type(&tracking).await?;
    let user = context.user_key(&tracking, &args.user).await?;
    // An error that names the migration, where there is none of that name.
    tracking.current_plan(&args.migration).await?;
    let Some(secret) = tracking.last_secret(&args.migration, &user).await? else {
        let text =
            format!("user {user} has no attempt in {} whose digest could be recomputed", args.migration);
        return Err(stop(Exit::NotFound, text));
    };
    let plan = Plan::from_files(tracking.plan(secret.plan_id).await?.files)?;
    let entities: Vec<Entity<'_>> = plan
        .entities()
        .iter()
        .map(|entity| Entity {
            layout: &entity.layout,
            sql: match args.side {
                Side::Source => &entity.extract,
                Side::Destination => &entity.read_back,
            },
        })
        .collect();
    let block = KeyBlock::from_bytes(secret.key_block);
    let users = [(user.as_str(), &block)];
    let hash = plan.hash();
    let audit = Audit { plan_hash: &hash, user_type: key.wire_type(), entities: &entities, users: &users };
    let sql = script(&audit);
    let value = json!({ "migration": args.migration, "user": user, "digest": secret.digest, "sql": sql });
    context.output.result(&value, || sql.trim_end().to_owned())?;
    context.output.note(&format!("the attempt's digest is {}", secret.digest));
    Ok(Exit::Done)
}
