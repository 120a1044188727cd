//! `plan check` and `plan show`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use handover_plan::{Finding, Plan, PlanErrors, Severity, TargetKind};
use handover_settings::Server;
use serde_json::{Value, json};

use super::init::load_all;
use crate::args::PlanCommand;
use crate::context::Context;
use crate::exit::Exit;
use crate::output;

pub(crate) async fn run(context: &Context, command: PlanCommand) -> Result<Exit> {
    match command {
        PlanCommand::Show { folder } => show(context, &folder),
        PlanCommand::Check { folder, offline } => {
            let folders = match folder {
                Some(folder) => vec![folder],
                None => {
                    load_all(&context.settings.plans.dir)?.into_iter().map(|(folder, _)| folder).collect()
                }
            };
            check_all(context, &folders, offline).await
        }
    }
}

async fn check_all(context: &Context, folders: &[PathBuf], offline: bool) -> Result<Exit> {
    let mut exit = Exit::Done;
    for folder in folders {
        let findings = match Plan::load(folder) {
            Err(errors) => errors_of(&errors),
            Ok(_) if offline => Vec::new(),
            Ok(plan) => check(context, &plan).await?,
        };
        let failed = findings.iter().any(|finding| finding.severity == Severity::Error);
        if failed {
            exit = Exit::Findings;
        }
        if context.output.is_json() {
            let list: Vec<Value> = findings.iter().map(as_json).collect();
            output::line(&json!({ "plan": folder, "ok": !failed, "findings": list }).to_string())?;
        } else {
            print_findings(folder, &findings);
            output::line(&format!("{}: {}", folder.display(), if failed { "has errors" } else { "fits" }))?;
        }
    }
    Ok(exit)
}

fn errors_of(errors: &PlanErrors) -> Vec<Finding> {
    errors.findings().to_vec()
}

/// Proves a plan against the legacy primary and the destination, in transactions that are rolled back.
pub(crate) async fn check(context: &Context, plan: &Plan) -> Result<Vec<Finding>> {
    let source = context.database(Server::LegacyPrimary)?.connect().await?;
    let destination = context.database(Server::Destination)?.connect().await?;
    Ok(handover_plan::check(plan, &source, &destination).await?)
}

/// Prints findings on standard error; true where one is an error.
pub(crate) fn print_findings(folder: &Path, findings: &[Finding]) -> bool {
    for finding in findings {
        let text = format!("{}: {finding}", folder.display());
        match finding.severity {
            Severity::Error => output::problem(&text),
            Severity::Warning => output::warning(&text),
        }
    }
    findings.iter().any(|finding| finding.severity == Severity::Error)
}

fn as_json(finding: &Finding) -> Value {
    json!({
        "severity": match finding.severity { Severity::Error => "error", Severity::Warning => "warning" },
        "code": finding.code.as_str(),
        "file": finding.file,
        "line": finding.line,
        "what": finding.what,
        "remedy": finding.remedy,
    })
}

fn show(context: &Context, folder: &Path) -> Result<Exit> {
    let plan = Plan::load(folder)?;
    let target = |kind: &TargetKind| match kind {
        TargetKind::Table { table, .. } => table.plain(),
        TargetKind::Load { .. } => "SQL".to_owned(),
    };
    let hash = hex::encode(plan.hash());
    let entities: Vec<Value> = plan
        .entities()
        .iter()
        .map(|entity| {
            let columns: Vec<String> = entity.layout.columns().iter().map(ToString::to_string).collect();
            json!({ "entity": entity.name, "into": target(&entity.target), "key": entity.key, "columns": columns })
        })
        .collect();
    let tables: Vec<Value> = plan
        .legacy()
        .iter()
        .map(|table| json!({ "table": table.table.plain(), "ignored": table.ignore_table, "ignored_columns": table.ignore }))
        .collect();
    let value = json!({
        "name": plan.name(), "hash": hash, "user_key": plan.user_key().sql(), "entities": entities, "legacy": tables,
    });
    context.output.result(&value, || {
        let mut text = format!("{} ({})\nusers keyed by {}", plan.name(), hash, plan.user_key().sql());
        for entity in plan.entities() {
            let columns: Vec<&str> =
                entity.layout.columns().iter().map(|column| column.name.as_str()).collect();
            let list = columns.join(", ");
            text.push_str(&format!("\n\n{} -> {}\n  {list}", entity.name, target(&entity.target)));
            for (condition, reason) in &entity.dropped {
                text.push_str(&format!("\n  dropped where {condition}: {reason}"));
            }
        }
        text
    })?;
    Ok(Exit::Done)
}
