//! `fence`: installs, removes and shows the database fence of a migration, on legacy's and on the destination's tables.

use anyhow::Result;
use handover_fence::{GuardedTable, Installed, Role, Scope, Side, Status};
use handover_plan::Plan;
use handover_postgres::{Connection, quote_ident};
use handover_settings::Server;
use serde::Serialize;
use serde_json::{Value, json};

use super::plan::{folders, load};
use crate::args::FenceCommand;
use crate::confirm::confirm;
use crate::context::Context;
use crate::exit::{Exit, stop};
use crate::output;

/// The fence stands on one side or two.
const SIDES: [(Side, Server); 2] =
    [(Side::Legacy, Server::LegacyPrimary), (Side::Destination, Server::Destination)];

/// How many users who are paused are listed as text.
const LISTED: usize = 20;

pub(crate) async fn run(context: &Context, command: FenceCommand) -> Result<Exit> {
    match command {
        FenceCommand::Install { migration, workers } => {
            install(context, &migration, workers.as_deref()).await
        }
        FenceCommand::Remove { migration } => remove(context, &migration).await,
        FenceCommand::Status { migration } => status(context, &migration).await,
    }
}

/// The plan of that migration: the registered one, to which attempts are pinned; before `init`, the one on disk.
async fn plan(context: &Context, migration: &str) -> Result<Plan> {
    let tracking = context.tracking()?;
    match tracking.current_plan(migration).await {
        Ok(stored) => return Ok(Plan::from_files(stored.files)?),
        Err(handover_tracking::Error::NoSuchMigration(_) | handover_tracking::Error::NotInstalled) => {}
        Err(error) => return Err(error.into()),
    }
    for folder in folders(&context.settings.plans.dir)? {
        if Plan::load(&folder).is_ok_and(|plan| plan.name() == migration) {
            return load(&folder);
        }
    }
    Err(stop(
        Exit::NotFound,
        format!("there is no migration `{migration}`, registered or in the plans folder"),
    ))
}

/// What was done on one side.
#[derive(Debug, Serialize)]
struct Installation {
    side: &'static str,
    /// Tables whose triggers were made or brought up to date.
    changed: Vec<String>,
    /// What was granted.
    granted: Vec<String>,
    /// What somebody else must grant, and why it was not.
    to_grant: Vec<String>,
}

async fn install(context: &Context, migration: &str, workers: Option<&str>) -> Result<Exit> {
    let plan = plan(context, migration).await?;
    let mut done = Vec::new();
    for (side, server) in SIDES {
        let mut session = context.database(server)?.connect().await?;
        let changed = handover_fence::install(&mut session, Scope::new(&plan, side)).await?;
        let changed = changed.iter().map(handover_postgres::QualifiedName::plain).collect();
        let mut one =
            Installation { side: side.as_str(), changed, granted: Vec::new(), to_grant: Vec::new() };
        for statement in grants(context, &session, side, workers).await? {
            match session.batch_execute(&statement).await {
                Ok(()) => one.granted.push(statement),
                Err(_) => one.to_grant.push(statement),
            }
        }
        done.push(one);
    }
    let value = json!({ "migration": migration, "sides": done });
    context.output.result(&value, || text_of_installation(migration, &done))?;
    if !context.settings.fence.database {
        context
            .output
            .note("the stages do not use it yet: set HANDOVER_FENCE__DATABASE=true for all workers alike");
    }
    Ok(if done.iter().all(|one| one.to_grant.is_empty()) { Exit::Done } else { Exit::Findings })
}

/// What other roles than the installing one need: who reads at the replica, and who pauses.
async fn grants(
    context: &Context,
    session: &Connection,
    side: Side,
    workers: Option<&str>,
) -> Result<Vec<String>> {
    let me: String = session.query_one("SELECT current_user::text", &[]).await?.get(0);
    let mut statements = Vec::new();
    if side == Side::Legacy {
        let replica = context.database(Server::LegacyReplica)?.connect().await?;
        let reader: String = replica.query_one("SELECT current_user::text", &[]).await?.get(0);
        if reader != me {
            statements.extend(handover_fence::grants_to_read(&quote_ident(&reader)));
        }
    }
    if let Some(workers) = workers.filter(|workers| *workers != me) {
        statements.extend(handover_fence::grants_to_pause(&quote_ident(workers)));
    }
    Ok(statements)
}

fn text_of_installation(migration: &str, done: &[Installation]) -> String {
    let mut lines = Vec::new();
    for one in done {
        lines.push(match one.changed.as_slice() {
            [] => format!("{}: the fence of {migration} stands, nothing to do", one.side),
            changed => format!("{}: the fence of {migration} stands now on {}", one.side, changed.join(", ")),
        });
        lines.extend(one.granted.iter().map(|statement| format!("  done: {statement};")));
        lines.extend(
            one.to_grant.iter().map(|statement| format!("  must be run by the schema's owner: {statement};")),
        );
    }
    lines.join("\n")
}

