//! `dead list|retry|drop`: jobs that were given up.

use anyhow::Result;
use handover_engine::{Job, StageName};
use handover_queue::{Dead, Queues};
use handover_tracking::{RetryOf, Tracking};
use serde_json::{Value, json};

use crate::args::DeadCommand;
use crate::confirm::confirm;
use crate::context::Context;
use crate::exit::{Exit, stop};
use crate::output;
use crate::users::count;

/// More than the list is capped at.
const ALL: usize = 1_000_000;

pub(crate) async fn run(context: &Context, command: DeadCommand) -> Result<Exit> {
    match command {
        DeadCommand::List { stage, limit } => list(context, stage.as_deref(), limit).await,
        DeadCommand::Retry { stage } => retry(context, parse(&stage)?).await,
        DeadCommand::Drop { stage } => drop_all(context, parse(&stage)?).await,
    }
}

fn parse(stage: &str) -> Result<StageName> {
    stage.parse().map_err(|error: String| stop(Exit::Usage, error))
}

async fn list(context: &Context, stage: Option<&str>, limit: usize) -> Result<Exit> {
    let stages = match stage {
        Some(stage) => vec![parse(stage)?],
        None => StageName::ALL.to_vec(),
    };
    let queues = context.queues().await?;
    let mut found = Vec::new();
    for stage in stages {
        for dead in queues.dead_list::<Job>(stage.as_str(), 0, limit).await? {
            found.push((stage, dead));
        }
    }
    let values: Vec<Value> = found.iter().map(|(stage, dead)| as_json(*stage, dead)).collect();
    context.output.result(&values, || {
        let row = |(stage, dead): &(StageName, Dead<Job>)| {
            let (migration, user) = dead.entry.as_ref().map_or_else(
                || ("unreadable".to_owned(), "-".to_owned()),
                |entry| (entry.job.migration.clone(), entry.job.user.clone()),
            );
            vec![stage.to_string(), migration, user, dead.error.clone()]
        };
        output::table(&["stage", "migration", "user", "error"], found.iter().map(row).collect())
    })?;
    Ok(Exit::Done)
}

fn as_json(stage: StageName, dead: &Dead<Job>) -> Value {
    let job = dead.entry.as_ref().map(|entry| json!(entry.job));
    json!({ "stage": stage.as_str(), "error": dead.error, "at_ms": dead.at, "job": job, "raw": dead.record() })
}

/// Users whose attempt was taken back begin a new one; a job whose attempt is still open runs again.
async fn retry(context: &Context, stage: StageName) -> Result<Exit> {
    let (queues, tracking) = (context.queues().await?, context.tracking()?);
    let (mut again, mut settled, mut left) = (Vec::new(), Vec::new(), 0);
    for dead in queues.dead_list::<Job>(stage.as_str(), 0, ALL).await? {
        let Some(entry) = dead.entry.as_ref() else {
            left += 1;
            continue;
        };
        match fate(&tracking, &entry.job).await? {
            Fate::Open => again.push(dead),
            Fate::Queued => settled.push(dead),
            Fate::Over => left += 1,
        }
    }
    let reopened = queues.dead_requeue(stage.as_str(), &again).await?;
    let queued = queues.dead_drop(stage.as_str(), &settled).await?;
    let value = json!({ "stage": stage.as_str(), "users_queued_again": queued, "jobs_queued_again": reopened, "left": left });
    context.output.result(&value, || {
        let left = if left == 0 {
            String::new()
        } else {
            format!("; {left} cannot be retried, `dead drop` forgets them")
        };
        format!("{} queued again{left}", count(queued + reopened, "user"))
    })?;
    Ok(if left == 0 { Exit::Done } else { Exit::Findings })
}

enum Fate {
    /// Its attempt is still open: the job runs again.
    Open,
    /// Its user had failed and is queued for a new attempt.
    Queued,
    /// Its attempt ended otherwise.
    Over,
}

async fn fate(tracking: &Tracking, job: &Job) -> Result<Fate> {
    let records = tracking.user(&job.user).await?;
    let Some(record) = records.into_iter().find(|record| record.migration == job.migration) else {
        return Ok(Fate::Over);
    };
    if record.state == "failed" {
        let cohort = tracking.cohort(&record.cohort).await?;
        let queued = tracking.retry(&cohort, RetryOf::Failed, Some(std::slice::from_ref(&job.user))).await?;
        return Ok(if queued == 1 { Fate::Queued } else { Fate::Over });
    }
    let ended = ["completed", "rolled_back", "skipped", "not_started"].contains(&record.state.as_str());
    Ok(if ended { Fate::Over } else { Fate::Open })
}

async fn drop_all(context: &Context, stage: StageName) -> Result<Exit> {
    let queues: Queues = context.queues().await?;
    let many = queues.depth(stage.as_str()).await?.dead as usize;
    confirm(context.yes, &format!("forget {} of {stage}?", count(many, "given-up job")))?;
    let mut dropped = 0;
    while dropped < many {
        let taken = queues.dead_take::<Job>(stage.as_str(), 1_000).await?.len();
        if taken == 0 {
            break;
        }
        dropped += taken;
    }
    let value = json!({ "stage": stage.as_str(), "dropped": dropped });
    context.output.result(&value, || format!("{} forgotten", count(dropped, "job")))?;
    Ok(Exit::Done)
}
