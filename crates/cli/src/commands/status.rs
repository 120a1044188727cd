//! `status`: how far cohorts have come, once or until everybody is done.

use std::time::Duration;

use anyhow::Result;
use handover_tracking::{CohortInfo, Status, StatusCounts, Tracking};

use crate::args::StatusArgs;
use crate::commands::demo::bars::Bars;
use crate::context::Context;
use crate::exit::Exit;
use crate::output;

/// How often `--watch` looks.
const EVERY: Duration = Duration::from_millis(500);

pub(crate) async fn run(context: &Context, args: &StatusArgs) -> Result<Exit> {
    let tracking = context.tracking()?;
    let cohorts = match &args.cohort {
        Some(name) => vec![tracking.cohort(name).await?],
        None => tracking.cohorts().await?,
    };
    if args.watch {
        return watch(context, &tracking, &cohorts).await;
    }
    print(context, &all(&tracking, &cohorts).await?)?;
    Ok(Exit::Done)
}

async fn all(tracking: &Tracking, cohorts: &[CohortInfo]) -> Result<Vec<Status>> {
    let mut statuses = Vec::with_capacity(cohorts.len());
    for cohort in cohorts {
        statuses.push(tracking.status(cohort).await?);
    }
    Ok(statuses)
}

/// Bars on a terminal, a line of JSON a look with `--json`, until nobody is queued or on the way.
async fn watch(context: &Context, tracking: &Tracking, cohorts: &[CohortInfo]) -> Result<Exit> {
    let bars = Bars::new(context.output.is_json());
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        let statuses = all(tracking, cohorts).await?;
        let settled = statuses.iter().all(|status| is_settled(status));
        if context.output.is_json() {
            for status in &statuses {
                output::line(&serde_json::to_string(status)?)?;
            }
        } else {
            bars.show(&statuses);
        }
        if settled {
            bars.clear();
            if !context.output.is_json() {
                print(context, &statuses)?;
            }
            let failed = statuses.iter().any(|status| status.users.failed > 0);
            return Ok(if failed { Exit::Findings } else { Exit::Done });
        }
    }
}

/// Whether nobody is queued or on the way; those of a held cohort may wait for long.
pub(crate) fn is_settled(status: &Status) -> bool {
    let waiting = if status.held { 0 } else { status.users.queued };
    waiting + status.users.paused() + status.rollback_requested == 0
}

fn print(context: &Context, statuses: &[Status]) -> Result<()> {
    if context.output.is_json() {
        for status in statuses {
            output::line(&serde_json::to_string(status)?)?;
        }
        return Ok(());
    }
    let texts: Vec<String> = statuses.iter().map(text).collect();
    output::line(&if texts.is_empty() { "there are no cohorts".to_owned() } else { texts.join("\n\n") })
}

fn text(status: &Status) -> String {
    let total = status.users.total();
    let mut text = format!("{} ({}), {total} users", status.cohort, status.migration);
    if status.held {
        text.push_str(&format!(", held: {}", status.held_reason.as_deref().unwrap_or("no reason was given")));
    }
    for (state, users) in states(&status.users) {
        if users > 0 || ALWAYS.contains(&state) {
            text.push_str(&format!("\n  {state:<14}{users:>10}"));
        }
    }
    if status.rollback_requested > 0 {
        text.push_str(&format!("\n  of the completed, {} are to be rolled back", status.rollback_requested));
    }
    if let Some(eta) = status.eta_seconds {
        text.push_str(&format!("\n  {:.0} users/s, {} left", status.users_per_second, output::seconds(eta)));
    }
    text
}

/// States that are shown even where nobody is in them.
const ALWAYS: [&str; 8] =
    ["not started", "queued", "pausing", "copying", "verifying", "completing", "completed", "failed"];

/// The states in the order of a user's way.
pub(crate) fn states(users: &StatusCounts) -> [(&'static str, i64); 12] {
    [
        ("not started", users.not_started),
        ("queued", users.queued),
        ("pausing", users.pausing),
        ("copying", users.copying),
        ("verifying", users.verifying),
        ("completing", users.completing),
        ("completed", users.completed),
        ("failing", users.failing),
        ("failed", users.failed),
        ("rolling back", users.rolling_back),
        ("rolled back", users.rolled_back),
        ("skipped", users.skipped),
    ]
}
