//! `plan check` and `plan show`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use console::style;
use handover_plan::{Finding, PLAN_FILE, Plan, Severity, TargetKind};
use handover_settings::Server;
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::PlanCommand;
use crate::context::Context;
use crate::exit::{Exit, stop};
use crate::output;
use crate::users::count;

pub(crate) async fn run(context: &Context, command: PlanCommand) -> Result<Exit> {
    match command {
        PlanCommand::Show { folder } => show(context, &folder),
        PlanCommand::Check { folder, offline } => {
            let folders = match folder {
                Some(folder) => vec![existing(folder)?],
                None => folders(&context.settings.plans.dir)?,
            };
            check_all(context, &folders, offline).await
        }
    }
}

fn existing(folder: PathBuf) -> Result<PathBuf> {
    if folder.is_dir() {
        return Ok(folder);
    }
    let text = format!("{} is no folder: a plan is a folder that holds {PLAN_FILE}", folder.display());
    Err(stop(Exit::Usage, text))
}

/// The plans below a folder: each folder in it that holds a `plan.toml`, by name; at least one.
pub(crate) fn folders(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).map_err(|error| {
        let text = format!("failed to read the plans folder {} (setting plans.dir): {error}", dir.display());
        stop(Exit::Usage, text)
    })?;
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry.context("failed to read the plans folder")?.path();
        if path.join(PLAN_FILE).is_file() {
            folders.push(path);
        }
    }
    folders.sort();
    if folders.is_empty() {
        let text = format!("{} (setting plans.dir) holds no folder with a {PLAN_FILE}", dir.display());
        return Err(stop(Exit::Usage, text));
    }
    Ok(folders)
}

/// The plan in a folder, or an end with its findings printed.
pub(crate) fn load(folder: &Path) -> Result<Plan> {
    Plan::load(folder).map_err(|errors| {
        print_findings(folder, errors.findings());
        let many = count(errors.findings().len(), "error");
        stop(Exit::Findings, format!("the plan in {} cannot be used: {many}", folder.display()))
    })
}

/// What a check found, as `--json` shows it.
#[derive(Debug, Serialize)]
struct Checked<'a> {
    plan: &'a Path,
    ok: bool,
    offline: bool,
    findings: Vec<Value>,
}

async fn check_all(context: &Context, folders: &[PathBuf], offline: bool) -> Result<Exit> {
    let mut exit = Exit::Done;
    for folder in folders {
        let (findings, well_formed) = match Plan::load(folder) {
            Err(errors) => (errors.findings().to_vec(), false),
            Ok(_) if offline => (Vec::new(), true),
            Ok(plan) => (check(context, &plan).await?, true),
        };
        let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
        if errors > 0 {
            exit = Exit::Findings;
        }
        if !context.output.is_json() {
            print_findings(folder, &findings);
        }
        let checked = Checked {
            plan: folder,
            ok: errors == 0,
            offline,
            findings: findings.iter().map(as_json).collect(),
        };
        context.output.result(&checked, || {
            let verdict = match (errors, offline || !well_formed) {
                (0, true) => "is well formed (not checked against the databases)".to_owned(),
                (0, false) => "fits the databases".to_owned(),
                (errors, true) => {
                    format!("has {} (not checked against the databases)", count(errors, "error"))
                }
                (errors, false) => format!("has {}", count(errors, "error")),
            };
            format!("{} {verdict}", folder.display())
        })?;
    }
    Ok(exit)
}

/// Proves a plan against the legacy primary and the destination, in transactions that are rolled back.
pub(crate) async fn check(context: &Context, plan: &Plan) -> Result<Vec<Finding>> {
    let source = context.database(Server::LegacyPrimary)?.connect().await?;
    let destination = context.database(Server::Destination)?.connect().await?;
    Ok(handover_plan::check(plan, &source, &destination).await?)
}

/// Prints findings on standard error, each with the path of its file; true where one is an error.
pub(crate) fn print_findings(folder: &Path, findings: &[Finding]) -> bool {
    for Finding { severity, code, file, line, column, what, remedy } in findings {
        let word = match severity {
            Severity::Error => style("error:").for_stderr().red().bold(),
            Severity::Warning => style("warning:").for_stderr().yellow().bold(),
        };
        let path = folder.join(file);
        let place = format!("{}:{line}:{column}:", path.display());
        output::say(&format!("{place} {word} {what} [{}]\n  remedy: {remedy}", code.as_str()));
    }
    findings.iter().any(|finding| finding.severity == Severity::Error)
}

fn as_json(finding: &Finding) -> Value {
    json!({
        "severity": finding.severity.to_string(),
        "code": finding.code.as_str(),
        "file": finding.file,
        "line": finding.line,
        "column": finding.column,
        "what": finding.what,
        "remedy": finding.remedy,
    })
}

fn show(context: &Context, folder: &Path) -> Result<Exit> {
    let plan = load(&existing(folder.to_path_buf())?)?;
    context.output.result(&plan_json(&plan), || plan_text(&plan))?;
    Ok(Exit::Done)
}

fn target(kind: &TargetKind) -> String {
    match kind {
        TargetKind::Table { table, .. } => table.plain(),
        TargetKind::Load { .. } => "its own SQL".to_owned(),
    }
}

fn plan_json(plan: &Plan) -> Value {
    let entities: Vec<Value> = plan
        .entities()
        .iter()
        .map(|entity| {
            let columns: Vec<String> = entity.layout.columns().iter().map(ToString::to_string).collect();
            let dropped: Vec<Value> = entity
                .dropped
                .iter()
                .map(|(condition, reason)| json!({ "where": condition, "reason": reason }))
                .collect();
            json!({
                "entity": entity.name, "into": target(&entity.target), "key": entity.key, "parent": entity.parent,
                "columns": columns, "dropped": dropped, "can_roll_back_changes": entity.reverse.is_some(),
            })
        })
        .collect();
    let tables: Vec<Value> = plan
        .legacy()
        .iter()
        .map(|table| json!({ "table": table.table.plain(), "ignored": table.ignore_table, "ignored_columns": table.ignore }))
        .collect();
    json!({
        "name": plan.name(), "hash": hex::encode(plan.hash()), "user_key": plan.user_key().sql(),
        "entities": entities, "legacy": tables,
    })
}

fn plan_text(plan: &Plan) -> String {
    let (hash, key) = (hex::encode(plan.hash()), plan.user_key().sql());
    let mut lines = vec![format!("{} (hash {hash}), users keyed by {key}", plan.name())];
    for entity in plan.entities() {
        let parent = entity.parent.as_ref().map(|parent| format!(", of {parent}")).unwrap_or_default();
        let columns: Vec<String> = entity.layout.columns().iter().map(ToString::to_string).collect();
        lines.push(format!("\n{}{parent} -> {}", entity.name, target(&entity.target)));
        lines.push(format!("  key {}\n  {}", entity.key.join(", "), columns.join(", ")));
        let dropped = entity.dropped.iter();
        lines.extend(dropped.map(|(condition, reason)| format!("  dropped where {condition}: {reason}")));
    }
    let stays = plan.legacy().iter().filter_map(|table| Some((table, table.ignore_table.as_ref()?)));
    let stays = stays.map(|(table, reason)| format!("{} stays: {reason}", table.table.plain()));
    lines.push(String::new());
    lines.extend(stays);
    lines.join("\n").trim_end().to_owned()
}
