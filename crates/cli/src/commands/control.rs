//! `hold`, `release`, `cancel`, `retry`.

use anyhow::Result;
use handover_tracking::RetryOf;
use serde_json::json;

use crate::args::{CohortArg, HoldArgs, RetryArgs};
use crate::confirm::confirm;
use crate::context::Context;
use crate::exit::{Exit, stop};
use crate::users::count;

pub(crate) async fn hold(context: &Context, args: &HoldArgs) -> Result<Exit> {
    let tracking = context.tracking()?;
    let cohort = tracking.cohort(&args.cohort).await?;
    let withdrawn = tracking.hold(&cohort, &args.reason).await?;
    let value = json!({ "cohort": cohort.name, "held": true, "withdrawn": withdrawn });
    context.output.result(&value, || format!("{} is held; users on their way finish", cohort.name))?;
    Ok(Exit::Done)
}

pub(crate) async fn release(context: &Context, args: &CohortArg) -> Result<Exit> {
    let tracking = context.tracking()?;
    let cohort = tracking.cohort(&args.cohort).await?;
    let was_held = tracking.release(&cohort).await?;
    let value = json!({ "cohort": cohort.name, "held": false, "was_held": was_held });
    context.output.result(&value, || match was_held {
        true => format!("{} goes on", cohort.name),
        false => format!("{} was not held", cohort.name),
    })?;
    Ok(Exit::Done)
}

pub(crate) async fn cancel(context: &Context, args: &CohortArg) -> Result<Exit> {
    let tracking = context.tracking()?;
    let cohort = tracking.cohort(&args.cohort).await?;
    let queued = tracking.status(&cohort).await?.users.queued;
    confirm(
        context.yes,
        &format!("take {} of {} out of the queue?", count(queued as usize, "user"), cohort.name),
    )?;
    let cancelled = tracking.cancel(&cohort).await?;
    context.output.result(&cancelled, || {
        let on_their_way = count(cancelled.on_their_way as usize, "user");
        format!(
            "{} taken out of the queue; {on_their_way} on their way finish",
            count(cancelled.withdrawn as usize, "user")
        )
    })?;
    Ok(Exit::Done)
}

pub(crate) async fn retry(context: &Context, args: &RetryArgs) -> Result<Exit> {
    let tracking = context.tracking()?;
    let cohort = tracking.cohort(&args.cohort).await?;
    let of = if args.rolled_back { RetryOf::RolledBack } else { RetryOf::Failed };
    let users =
        if args.users.is_empty() { None } else { Some(args.users.all(context.key_type(&tracking).await?)?) };
    let queued = tracking.retry(&cohort, of, users.as_deref()).await?;
    let state = if args.rolled_back { "rolled back" } else { "failed" };
    if let Some(named) = users.as_ref().filter(|named| queued < named.len() as i64) {
        let text = format!(
            "{} of {} named users are {state} in {}; they are queued",
            queued,
            named.len(),
            cohort.name
        );
        return Err(stop(Exit::NotFound, text));
    }
    let value = json!({ "cohort": cohort.name, "queued": queued });
    context.output.result(&value, || match queued {
        0 => format!("no user of {} is {state}", cohort.name),
        _ => format!("{} of {} queued again", count(queued as usize, "user"), cohort.name),
    })?;
    Ok(Exit::Done)
}
