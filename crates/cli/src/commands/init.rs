//! `init`: schemas, then plans, each checked before any is registered.

use std::path::PathBuf;

use anyhow::Result;
use handover_plan::Plan;
use handover_settings::Server;
use handover_tracking::Tracking;
use serde::Serialize;

use super::plan::{check, folders, load, print_findings};
use crate::args::InitArgs;
use crate::context::Context;
use crate::exit::{Exit, stop};
use crate::roles;

/// What became of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Registered {
    New,
    Changed,
    Unchanged,
}

#[derive(Debug, Serialize)]
struct Registration {
    migration: String,
    hash: String,
    registered: Registered,
}

/// What was done.
#[derive(Debug, Serialize)]
struct Report {
    /// The steps of the schemas that were made now.
    schema_steps: Vec<String>,
    plans: Vec<Registration>,
}

pub(crate) async fn run(context: &Context, args: &InitArgs) -> Result<Exit> {
    let folders = folders(&context.settings.plans.dir)?;
    let plans = folders.into_iter().map(|folder| Ok((load(&folder)?, folder))).collect::<Result<Vec<_>>>()?;
    if args.print_roles {
        return print_roles(context, args, plans.into_iter().map(|(plan, _)| plan).collect()).await;
    }
    let schema_steps = schemas(context).await?;
    if !args.no_check {
        check_all(context, &plans).await?;
    }
    let tracking = context.tracking()?;
    let mut report = Report { schema_steps, plans: Vec::new() };
    for (plan, _) in &plans {
        report.plans.push(register(&tracking, plan).await?);
    }
    context.output.result(&report, || text(&report))?;
    Ok(Exit::Done)
}

/// Creates or updates the schemas of the destination and of Identity's database.
async fn schemas(context: &Context) -> Result<Vec<String>> {
    let mut session = context.database(Server::Destination)?.connect().await?;
    let mut steps = handover_tracking::install(&mut session).await?;
    steps.extend(context.truth()?.migrate().await?);
    Ok(steps)
}

/// Proves every plan against the databases, and ends with the findings of all of them where one does not fit.
async fn check_all(context: &Context, plans: &[(Plan, PathBuf)]) -> Result<()> {
    let mut unfit = Vec::new();
    for (plan, folder) in plans {
        if print_findings(folder, &check(context, plan).await?) {
            unfit.push(plan.name());
        }
    }
    if unfit.is_empty() {
        return Ok(());
    }
    let text = format!("no plan was registered: {} does not fit these databases", unfit.join(", "));
    Err(stop(Exit::Findings, text))
}

async fn register(tracking: &Tracking, plan: &Plan) -> Result<Registration> {
    let hash = plan.hash();
    tracking.fix_key_type(plan.user_key().sql()).await?;
    let registered = match tracking.current_plan(plan.name()).await {
        Err(handover_tracking::Error::NoSuchMigration(_)) => Registered::New,
        Err(error) => return Err(error.into()),
        Ok(current) if current.hash == hash => Registered::Unchanged,
        Ok(_) => Registered::Changed,
    };
    if registered != Registered::Unchanged {
        tracking.register(plan.name(), &hash, plan.files()).await?;
    }
    Ok(Registration { migration: plan.name().to_owned(), hash: hex::encode(hash), registered })
}

/// One block for each server, since each is run on another.
async fn print_roles(context: &Context, args: &InitArgs, plans: Vec<Plan>) -> Result<Exit> {
    let servers = [
        (Server::LegacyPrimary, "the legacy primary (its replica follows)"),
        (Server::Destination, "the destination"),
        (Server::Identity, "Identity's database"),
    ];
    for (server, name) in servers {
        let session = context.database(server)?.connect().await?;
        let database: String = session.query_one("SELECT current_database()", &[]).await?.get(0);
        let needs = roles::needs(&session, server, &plans).await?;
        let mut lines = vec![format!(
            "-- On {name}, by a role that may grant. Then set a password: \\password {}",
            args.role
        )];
        lines.push(roles::create(&args.role));
        lines.extend(roles::grants(&needs, &database, &args.role));
        let text = lines.join("\n");
        let value = serde_json::json!({ "server": server.field(), "database": database, "sql": text });
        context.output.result(&value, || format!("{text}\n"))?;
    }
    Ok(Exit::Done)
}

fn text(report: &Report) -> String {
    let steps = match report.schema_steps.as_slice() {
        [] => "up to date".to_owned(),
        steps => format!("made {}", steps.join(", ")),
    };
    let plan = |plan: &Registration| {
        let what = match plan.registered {
            Registered::New => "registered",
            Registered::Changed => {
                "changed, registered anew; attempts in progress keep the plan they began with"
            }
            Registered::Unchanged => "registered before, unchanged",
        };
        format!("plan {}: {what}", plan.migration)
    };
    let mut lines = vec![format!("schemas: {steps}")];
    lines.extend(report.plans.iter().map(plan));
    lines.join("\n")
}
