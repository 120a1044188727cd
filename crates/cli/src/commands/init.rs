//! `init`: schemas, then plans, each checked before it is registered.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use handover_plan::Plan;
use handover_settings::Server;
use serde_json::json;

use super::plan::{check, print_findings};
use crate::args::InitArgs;
use crate::context::Context;
use crate::exit::{Exit, stop};

pub(crate) async fn run(context: &Context, args: &InitArgs) -> Result<Exit> {
    let plans = load_all(&context.settings.plans.dir)?;
    let steps = schemas(context).await?;
    if !args.no_check {
        for (folder, plan) in &plans {
            let findings = check(context, plan).await?;
            if print_findings(folder, &findings) {
                let text =
                    format!("plan `{}` does not fit these databases; it was not registered", plan.name());
                return Err(stop(Exit::Findings, text));
            }
        }
    }
    let tracking = context.tracking()?;
    for (_, plan) in &plans {
        tracking.fix_key_type(plan.user_key().sql()).await?;
        tracking.register(plan.name(), &plan.hash(), plan.files()).await?;
    }
    let names: Vec<&str> = plans.iter().map(|(_, plan)| plan.name()).collect();
    let value = json!({ "schema_steps": steps, "plans": names });
    context.output.result(&value, || {
        let made = if steps.is_empty() { "up to date".to_owned() } else { steps.join(", ") };
        format!("schemas: {made}\nplans: {}", names.join(", "))
    })?;
    Ok(Exit::Done)
}

/// Creates or updates the schemas of the destination and of Identity's database.
async fn schemas(context: &Context) -> Result<Vec<String>> {
    let mut session = context.database(Server::Destination)?.connect().await?;
    let mut steps = handover_tracking::install(&mut session).await?;
    steps.extend(context.identity()?.truth().migrate().await?);
    Ok(steps)
}

/// Every plan below a folder: each folder in it that holds a `plan.toml`.
pub(crate) fn load_all(folder: &Path) -> Result<Vec<(PathBuf, Plan)>> {
    let entries = std::fs::read_dir(folder).map_err(|error| {
        stop(Exit::Usage, format!("failed to read the plans folder {}: {error}", folder.display()))
    })?;
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry.context("failed to read the plans folder")?.path();
        if path.join("plan.toml").is_file() {
            folders.push(path);
        }
    }
    folders.sort();
    if folders.is_empty() {
        let text = format!("{} holds no folder with a plan.toml", folder.display());
        return Err(stop(Exit::Usage, text));
    }
    folders.into_iter().map(|path| Ok((path.clone(), Plan::load(&path)?))).collect()
}
