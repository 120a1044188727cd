//! `cohort create|add|remove|list`.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Result;
use handover_identity::Identity;
use handover_tracking::{AddReport, Clash, ClashKind, CohortInfo, Tracking};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::args::CohortCommand;
use crate::context::Context;
use crate::exit::{Exit, stop};
use crate::output;
use crate::users::{Named, UserArgs, count};

/// How many users Identity is asked about at a time.
const CHUNK: usize = 5_000;

/// How many users who were left out are listed on a terminal.
const LISTED: usize = 20;

pub(crate) async fn run(context: &Context, command: CohortCommand) -> Result<Exit> {
    match command {
        CohortCommand::Create { cohort, migration } => create(context, &cohort, &migration).await,
        CohortCommand::Add { cohort, users } => add(context, &cohort, &users).await,
        CohortCommand::Remove { cohort, users } => remove(context, &cohort, &users).await,
        CohortCommand::List => list(context).await,
    }
}

async fn create(context: &Context, cohort: &str, migration: &str) -> Result<Exit> {
    let cohort = context.tracking()?.create_cohort(migration, cohort).await?;
    context.output.result(&cohort, || format!("cohort {} of {} made", cohort.name, cohort.migration))?;
    Ok(Exit::Done)
}

async fn list(context: &Context) -> Result<Exit> {
    let cohorts = context.tracking()?.cohorts().await?;
    let row = |cohort: &CohortInfo| {
        let launched = cohort.launched_at.clone().unwrap_or_else(|| "-".to_owned());
        let held = if cohort.held { "held" } else { "" };
        vec![
            cohort.name.clone(),
            cohort.migration.clone(),
            cohort.users.to_string(),
            launched,
            held.to_owned(),
        ]
    };
    context.output.result(&cohorts, || {
        output::table(&["cohort", "migration", "users", "launched", ""], cohorts.iter().map(row).collect())
    })?;
    Ok(Exit::Done)
}

/// What adding did, users born on the new system included.
#[derive(Debug, Default, Serialize)]
struct Added {
    cohort: String,
    #[serde(flatten)]
    report: AddReport,
    born_on_new: i64,
    /// The first of them, with their lines.
    born: Vec<(i64, String)>,
}

async fn add(context: &Context, cohort: &str, users: &UserArgs) -> Result<Exit> {
    if users.is_empty() {
        return Err(stop(Exit::Usage, "nobody was named: give users, or --file"));
    }
    let tracking = context.tracking()?;
    let cohort = tracking.cohort(cohort).await?;
    let added = stream(context, &tracking, &cohort, users).await?;
    context.output.result(&added, || text(&added))?;
    Ok(Exit::Done)
}

/// Streams the users into tracking; nothing is committed before every line was read and found good.
async fn stream(
    context: &Context,
    tracking: &Tracking,
    cohort: &CohortInfo,
    users: &UserArgs,
) -> Result<Added> {
    let mut lines = users.lines(context.key_type(tracking).await?)?;
    let identity = context.identity()?;
    let mut adding = tracking.add_users(cohort).await?;
    let mut added = Added { cohort: cohort.name.clone(), ..Added::default() };
    let progress = progress(users.size());
    let mut chunk: Vec<Named> = Vec::with_capacity(CHUNK);
    loop {
        let named = lines.next()?;
        let ended = named.is_none();
        chunk.extend(named);
        if chunk.len() == CHUNK || ended {
            let born = born_on_new(&identity, &cohort.migration, &chunk).await?;
            for named in chunk.drain(..) {
                if born.contains(&named.user) {
                    added.leave_out(named);
                } else {
                    adding.push(named.line, &named.user).await?;
                }
            }
            progress.set_position(lines.bytes);
        }
        if ended {
            break;
        }
    }
    lines.finish()?;
    progress.set_message("putting them in place");
    added.report = adding.finish().await?;
    progress.finish_and_clear();
    Ok(added)
}

impl Added {
    fn leave_out(&mut self, named: Named) {
        self.born_on_new += 1;
        if self.born.len() < LISTED {
            self.born.push((named.line, named.user));
        }
    }
}

/// Those of the users whom Identity knows as born on the new system.
async fn born_on_new(identity: &Identity, migration: &str, chunk: &[Named]) -> Result<HashSet<String>> {
    let users: Vec<String> = chunk.iter().map(|named| named.user.clone()).collect();
    let records = identity.get(&users).await?;
    let born = records.iter().filter(|record| record.flipped_by(migration) == Some(0));
    Ok(born.map(|record| record.user().to_owned()).collect())
}

fn progress(size: Option<u64>) -> ProgressBar {
    let Some(size) = size.filter(|size| *size > 1_000_000) else { return ProgressBar::hidden() };
    let style = "{bar:40} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta} {msg}";
    let bar = ProgressBar::new(size)
        .with_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn text(added: &Added) -> String {
    let report = &added.report;
    let mut text = format!("{} added to {}", count(report.added as usize, "user"), added.cohort);
    let left_out = report.duplicates + report.already_here + report.other_cohort + added.born_on_new;
    if left_out == 0 {
        return text;
    }
    text.push_str(&format!("; {} left out:", count(left_out as usize, "line")));
    for (line, user) in &added.born {
        text.push_str(&format!("\n  {}{user}: born on the new system", place(*line)));
    }
    for clash in report.clashes.iter().take(LISTED) {
        text.push_str(&format!("\n  {}", clash_text(clash)));
    }
    let listed = (added.born.len() + report.clashes.len().min(LISTED)) as i64;
    if left_out > listed {
        text.push_str(&format!("\n  and {} more (--json lists up to a thousand)", left_out - listed));
    }
    text
}

fn clash_text(clash: &Clash) -> String {
    let why = match clash.kind {
        ClashKind::Duplicate => "stands on an earlier line too".to_owned(),
        ClashKind::AlreadyHere => "is of this cohort already".to_owned(),
        ClashKind::OtherCohort => {
            format!("is of cohort {}", clash.cohort.as_deref().unwrap_or("another"))
        }
    };
    format!("{}{} {why}", place(clash.line), clash.user)
}

fn place(line: i64) -> String {
    if line == 0 { String::new() } else { format!("line {line}: ") }
}

async fn remove(context: &Context, cohort: &str, users: &UserArgs) -> Result<Exit> {
    let tracking = context.tracking()?;
    let cohort = tracking.cohort(cohort).await?;
    let users = users.all(context.key_type(&tracking).await?)?;
    if users.is_empty() {
        return Err(stop(Exit::Usage, "nobody was named: give users, or --file"));
    }
    let removed = tracking.remove_users(&cohort, &users).await?;
    context.output.result(&removed, || {
        let mut text = format!("{} removed from {}", count(removed.removed.len(), "user"), cohort.name);
        if !removed.launched.is_empty() {
            text.push_str(&format!(
                "\nkept, since they were launched before: {}",
                removed.launched.join(", ")
            ));
        }
        if !removed.unknown.is_empty() {
            text.push_str(&format!("\nnot of this cohort: {}", removed.unknown.join(", ")));
        }
        text
    })?;
    Ok(if removed.unknown.is_empty() { Exit::Done } else { Exit::NotFound })
}
