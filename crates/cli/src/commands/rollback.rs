//! `rollback`: asks for it; the rollback stage does it, and refuses users who have changed.

use anyhow::Result;
use handover_tracking::{CohortInfo, Tracking};
use serde::Serialize;

use crate::args::RollbackArgs;
use crate::confirm::confirm;
use crate::context::Context;
use crate::exit::{Exit, stop};
use crate::users::count;

/// What became of the request.
#[derive(Debug, Serialize)]
struct Requested {
    cohort: String,
    requested: i64,
    /// Named users who are of this cohort and not completed, with their states.
    not_completed: Vec<(String, String)>,
    /// Named users who are not of this cohort.
    unknown: Vec<String>,
}

pub(crate) async fn run(context: &Context, args: &RollbackArgs) -> Result<Exit> {
    let tracking = context.tracking()?;
    let cohort = tracking.cohort(&args.cohort).await?;
    let users = match (args.users.is_empty(), args.all) {
        (false, false) => Some(args.users.all(context.key_type(&tracking).await?)?),
        (true, true) => None,
        (true, false) => return Err(stop(Exit::Usage, "nobody was named: give users, --file, or --all")),
        (false, true) => return Err(stop(Exit::Usage, "--all goes without users")),
    };
    let completed = tracking.status(&cohort).await?.users.completed;
    let many = users.as_ref().map_or(completed as usize, Vec::len);
    let question = format!("take {} of {} back to legacy?", count(many, "user"), cohort.name);
    confirm(context.yes, &question)?;
    let requested = request(&tracking, &cohort, users.as_deref()).await?;
    context.output.result(&requested, || text(&requested))?;
    let all = requested.unknown.is_empty() && requested.not_completed.is_empty();
    Ok(if all { Exit::Done } else { Exit::NotFound })
}

async fn request(tracking: &Tracking, cohort: &CohortInfo, users: Option<&[String]>) -> Result<Requested> {
    let (mut not_completed, mut unknown) = (Vec::new(), Vec::new());
    for user in users.unwrap_or_default() {
        let records = tracking.user(user).await?;
        match records.into_iter().find(|record| record.cohort == cohort.name) {
            None => unknown.push(user.clone()),
            Some(record) if record.state != "completed" => not_completed.push((user.clone(), record.state)),
            Some(_) => {}
        }
    }
    let requested = tracking.request_rollback(cohort, users).await?;
    Ok(Requested { cohort: cohort.name.clone(), requested, not_completed, unknown })
}

fn text(requested: &Requested) -> String {
    let many = count(requested.requested as usize, "rollback");
    let mut text =
        format!("{many} asked for; `handover status {} --watch` shows how they fare", requested.cohort);
    for (user, state) in &requested.not_completed {
        text.push_str(&format!(
            "\n  {user} is {}: only completed users can go back",
            state.replace('_', " ")
        ));
    }
    for user in &requested.unknown {
        text.push_str(&format!("\n  {user} is not of this cohort"));
    }
    text
}
