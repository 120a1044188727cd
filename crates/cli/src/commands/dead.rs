//! `dead list|retry|drop`: jobs that were given up.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Result;
use handover_engine::{Job, StageName};
use handover_queue::{Dead, Queues};
use handover_tracking::{RetryOf, Tracking};
use serde::Serialize;

use crate::args::DeadCommand;
use crate::confirm::confirm;
use crate::context::Context;
use crate::exit::Exit;
use crate::output;
use crate::users::count;

/// More than the list is capped at.
const ALL: usize = 1_000_000;

pub(crate) async fn run(context: &Context, command: DeadCommand) -> Result<Exit> {
    match command {
        DeadCommand::List { stage, limit } => list(context, stage, limit).await,
        DeadCommand::Retry { stage } => retry(context, stage).await,
        DeadCommand::Drop { stage } => drop_all(context, stage).await,
    }
}

/// A job that was given up, as `--json` shows it.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    stage: &'static str,
    at: String,
    at_ms: u64,
    error: &'a str,
    /// None where the entry cannot be read; `raw` shows it then.
    job: Option<&'a Job>,
    raw: Option<String>,
}

impl<'a> Shown<'a> {
    fn of(stage: StageName, dead: &'a Dead<Job>) -> Self {
        let job = dead.entry.as_ref().map(|entry| &entry.job);
        let raw = job.is_none().then(|| dead.record());
        let at = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(dead.at)).to_string();
        Self { stage: stage.as_str(), at, at_ms: dead.at, error: &dead.error, job, raw }
    }

    fn row(&self) -> Vec<String> {
        let (migration, user) =
            self.job.map_or_else(|| ("unreadable", "-"), |job| (job.migration.as_str(), job.user.as_str()));
        [self.stage, migration, user, &self.at, self.error].map(str::to_owned).to_vec()
    }
}

async fn list(context: &Context, stage: Option<StageName>, limit: usize) -> Result<Exit> {
    let stages = stage.map_or_else(|| StageName::ALL.to_vec(), |stage| vec![stage]);
    let queues = context.queues().await?;
    let (mut found, mut more) = (Vec::new(), 0);
    for stage in stages {
        let dead = queues.dead_list::<Job>(stage.as_str(), 0, limit).await?;
        more += (queues.depth(stage.as_str()).await?.dead as usize).saturating_sub(dead.len());
        found.extend(dead.into_iter().map(|dead| (stage, dead)));
    }
    let shown: Vec<Shown<'_>> = found.iter().map(|(stage, dead)| Shown::of(*stage, dead)).collect();
    context.output.list(&shown, || {
        if shown.is_empty() {
            return "no job was given up".to_owned();
        }
        output::table(&["stage", "migration", "user", "at", "error"], shown.iter().map(Shown::row).collect())
    })?;
    if more > 0 {
        context.output.note(&format!("{more} more; --limit shows them"));
    }
    Ok(Exit::Done)
}

/// What a retry did.
#[derive(Debug, Default, Serialize)]
struct Retried {
    stage: &'static str,
    /// Users whose attempt had been taken back: they begin a new one.
    users_queued_again: usize,
    /// Jobs whose attempt is still open: they run again.
    jobs_queued_again: usize,
    /// Jobs that cannot be read, or whose users have gone on otherwise.
    left: usize,
}

async fn retry(context: &Context, stage: StageName) -> Result<Exit> {
    let (queues, tracking) = (context.queues().await?, context.tracking()?);
    let (mut again, mut settled) = (Vec::new(), Vec::new());
    let mut done = Retried { stage: stage.as_str(), ..Retried::default() };
    let dead = queues.dead_list::<Job>(stage.as_str(), 0, ALL).await?;
    let fates = fates(&tracking, &dead).await?;
    for dead in dead {
        match dead.entry.as_ref().and_then(|entry| fates.get(&key(&entry.job))) {
            Some(Fate::Open) => again.push(dead),
            Some(Fate::Queued) => settled.push(dead),
            None => done.left += 1,
        }
    }
    done.jobs_queued_again = queues.dead_requeue(stage.as_str(), &again).await?;
    queues.dead_drop(stage.as_str(), &settled).await?;
    done.users_queued_again = fates.values().filter(|fate| **fate == Fate::Queued).count();
    context.output.result(&done, || {
        if fates.is_empty() && done.left == 0 {
            return format!("no job of {stage} was given up");
        }
        let (users, jobs) =
            (count(done.users_queued_again, "user"), count(done.jobs_queued_again, "job"));
        let left = match done.left {
            0 => String::new(),
            left => format!(
                "\n{} left: unreadable, or of users who have gone on otherwise; `handover dead drop {stage}` forgets them",
                count(left, "job")
            ),
        };
        format!("{users} queued for a new attempt, {jobs} sent again{left}")
    })?;
    Ok(if done.left == 0 { Exit::Done } else { Exit::Findings })
}

/// What becomes of a dead job; one that is in no list of fates is left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Its attempt is still open: the job runs again.
    Open,
    /// Its user had failed and is queued for a new attempt, which makes the job worthless.
    Queued,
}

fn key(job: &Job) -> (String, String) {
    (job.migration.clone(), job.user.clone())
}

/// Looks the jobs' users up, migration by migration, and queues those who had failed again.
async fn fates(tracking: &Tracking, dead: &[Dead<Job>]) -> Result<HashMap<(String, String), Fate>> {
    let mut by_migration: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for job in dead.iter().filter_map(|dead| dead.entry.as_ref()).map(|entry| &entry.job) {
        by_migration.entry(job.migration.clone()).or_default().push(job.user.clone());
    }
    let mut fates = HashMap::new();
    for (id, migration) in tracking.migrations().await? {
        let Some(users) = by_migration.get(&migration) else { continue };
        let mut failed: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for place in tracking.whereabouts(id, users).await? {
            match place.state.as_str() {
                "failed" => failed.entry(place.cohort).or_default().push(place.user),
                "completed" | "rolled_back" | "skipped" | "not_started" => {}
                _ => drop(fates.insert((migration.clone(), place.user), Fate::Open)),
            }
        }
        for (cohort, users) in failed {
            let cohort = tracking.cohort(&cohort).await?;
            tracking.retry(&cohort, RetryOf::Failed, Some(&users)).await?;
            fates.extend(users.into_iter().map(|user| ((migration.clone(), user), Fate::Queued)));
        }
    }
    Ok(fates)
}

async fn drop_all(context: &Context, stage: StageName) -> Result<Exit> {
    let queues: Queues = context.queues().await?;
    let many = queues.depth(stage.as_str()).await?.dead as usize;
    if many > 0 {
        confirm(context.yes, &format!("forget {} of {stage}", count(many, "given-up job"))).await?;
    }
    let mut dropped = 0;
    while dropped < many {
        // Not more than was confirmed: another may be given up meanwhile.
        let taken = queues.dead_take::<Job>(stage.as_str(), many - dropped).await?.len();
        if taken == 0 {
            break;
        }
        dropped += taken;
    }
    let value = serde_json::json!({ "stage": stage.as_str(), "dropped": dropped });
    context.output.result(&value, || match dropped {
        0 => format!("no job of {stage} was given up"),
        _ => format!("{} of {stage} forgotten", count(dropped, "job")),
    })?;
    Ok(Exit::Done)
}
