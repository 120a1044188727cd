//! `cohort create|add|remove|list`.

use std::collections::HashSet;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::{TryStreamExt, stream};
use handover_identity::Truth;
use handover_tracking::{AddReport, Clash, ClashKind, CohortInfo, Removed, Tracking};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::args::CohortCommand;
use crate::context::Context;
use crate::exit::Exit;
use crate::output;
use crate::users::{Chunk, Named, UserArgs, count, nobody};

/// How many users Identity is asked about at a time.
const CHUNK: usize = 5_000;

/// How many such questions are under way while what was answered is sent on.
const AHEAD: usize = 3;

/// How many users who were left out are listed as text.
const LISTED: usize = 20;

/// A file below this size is added too quickly for a bar.
const BAR_FROM: u64 = 1_000_000;

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
    context.output.result(&cohort, || {
        let (name, migration) = (&cohort.name, &cohort.migration);
        format!("cohort {name} of {migration} made; `handover cohort add {name}` gives it users")
    })?;
    Ok(Exit::Done)
}

async fn list(context: &Context) -> Result<Exit> {
    let cohorts = context.tracking()?.cohorts().await?;
    let row = |cohort: &CohortInfo| {
        let launched = cohort.launched_at.clone().unwrap_or_else(|| "-".to_owned());
        let reason = || cohort.held_reason.as_deref().unwrap_or("no reason was given");
        let held = if cohort.held { format!("held: {}", reason()) } else { String::new() };
        vec![cohort.name.clone(), cohort.migration.clone(), cohort.users.to_string(), launched, held]
    };
    context.output.list(&cohorts, || {
        if cohorts.is_empty() {
            return "there are no cohorts; `handover cohort create` makes one".to_owned();
        }
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
    /// Users who signed up on the new system: there is nothing to move.
    born_on_new: i64,
    /// The first of them, with their lines.
    born: Vec<Named>,
}

async fn add(context: &Context, cohort: &str, users: &UserArgs) -> Result<Exit> {
    if users.is_empty() {
        return Err(nobody("users, or --file"));
    }
    let tracking = context.tracking()?;
    let cohort = tracking.cohort(cohort).await?;
    let bar = progress(users.size());
    let added = stream_in(context, &tracking, &cohort, users, &bar).await;
    bar.finish_and_clear();
    let added = added?;
    context.output.result(&added, || text(&added))?;
    Ok(Exit::Done)
}

/// Streams the users into tracking; nothing is committed before every line was read and found good. While one
/// chunk is sent, Identity is asked about the next ones.
async fn stream_in(
    context: &Context,
    tracking: &Tracking,
    cohort: &CohortInfo,
    users: &UserArgs,
    bar: &ProgressBar,
) -> Result<Added> {
    let lines = users.lines(context.key_type(tracking).await?)?;
    let truth = context.truth()?;
    let mut adding = tracking.add_users(cohort).await?;
    let mut added = Added { cohort: cohort.name.clone(), ..Added::default() };
    let chunks = stream::try_unfold(lines, |lines| lines.chunk(CHUNK));
    let looked_up = chunks.map_ok(|chunk| look_up(truth.clone(), cohort.migration.clone(), chunk));
    let mut looked_up = pin!(looked_up.try_buffered(AHEAD));
    while let Some((chunk, born)) = looked_up.try_next().await? {
        for named in chunk.users {
            if born.contains(&named.user) {
                added.leave_out(named);
            } else {
                adding.push(named.line, &named.user).await?;
            }
        }
        bar.set_position(chunk.bytes);
    }
    bar.set_message("putting them in place");
    added.report = adding.finish().await?;
    Ok(added)
}

impl Added {
    fn leave_out(&mut self, named: Named) {
        self.born_on_new += 1;
        if self.born.len() < LISTED {
            self.born.push(named);
        }
    }
}

/// The chunk, with those of its users whom Identity knows as born on the new system. A task of its own, so that
/// it goes on while another chunk is sent.
async fn look_up(truth: Truth, migration: String, chunk: Chunk) -> Result<(Chunk, HashSet<String>)> {
    let asked = async move {
        let users: Vec<String> = chunk.users.iter().map(|named| named.user.clone()).collect();
        let born = truth.born(&migration, &users).await?;
        Ok((chunk, born.into_iter().collect()))
    };
    tokio::spawn(asked).await.context("failed to ask Identity")?
}

fn progress(size: Option<u64>) -> ProgressBar {
    let Some(size) = size.filter(|size| *size > BAR_FROM) else { return ProgressBar::hidden() };
    let style = "{bar:40} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta} {msg}";
    let bar = ProgressBar::new(size)
        .with_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn text(added: &Added) -> String {
    let report = &added.report;
    let first = format!("{} added to {}", count(report.added as usize, "user"), added.cohort);
    let left_out = report.duplicates + report.already_here + report.other_cohort + added.born_on_new;
    if left_out == 0 {
        return first;
    }
    let born = added.born.iter();
    let born = born.map(|named| format!("  {}{} was born on the new system", place(named.line), named.user));
    let clashes = report.clashes.iter().take(LISTED).map(clash_text);
    let mut lines: Vec<String> = born.chain(clashes).collect();
    let more = left_out - lines.len() as i64;
    lines.insert(0, format!("{first}; {left_out} left out:"));
    if more > 0 {
        lines.push(format!("  and {more} more (--json lists up to a thousand)"));
    }
    lines.join("\n")
}

fn clash_text(clash: &Clash) -> String {
    let why = match clash.kind {
        ClashKind::Duplicate if clash.line == 0 => "was named before".to_owned(),
        ClashKind::Duplicate => "stands on an earlier line too".to_owned(),
        ClashKind::AlreadyHere => "is of this cohort already".to_owned(),
        ClashKind::OtherCohort => {
            format!("is of cohort {}", clash.cohort.as_deref().unwrap_or("another"))
        }
    };
    format!("  {}{} {why}", place(clash.line), clash.user)
}

/// Users who were named as parameters stand on no line.
fn place(line: i64) -> String {
    if line == 0 { String::new() } else { format!("line {line}: ") }
}

async fn remove(context: &Context, cohort: &str, users: &UserArgs) -> Result<Exit> {
    if users.is_empty() {
        return Err(nobody("users, or --file"));
    }
    let tracking = context.tracking()?;
    let cohort = tracking.cohort(cohort).await?;
    let users = users.all(context.key_type(&tracking).await?).await?;
    let removed = tracking.remove_users(&cohort, &users).await?;
    context.output.result(&removed, || removed_text(&cohort, &removed))?;
    let all = removed.unknown.is_empty() && removed.launched.is_empty();
    Ok(if all { Exit::Done } else { Exit::NotFound })
}

fn removed_text(cohort: &CohortInfo, removed: &Removed) -> String {
    let mut lines = vec![format!("{} removed from {}", count(removed.removed.len(), "user"), cohort.name)];
    for (users, why) in [(&removed.launched, "launched before"), (&removed.unknown, "not of this cohort")] {
        lines.extend(users.iter().take(LISTED).map(|user| format!("  left out: {user}, {why}")));
        if users.len() > LISTED {
            lines.push(format!("  and {} more {why} (--json lists all)", users.len() - LISTED));
        }
    }
    lines.join("\n")
}
