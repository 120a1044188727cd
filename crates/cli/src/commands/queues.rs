//! `queues`: depth and age of each stage's lists, and the live workers.

use std::collections::BTreeMap;

use anyhow::Result;
use handover_engine::StageName;
use handover_queue::Worker;
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::output;
use crate::users::count;

/// A stage's lists.
#[derive(Debug, Serialize)]
struct Stage {
    #[serde(rename = "stage")]
    name: &'static str,
    waiting: u64,
    inflight: u64,
    delayed: u64,
    dead: u64,
    oldest_age_ms: Option<u64>,
}

/// A live worker.
#[derive(Debug, Serialize)]
struct Live {
    id: String,
    /// Milliseconds since it was last heard of.
    heard_ms_ago: u64,
    /// What it says of itself.
    facts: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
struct Report {
    stages: Vec<Stage>,
    workers: Vec<Live>,
}

pub(crate) async fn run(context: &Context) -> Result<Exit> {
    let queues = context.queues().await?;
    let mut stages = Vec::new();
    for stage in StageName::ALL {
        let depth = queues.depth(stage.as_str()).await?;
        stages.push(Stage {
            name: stage.as_str(),
            waiting: depth.waiting,
            inflight: depth.inflight,
            delayed: depth.delayed,
            dead: depth.dead,
            oldest_age_ms: depth.oldest_age_ms,
        });
    }
    let workers = queues.workers().await?;
    let now = queues.now_ms().await?;
    let live = |worker: Worker| Live {
        heard_ms_ago: now.saturating_sub(worker.heartbeat_at),
        id: worker.id,
        facts: worker.facts,
    };
    let report = Report { stages, workers: workers.into_iter().map(live).collect() };
    context.output.result(&report, || text(&report))?;
    Ok(Exit::Done)
}

fn text(report: &Report) -> String {
    let row = |stage: &Stage| {
        let oldest = stage.oldest_age_ms.map_or_else(|| "-".to_owned(), ago);
        let numbers = [stage.waiting, stage.inflight, stage.delayed, stage.dead].map(|n| n.to_string());
        [vec![stage.name.to_owned()], numbers.to_vec(), vec![oldest]].concat()
    };
    let head = ["stage", "waiting", "in flight", "delayed", "dead", "oldest"];
    let stages = output::table(&head, report.stages.iter().map(row).collect());
    if report.workers.is_empty() {
        return format!("{stages}\n\nno worker is running: nothing moves until one of each stage is started");
    }
    let row = |worker: &Live| {
        let fact = |name: &str| worker.facts.get(name).cloned().unwrap_or_else(|| "-".to_owned());
        let [phase, held, http] = ["phase", "held", "http"].map(fact);
        vec![worker.id.clone(), phase, held, http, ago(worker.heard_ms_ago)]
    };
    let head = ["worker", "phase", "holds", "http", "heard"];
    let workers = output::table(&head, report.workers.iter().map(row).collect());
    format!("{stages}\n\n{}\n{workers}", count(report.workers.len(), "worker"))
}

fn ago(ms: u64) -> String {
    format!("{:.1} s", ms as f64 / 1e3)
}
