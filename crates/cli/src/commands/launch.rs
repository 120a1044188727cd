//! `launch`: queues a cohort's users, and warns where the plan on disk is not the one that they will get.

use anyhow::Result;
use handover_plan::Plan;
use handover_tracking::{CohortInfo, Launched, Tracking};
use serde::Serialize;

use super::plan::folders;
use super::status;
use crate::args::LaunchArgs;
use crate::context::Context;
use crate::exit::Exit;
use crate::output;
use crate::users::count;

/// How the plan in the plans folder compares with the registered one, which attempts are pinned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum OnDisk {
    Same,
    Differs,
    /// It has errors.
    Broken,
    /// The plans folder holds none of that name, or is not here at all.
    Absent,
}

/// What was launched.
#[derive(Debug, Serialize)]
struct Report<'a> {
    cohort: &'a str,
    #[serde(flatten)]
    launched: Launched,
    held: bool,
    plan_on_disk: OnDisk,
}

pub(crate) async fn run(context: &Context, args: &LaunchArgs) -> Result<Exit> {
    let tracking = context.tracking()?;
    let cohort = tracking.cohort(&args.cohort).await?;
    let plan_on_disk = compare(context, &tracking, &cohort).await?;
    warn(context, &cohort, plan_on_disk);
    let launched = tracking.launch(&cohort, args.limit).await?;
    let report = Report { cohort: &cohort.name, launched, held: cohort.held, plan_on_disk };
    context.output.result(&report, || text(&cohort, launched, args.watch))?;
    if cohort.held {
        let name = &cohort.name;
        context.output.note(&format!("{name} is held: nobody begins until `handover release {name}`"));
    }
    if args.watch { status::watch(context, &tracking, Some(&cohort.name)).await } else { Ok(Exit::Done) }
}

async fn compare(context: &Context, tracking: &Tracking, cohort: &CohortInfo) -> Result<OnDisk> {
    let registered = tracking.current_plan(&cohort.migration).await?;
    for folder in folders(&context.settings.plans.dir).unwrap_or_default() {
        match Plan::load(&folder) {
            Ok(plan) if plan.name() == cohort.migration => {
                let same = plan.hash().as_slice() == registered.hash;
                return Ok(if same { OnDisk::Same } else { OnDisk::Differs });
            }
            // A plan that cannot be read may still be told by its folder.
            Err(_) if folder.ends_with(&cohort.migration) => return Ok(OnDisk::Broken),
            _ => {}
        }
    }
    Ok(OnDisk::Absent)
}

fn warn(context: &Context, cohort: &CohortInfo, on_disk: OnDisk) {
    let (migration, dir) = (&cohort.migration, context.settings.plans.dir.display());
    match on_disk {
        OnDisk::Same | OnDisk::Absent => {}
        OnDisk::Differs => output::warning(&format!(
            "the plan of {migration} in {dir} is not the registered one, which users get until `handover init` registers it"
        )),
        OnDisk::Broken => output::warning(&format!(
            "the plan of {migration} in {dir} has errors (`handover plan check` lists them); users get the registered one"
        )),
    }
}

fn text(cohort: &CohortInfo, launched: Launched, watched: bool) -> String {
    let name = &cohort.name;
    match (launched.queued, cohort.users) {
        (0, 0) => {
            format!("nothing to launch: {name} has no users; `handover cohort add {name}` gives it some")
        }
        (0, _) => format!("nothing to launch: every user of {name} was launched before"),
        (queued, _) => {
            let queued = count(queued as usize, "user");
            let hint = format!("; `handover status {name} --watch` shows how they fare");
            let hint = if watched { "" } else { hint.as_str() };
            format!("{queued} of {name} queued, {} not started{hint}", launched.not_started)
        }
    }
}
