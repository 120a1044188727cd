//! `hold`, `release`, `cancel`, `retry`.

use anyhow::Result;
use handover_tracking::RetryOf;
use serde::Serialize;
use serde_json::json;

use crate::args::{CohortArg, HoldArgs, RetryArgs};
use crate::confirm::confirm;
use crate::context::Context;
use crate::exit::Exit;
use crate::named::{self, LeftOut};
use crate::users::count;

pub(crate) async fn hold(context: &Context, args: &HoldArgs) -> Result<Exit> {
    let tracking = context.tracking()?;
    let cohort = tracking.cohort(&args.cohort).await?;
    let withdrawn = tracking.hold(&cohort, &args.reason).await?;
    let value = json!({ "cohort": cohort.name, "held": true, "reason": args.reason, "withdrawn": withdrawn });
    context.output.result(&value, || {
        let name = &cohort.name;
        format!(
            "{name} is held: users on their way finish, nobody new begins until `handover release {name}`"
        )
    })?;
    Ok(Exit::Done)
}

pub(crate) async fn release(context: &Context, args: &CohortArg) -> Result<Exit> {
    let tracking = context.tracking()?;
    let cohort = tracking.cohort(&args.cohort).await?;
    let was_held = tracking.release(&cohort).await?;
    let value = json!({ "cohort": cohort.name, "held": false, "was_held": was_held });
    context.output.result(&value, || {
        let what = if was_held { "goes on" } else { "was not held" };
        format!("{} {what}", cohort.name)
    })?;
    Ok(Exit::Done)
}

/// What a cancel did.
#[derive(Debug, Default, Serialize)]
struct Cancelled {
    cohort: String,
    /// Users who were queued and are not any more.
    withdrawn: i64,
    /// Rollbacks that were asked for and are forgotten.
    rollbacks_withdrawn: i64,
    /// Users on their way, who finish.
    on_their_way: i64,
}

pub(crate) async fn cancel(context: &Context, args: &CohortArg) -> Result<Exit> {
    let tracking = context.tracking()?;
    let cohort = tracking.cohort(&args.cohort).await?;
    let status = tracking.status(&cohort).await?;
    let mut done = Cancelled { cohort: cohort.name.clone(), ..Cancelled::default() };
    done.on_their_way = status.users.paused();
    if status.users.queued + status.rollback_requested > 0 {
        let forget = match status.rollback_requested {
            0 => String::new(),
            asked => format!(", and forget {}", rollbacks(asked)),
        };
        let what = format!("take {} of {} out of the queue{forget}", users(status.users.queued), cohort.name);
        confirm(context.yes, &what).await?;
        let cancelled = tracking.cancel(&cohort).await?;
        (done.withdrawn, done.on_their_way) = (cancelled.withdrawn, cancelled.on_their_way);
        done.rollbacks_withdrawn = tracking.cancel_rollbacks(&cohort).await?;
    }
    context.output.result(&done, || cancelled_text(&done))?;
    Ok(Exit::Done)
}

fn cancelled_text(done: &Cancelled) -> String {
    let cohort = &done.cohort;
    let first = match (done.withdrawn, done.rollbacks_withdrawn) {
        (0, 0) => format!("nobody of {cohort} waits in the queue"),
        (withdrawn, 0) => format!("{} of {cohort} taken out of the queue", users(withdrawn)),
        (withdrawn, forgotten) => {
            format!(
                "{} of {cohort} taken out of the queue, {} forgotten",
                users(withdrawn),
                rollbacks(forgotten)
            )
        }
    };
    match done.on_their_way {
        0 => first,
        finish => format!("{first}; {} on their way finish", users(finish)),
    }
}

fn users(n: i64) -> String {
    count(n as usize, "user")
}

fn rollbacks(n: i64) -> String {
    count(n as usize, "rollback")
}

/// What a retry did.
#[derive(Debug, Serialize)]
struct Retried {
    cohort: String,
    /// Users who are queued again.
    queued: i64,
    /// Named users who were not in the state that is retried.
    left_out: Vec<LeftOut>,
}

pub(crate) async fn retry(context: &Context, args: &RetryArgs) -> Result<Exit> {
    let tracking = context.tracking()?;
    let cohort = tracking.cohort(&args.cohort).await?;
    let (of, state) =
        if args.rolled_back { (RetryOf::RolledBack, "rolled_back") } else { (RetryOf::Failed, "failed") };
    let (queued, left_out) = if args.users.is_empty() {
        (tracking.retry(&cohort, of, None).await?, Vec::new())
    } else {
        let users = args.users.all(context.key_type(&tracking).await?).await?;
        let sorted = named::sort(&tracking, &cohort, users, state).await?;
        (tracking.retry(&cohort, of, Some(&sorted.fit)).await?, sorted.left_out)
    };
    let retried = Retried { cohort: cohort.name.clone(), queued, left_out };
    context.output.result(&retried, || {
        let has = if args.rolled_back { "was rolled back" } else { "has failed" };
        let first = match queued {
            0 if retried.left_out.is_empty() => format!("nobody to retry: no user of {} {has}", cohort.name),
            0 => "nobody to retry".to_owned(),
            _ => format!("{} of {} queued again", users(queued), cohort.name),
        };
        let reason = || cohort.held_reason.as_deref().unwrap_or("no reason was given");
        let held = if cohort.held {
            format!("; it is held ({}): `handover release {}` lets them begin", reason(), cohort.name)
        } else {
            String::new()
        };
        first + &held + &named::text(&cohort, &retried.left_out)
    })?;
    Ok(if retried.left_out.is_empty() { Exit::Done } else { Exit::NotFound })
}