async fn remove(context: &Context, migration: &str) -> Result<Exit> {
    let plan = plan(context, migration).await?;
    let what =
        format!("let every program write for users of {migration} again, also for those who have moved");
    confirm(context.yes, &what).await?;
    let mut done = Vec::new();
    for (side, server) in SIDES {
        let mut session = context.database(server)?.connect().await?;
        let removed = match handover_fence::remove(&mut session, Scope::new(&plan, side)).await {
            Ok(removed) => removed,
            Err(error @ handover_fence::Error::InUse { .. }) => {
                return Err(stop(Exit::Refused, format!("{}: {error}", side.as_str())));
            }
            Err(error) => return Err(error.into()),
        };
        let tables: Vec<String> = removed.iter().map(handover_postgres::QualifiedName::plain).collect();
        done.push((side.as_str(), tables));
    }
    let sides: Vec<Value> =
        done.iter().map(|(side, tables)| json!({ "side": side, "removed": tables })).collect();
    context.output.result(&json!({ "migration": migration, "sides": sides }), || {
        let line = |(side, tables): &(&str, Vec<String>)| match tables.as_slice() {
            [] => format!("{side}: there was no fence of {migration}"),
            tables => format!("{side}: the fence of {migration} is gone from {}", tables.join(", ")),
        };
        done.iter().map(line).collect::<Vec<_>>().join("\n")
    })?;
    if context.settings.fence.database {
        output::warning(
            "fence.database is set here: workers that have it set pause nobody without the fence",
        );
    }
    Ok(Exit::Done)
}

async fn status(context: &Context, migration: &str) -> Result<Exit> {
    let plan = plan(context, migration).await?;
    let mut sides = Vec::new();
    for (side, server) in SIDES {
        let mut session = context.database(server)?.connect().await?;
        sides.push((side, handover_fence::status(&mut session, Scope::new(&plan, side)).await?));
    }
    let is_used = context.settings.fence.database;
    let list: Vec<Value> = sides.iter().map(|(side, status)| json_of(*side, status)).collect();
    let value = json!({ "migration": migration, "used": is_used, "sides": list });
    context.output.result(&value, || text_of_status(migration, is_used, &sides))?;
    let is_whole = sides.iter().all(|(_, status)| status.installed == Installed::Yes);
    let is_absent = sides.iter().all(|(_, status)| status.installed == Installed::No);
    Ok(if is_whole || (is_absent && !is_used) { Exit::Done } else { Exit::Findings })
}

const fn word(installed: Installed) -> &'static str {
    match installed {
        Installed::Yes => "whole",
        Installed::Partly => "incomplete",
        Installed::No => "absent",
    }
}

const fn role(role: Role) -> &'static str {
    match role {
        Role::Moves => "moves",
        Role::Path => "path",
    }
}

fn json_of(side: Side, status: &Status) -> Value {
    let table = |table: &GuardedTable| {
        let missing: Vec<Value> = table
            .missing
            .iter()
            .map(|(on, trigger)| json!({ "table": on.plain(), "trigger": trigger }))
            .collect();
        json!({
            "table": table.table.plain(), "role": role(table.role), "outdated": table.is_outdated,
            "missing": missing,
        })
    };
    let counts: serde_json::Map<String, Value> =
        status.counts.iter().map(|(state, many)| (state.as_str().to_owned(), json!(many))).collect();
    let paused: Vec<Value> = status
        .fenced
        .iter()
        .map(|user| {
            json!({
                "user": user.user, "version": user.version, "state": user.state.as_str(),
                "drained": user.is_drained, "seconds": user.age.as_secs_f64(),
            })
        })
        .collect();
    json!({
        "side": side.as_str(), "fence": word(status.installed),
        "tables": status.tables.iter().map(table).collect::<Vec<_>>(),
        "superfluous": status.superfluous.iter().map(handover_postgres::QualifiedName::plain).collect::<Vec<_>>(),
        "users": counts, "paused": paused,
    })
}

fn text_of_status(migration: &str, is_used: bool, sides: &[(Side, Status)]) -> String {
    let used = if is_used { "is used by the stages" } else { "is not used (fence.database = false)" };
    let mut lines = vec![format!("the fence of {migration} {used}")];
    for (side, status) in sides {
        let counts: Vec<String> =
            status.counts.iter().map(|(state, many)| format!("{many} {}", state.as_str())).collect();
        let users = if counts.is_empty() { "nobody behind it".to_owned() } else { counts.join(", ") };
        lines.push(format!("{}: {}, {users}", side.as_str(), word(status.installed)));
        lines.extend(status.tables.iter().map(line_of_table));
        let superfluous = status.superfluous.iter();
        lines.extend(
            superfluous.map(|table| format!("  {} is guarded and need not be any more", table.plain())),
        );
        for user in status.fenced.iter().take(LISTED) {
            let drained = if user.is_drained { "" } else { ", waits for transactions in flight" };
            let (state, seconds) = (user.state.as_str(), user.age.as_secs());
            lines.push(format!("  user {}: {state} for {seconds} s{drained}", user.user));
        }
    }
    let is_whole = sides.iter().all(|(_, status)| status.installed == Installed::Yes);
    if !is_whole {
        lines.push(format!("`handover fence install {migration}` makes it whole"));
    }
    lines.join("\n")
}

fn line_of_table(table: &GuardedTable) -> String {
    let what = match (table.missing.as_slice(), table.is_outdated) {
        ([], false) => "guarded".to_owned(),
        ([], true) => "outdated".to_owned(),
        (missing, _) => format!("{} of its triggers missing or disabled", missing.len()),
    };
    format!("  {} ({}): {what}", table.table.plain(), role(table.role))
}
