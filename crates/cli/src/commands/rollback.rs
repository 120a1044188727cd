//! `rollback`: asks for it; the rollback stage does it, and refuses users who have changed.

use std::time::Duration;

use anyhow::Result;
use handover_plan::Plan;
use handover_settings::Server;
use handover_tracking::{CohortInfo, Tracking};
use indicatif::ProgressBar;
use serde::Serialize;

use crate::args::RollbackArgs;
use crate::commands::demo::bars::style;
use crate::confirm::confirm;
use crate::context::Context;
use crate::exit::{Exit, stop};
use crate::named::{self, LeftOut};
use crate::users::{count, nobody};

/// How often `--watch` looks.
const EVERY: Duration = Duration::from_millis(500);

/// How many who were refused are listed as text.
const LISTED: usize = 20;

/// The states in which the one who asked for a rollback may find a user, where it was not refused.
const BACK: &str = "rolled_back";

/// What became of the request.
#[derive(Debug, Default, Serialize)]
struct Requested {
    cohort: String,
    #[serde(rename = "requested")]
    many: i64,
    /// Named users who are not completed users of this cohort.
    left_out: Vec<LeftOut>,
    /// With `--watch`: what came of it.
    #[serde(flatten)]
    end: Option<End>,
}

/// How the rollbacks ended.
#[derive(Debug, Serialize)]
struct End {
    #[serde(rename = "rolled_back")]
    back: i64,
    /// Rollbacks that were refused: their users stay completed.
    refused: i64,
    /// The users who were named and refused.
    refused_users: Vec<String>,
}

pub(crate) async fn run(context: &Context, args: &RollbackArgs) -> Result<Exit> {
    if args.users.is_empty() && !args.all {
        return Err(nobody("users, --file, or --all"));
    }
    let tracking = context.tracking()?;
    let cohort = tracking.cohort(&args.cohort).await?;
    let sorted = if args.all {
        None
    } else {
        let users = args.users.all(context.key_type(&tracking).await?).await?;
        Some(named::sort(&tracking, &cohort, users, "completed").await?)
    };
    let (fit, left_out) = sorted.map_or((None, Vec::new()), |sorted| (Some(sorted.fit), sorted.left_out));
    let mut done = Requested { cohort: cohort.name.clone(), left_out, ..Requested::default() };
    let before = tracking.status(&cohort).await?;
    let completed = before.users.completed - before.rollback_requested;
    let many = fit.as_ref().map_or(completed, |fit| fit.len() as i64);
    if many > 0 {
        let carrying = if args.carry_back { ", and write what they have changed to legacy" } else { "" };
        let users = count(many as usize, "user");
        let what = format!("take {users} of {} back to legacy{carrying}", cohort.name);
        confirm(context.yes, &what).await?;
        done.many = if args.carry_back {
            prepare_to_carry(context, &tracking, &cohort).await?;
            tracking.request_carry_back(&cohort, fit.as_deref()).await?
        } else {
            tracking.request_rollback(&cohort, fit.as_deref()).await?
        };
    }
    if args.watch && done.many > 0 {
        done.end = Some(watch(context, &tracking, &cohort, &done, fit.as_deref()).await?);
    }
    context.output.result(&done, || text(&cohort, &done))?;
    Ok(match &done.end {
        Some(end) if end.refused > 0 => Exit::Findings,
        _ if !done.left_out.is_empty() => Exit::NotFound,
        _ => Exit::Done,
    })
}

/// Makes sure that changes can be carried back: the plan has a reverse load for every entity, and the legacy primary the
/// table of markers.
async fn prepare_to_carry(context: &Context, tracking: &Tracking, cohort: &CohortInfo) -> Result<()> {
    let stored = tracking.current_plan(&cohort.migration).await?;
    let plan = Plan::from_files(stored.files)?;
    let one_way: Vec<&str> =
        plan.entities().iter().filter(|e| e.reverse.is_none()).map(|e| e.name.as_str()).collect();
    if !one_way.is_empty() {
        let text = format!(
            "nothing was done: the plan of {} has no `reverse` for {}",
            cohort.migration,
            one_way.join(", ")
        );
        return Err(stop(Exit::Refused, text));
    }
    let mut primary = context.database(Server::LegacyPrimary)?.connect().await?;
    let made = handover_engine::install_carry_back(&mut primary).await?;
    if !made.is_empty() {
        let grants = handover_engine::carry_back_grants("ROLE").join("; ");
        context.output.note(&format!(
            "made handover_carry.marker on the legacy primary; if the workers' role is another: {grants}"
        ));
    }
    Ok(())
}

/// Waits until no rollback of the cohort waits or is under way.
async fn watch(
    context: &Context,
    tracking: &Tracking,
    cohort: &CohortInfo,
    done: &Requested,
    users: Option<&[String]>,
) -> Result<End> {
    let bar = bar(context, done.many);
    let mut ticks = tokio::time::interval(EVERY);
    let status = loop {
        ticks.tick().await;
        let status = tracking.status(cohort).await?;
        let left = status.rollback_requested + status.users.rolling_back;
        bar.set_position((done.many - left).max(0) as u64);
        if left == 0 {
            break status;
        }
    };
    bar.finish_and_clear();
    let Some(users) = users else {
        // Everybody who was completed was asked for: who still is was refused.
        let refused = status.users.completed.min(done.many);
        return Ok(End { back: done.many - refused, refused, refused_users: Vec::new() });
    };
    let refused_users: Vec<String> =
        named::sort(tracking, cohort, users.to_vec(), BACK).await?.into_left_out();
    let refused = refused_users.len() as i64;
    Ok(End { back: users.len() as i64 - refused, refused, refused_users })
}

fn bar(context: &Context, users: i64) -> ProgressBar {
    if context.output.is_json() {
        return ProgressBar::hidden();
    }
    ProgressBar::new(users.max(0) as u64).with_style(style()).with_prefix("rollback")
}

fn text(cohort: &CohortInfo, done: &Requested) -> String {
    let many = count(done.many as usize, "rollback");
    let first = match &done.end {
        None if done.many == 0 && done.left_out.is_empty() => {
            format!("nobody to roll back: no user of {} is completed", cohort.name)
        }
        None if done.many == 0 => "nobody to roll back".to_owned(),
        None => format!("{many} asked for; `handover status {} --watch` shows how they fare", cohort.name),
        Some(end) => ended(end),
    };
    first + &named::text(cohort, &done.left_out)
}

fn ended(end: &End) -> String {
    let mut lines =
        vec![format!("{} rolled back, {} refused", count(end.back as usize, "user"), end.refused)];
    let refused = end.refused_users.iter().take(LISTED);
    lines.extend(refused.map(|user| format!("  refused: {user}; `handover user show {user}` says why")));
    lines.join("\n")
}
