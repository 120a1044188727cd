//! `status`: how far cohorts have come, once or until everybody is done.

use std::time::{Duration, Instant};

use anyhow::Result;
use handover_tracking::{Status, StatusCounts, Tracking};

use crate::args::StatusArgs;
use crate::commands::demo::bars::Bars;
use crate::context::Context;
use crate::exit::{Exit, of_error};
use crate::interrupt::chain;
use crate::output;
use crate::users::count;

/// How often `--watch` looks.
const EVERY: Duration = Duration::from_millis(500);

/// For how long `--watch` goes on asking a destination that does not answer: a fail-over is over by then.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) async fn run(context: &Context, args: &StatusArgs) -> Result<Exit> {
    let tracking = context.tracking()?;
    if args.watch {
        return watch(context, &tracking, args.cohort.as_deref()).await;
    }
    print(context, &all(&tracking, args.cohort.as_deref()).await?)?;
    Ok(Exit::Done)
}

/// The status of one cohort, or of each.
async fn all(tracking: &Tracking, cohort: Option<&str>) -> Result<Vec<Status>> {
    let cohorts = match cohort {
        Some(name) => vec![tracking.cohort(name).await?],
        None => tracking.cohorts().await?,
    };
    let mut statuses = Vec::with_capacity(cohorts.len());
    for cohort in &cohorts {
        statuses.push(tracking.status(cohort).await?);
    }
    Ok(statuses)
}

/// Bars on a terminal, a line of JSON a look with `--json`, until nobody is queued or on the way.
pub(crate) async fn watch(context: &Context, tracking: &Tracking, cohort: Option<&str>) -> Result<Exit> {
    let bars = Bars::new(context.output.is_json());
    let mut ticks = tokio::time::interval(EVERY);
    let mut silent = None;
    loop {
        ticks.tick().await;
        let Some(statuses) = answered(all(tracking, cohort).await, &mut silent)? else { continue };
        if context.output.is_json() {
            print(context, &statuses)?;
        } else {
            bars.show(&statuses);
        }
        if statuses.iter().all(is_settled) {
            bars.clear();
            if !context.output.is_json() {
                print(context, &statuses)?;
            }
            let failed = statuses.iter().any(|status| status.users.failed > 0);
            return Ok(if failed { Exit::Findings } else { Exit::Done });
        }
    }
}

/// What was asked; none where the destination does not answer, which is an error only after some time.
fn answered(asked: Result<Vec<Status>>, silent: &mut Option<Instant>) -> Result<Option<Vec<Status>>> {
    match asked {
        Err(error) if of_error(&error) == Exit::Unreachable => {
            let since = silent.get_or_insert_with(|| {
                output::warning(&format!("{}; asking again for {} s", chain(&error), PATIENCE.as_secs()));
                Instant::now()
            });
            if since.elapsed() < PATIENCE { Ok(None) } else { Err(error) }
        }
        other => {
            *silent = None;
            other.map(Some)
        }
    }
}

/// Whether nobody is queued or on the way; those of a held cohort may wait for long.
pub(crate) fn is_settled(status: &Status) -> bool {
    let waiting = if status.held { 0 } else { status.users.queued };
    waiting + status.users.paused() + status.rollback_requested == 0
}

fn print(context: &Context, statuses: &[Status]) -> Result<()> {
    context.output.list(statuses, || {
        let texts: Vec<String> = statuses.iter().map(text).collect();
        if texts.is_empty() {
            "there are no cohorts; `handover cohort create` makes one".to_owned()
        } else {
            texts.join("\n\n")
        }
    })
}

fn text(status: &Status) -> String {
    let reason = || status.held_reason.as_deref().unwrap_or("no reason was given");
    let held = if status.held { format!(", held: {}", reason()) } else { String::new() };
    let total = count(status.users.total() as usize, "user");
    let mut lines = vec![format!("{} ({}), {total}{held}", status.cohort, status.migration)];
    let shown = states(&status.users)
        .into_iter()
        .filter(|(state, users)| *users > 0 || ALWAYS.contains(&state.as_str()));
    lines.extend(shown.map(|(state, users)| format!("  {state:<14}{users:>10}")));
    if status.rollback_requested > 0 {
        lines.push(format!("  of the completed, {} are to be rolled back", status.rollback_requested));
    }
    lines.extend(pace(status));
    lines.join("\n")
}

/// Rate and time left, while anybody moves.
fn pace(status: &Status) -> Option<String> {
    match status.eta_seconds {
        Some(eta) => {
            let left = output::seconds(eta);
            Some(format!("  {:.1} users/s, about {left} left", status.users_per_second))
        }
        None if is_settled(status) => None,
        None => Some("  nobody has finished in the last seconds".to_owned()),
    }
}

/// States that are shown even where nobody is in them.
const ALWAYS: [&str; 9] = [
    "not started",
    "queued",
    "pausing",
    "copying",
    "verifying",
    "completing",
    "completed",
    "failed",
    "rolled back",
];

/// The states as people read them, in the order of a user's way.
pub(crate) fn states(users: &StatusCounts) -> [(String, i64); 12] {
    users.by_state().map(|(state, users)| (state.replace('_', " "), users))
}
