//! `launch`.

use anyhow::Result;
use serde_json::json;

use crate::args::LaunchArgs;
use crate::context::Context;
use crate::exit::Exit;
use crate::users::count;

pub(crate) async fn run(context: &Context, args: &LaunchArgs) -> Result<Exit> {
    let tracking = context.tracking()?;
    let cohort = tracking.cohort(&args.cohort).await?;
    let launched = tracking.launch(&cohort, args.limit).await?;
    let value = json!({ "cohort": cohort.name, "queued": launched.queued, "not_started": launched.not_started, "held": cohort.held });
    context.output.result(&value, || match launched.queued {
        0 => format!("nothing to launch: every user of {} was launched before", cohort.name),
        queued => format!(
            "{} of {} queued, {} not started; `handover status {} --watch` shows how they fare",
            count(queued as usize, "user"),
            cohort.name,
            launched.not_started,
            cohort.name
        ),
    })?;
    if cohort.held {
        context
            .output
            .note(&format!("{} is held: `handover release {}` lets it go", cohort.name, cohort.name));
    }
    Ok(Exit::Done)
}
