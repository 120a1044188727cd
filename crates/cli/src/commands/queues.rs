//! `queues`: depth and age of each stage's lists, and the live workers.

use anyhow::Result;
use handover_engine::StageName;
use serde_json::json;

use crate::context::Context;
use crate::exit::Exit;
use crate::output;

pub(crate) async fn run(context: &Context) -> Result<Exit> {
    let queues = context.queues().await?;
    let (mut rows, mut stages) = (Vec::new(), Vec::new());
    for stage in StageName::ALL {
        let depth = queues.depth(stage.as_str()).await?;
        let oldest =
            depth.oldest_age_ms.map_or_else(|| "-".to_owned(), |ms| format!("{:.1} s", ms as f64 / 1e3));
        let numbers = [depth.waiting, depth.inflight, depth.delayed, depth.dead].map(|n| n.to_string());
        rows.push([vec![stage.to_string()], numbers.to_vec(), vec![oldest]].concat());
        stages.push(json!({
            "stage": stage.as_str(), "waiting": depth.waiting, "inflight": depth.inflight,
            "delayed": depth.delayed, "dead": depth.dead, "oldest_age_ms": depth.oldest_age_ms,
        }));
    }
    let workers = queues.workers().await?;
    let listed: Vec<_> =
        workers.iter().map(|worker| json!({ "id": worker.id, "facts": worker.facts, "heartbeat_at_ms": worker.heartbeat_at })).collect();
    context.output.result(&json!({ "stages": stages, "workers": listed }), || {
        let mut text = output::table(&["stage", "waiting", "in flight", "delayed", "dead", "oldest"], rows);
        text.push_str(&format!("\n\n{} workers", workers.len()));
        for worker in &workers {
            let facts: Vec<String> =
                worker.facts.iter().map(|(name, value)| format!("{name}={value}")).collect();
            text.push_str(&format!("\n  {} {}", worker.id, facts.join(" ")));
        }
        text
    })?;
    Ok(Exit::Done)
}
