//! Jobs that do nothing through a stage's queue: pushed, claimed under a lease, acknowledged. Against the same steps by raw
//! Redis pipelines, and against Python's queues in their at-least-once mode.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use handover_queue::{Entry, Queues, RedisTarget, WorkerId};
use handover_sandbox::{Options, Sandbox};
use redis::aio::MultiplexedConnection;
use serde::{Deserialize, Serialize};

use crate::Arguments;
use crate::peers::Peers;
use crate::report::{Line, Report, Series, percentile, say};

const JOBS: [u64; 2] = [50_000, 500_000];
const PEER_JOBS: [u64; 2] = [500, 5_000];
const PICKUPS: [usize; 2] = [500, 3_000];

/// Those who work the queue off at once, each over a connection of its own.
const CONNECTIONS: u64 = 4;
const BATCH: usize = 256;
const LEASE: Duration = Duration::from_secs(30);

#[derive(Clone, Serialize, Deserialize)]
struct Job {
    user: String,
    version: i64,
}

pub(crate) async fn run(arguments: &Arguments, report: &Report) -> Result<()> {
    let size = usize::from(!arguments.quick);
    let sandbox = Sandbox::start(Options { durable: true, replica: false, ..Options::default() }).await?;
    let (mut enqueued, mut worked, mut raw) = (Series::default(), Series::default(), Series::default());
    let (mut rq, mut celery_rate) = (Series::default(), Series::default());
    let peers = peers(arguments, report, &sandbox).await?;
    let celery = match &peers {
        Some(peers) => Some(peers.celery().await?),
        None => None,
    };
    say(&format!("queue: {} rounds of {} jobs", arguments.rounds, JOBS[size]));
    for _ in 0..arguments.rounds {
        let (pushed, done) = ours(&sandbox, JOBS[size]).await?;
        enqueued.push(pushed);
        worked.push(done);
        raw.push(pipelines(&sandbox, JOBS[size]).await?);
        if let (Some(peers), Some(celery)) = (&peers, &celery) {
            rq.push(peers.rq(PEER_JOBS[size]).await?.1);
            celery_rate.push(celery.nothing(PEER_JOBS[size]).await?);
        }
    }
    let mut pickups = pickups(&sandbox, PICKUPS[size]).await?;
    let line = Line::new("queue")
        .with("jobs", JOBS[size])
        .with("rounds", arguments.rounds)
        .series("enqueued_per_s", &enqueued)
        .series("jobs_per_s", &worked)
        .series("redis_limit", &raw)
        .series("limit_ratio", &worked.over(&raw))
        .with("pickup_p50_us", percentile(&mut pickups, 0.5).round())
        .with("pickup_p99_us", percentile(&mut pickups, 0.99).round());
    report.print(&line)?;
    for (peer, rate) in [("celery, prefork 2", &celery_rate), ("rq, simple worker", &rq)] {
        if peers.is_some() {
            let line = Line::new("queue").with("peer", peer).with("jobs", PEER_JOBS[size]);
            report.print(&line.series("peer_jobs_per_s", rate).series("ratio", &worked.over(rate)))?;
        }
    }
    drop(celery);
    sandbox.stop().await;
    Ok(())
}

async fn peers(arguments: &Arguments, report: &Report, sandbox: &Sandbox) -> Result<Option<Peers>> {
    if arguments.no_peers {
        return Ok(None);
    }
    match Peers::install(sandbox).await {
        Ok(peers) => Ok(Some(peers)),
        Err(error) => {
            let why = format!("{error:#}");
            report.print(&Line::new("queue").with("peer", "celery, rq").with("skipped", why))?;
            Ok(None)
        }
    }
}

fn target(sandbox: &Sandbox) -> RedisTarget {
    RedisTarget::new(sandbox.redis_url().into()).with_prefix("bench")
}

fn jobs(count: u64, at: u64) -> Vec<Entry<Job>> {
    (0..count).map(|user| Entry::new(Job { user: user.to_string(), version: 1 }, at)).collect()
}

/// Jobs a second, queued and then worked off.
async fn ours(sandbox: &Sandbox, count: u64) -> Result<(f64, f64)> {
    let queues = Queues::connect(&target(sandbox)).await?;
    let entries = jobs(count, queues.now_ms().await?);
    let began = Instant::now();
    queues.push("work", &entries).await?;
    let pushed = count as f64 / began.elapsed().as_secs_f64();
    let mut workers = Vec::new();
    for _ in 0..CONNECTIONS {
        workers.push(Queues::connect(&target(sandbox)).await?);
    }
    let began = Instant::now();
    let tasks: Vec<_> = workers.into_iter().map(|queues| tokio::spawn(work_off(queues))).collect();
    let mut done = 0;
    for task in tasks {
        done += task.await??;
    }
    ensure!(done == count, "{done} jobs of {count} were worked off");
    Ok((pushed, count as f64 / began.elapsed().as_secs_f64()))
}

async fn work_off(queues: Queues) -> Result<u64> {
    let worker = WorkerId::new("work");
    let mut done = 0;
    loop {
        let claimed = queues.claim::<Job>("work", &worker, BATCH, LEASE).await?;
        if claimed.jobs.is_empty() {
            return Ok(done);
        }
        done += claimed.jobs.len() as u64;
        queues.ack("work", claimed.jobs, None).await.map_err(|rejected| rejected.error)?;
    }
}

/// The same steps by bare commands, as pipelines: LMOVE to a list of one's own, then LREM; no lease, no recovery.
async fn pipelines(sandbox: &Sandbox, count: u64) -> Result<f64> {
    let client = redis::Client::open(sandbox.redis_url())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    for chunk in jobs(count, 1).chunks(1_000) {
        let texts = chunk.iter().map(serde_json::to_string).collect::<Result<Vec<String>, _>>()?;
        let _: u64 = redis::cmd("LPUSH").arg("raw").arg(texts).query_async(&mut connection).await?;
    }
    let began = Instant::now();
    let mut tasks = Vec::new();
    for nth in 0..CONNECTIONS {
        tasks.push(tokio::spawn(raw(client.get_multiplexed_async_connection().await?, nth)));
    }
    let mut done = 0;
    for task in tasks {
        done += task.await??;
    }
    ensure!(done == count, "{done} raw jobs of {count} were worked off");
    Ok(count as f64 / began.elapsed().as_secs_f64())
}

async fn raw(mut connection: MultiplexedConnection, nth: u64) -> Result<u64> {
    let own = format!("raw:{nth}");
    let mut done = 0;
    loop {
        let mut take = redis::pipe();
        for _ in 0..BATCH {
            take.cmd("LMOVE").arg("raw").arg(&own).arg("RIGHT").arg("RIGHT");
        }
        let taken: Vec<Option<String>> = take.query_async(&mut connection).await?;
        let mut settle = redis::pipe();
        let held: Vec<String> = taken.into_iter().flatten().collect();
        if held.is_empty() {
            return Ok(done);
        }
        for job in &held {
            let read: Entry<Job> = Entry::new(serde_json::from_str(job)?, 0);
            std::hint::black_box(&read);
            settle.cmd("LREM").arg(&own).arg(1).arg(job).ignore();
        }
        let () = settle.query_async(&mut connection).await?;
        done += held.len() as u64;
    }
}

/// From the push of a job until an idle worker holds it, in microseconds.
async fn pickups(sandbox: &Sandbox, count: usize) -> Result<Vec<f64>> {
    let queues = Queues::connect(&target(sandbox)).await?;
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let worker = tokio::spawn(pick_up(Queues::connect(&target(sandbox)).await?, count, sender));
    let mut each = Vec::with_capacity(count);
    let mut ticks = tokio::time::interval(Duration::from_millis(3));
    for _ in 0..count {
        // The worker is idle again, and its doorbell waits.
        ticks.tick().await;
        let entry = jobs(1, 1);
        let began = Instant::now();
        queues.push("pickup", &entry).await?;
        let held: Option<Instant> = receiver.recv().await;
        ensure!(held.is_some(), "the worker ended");
        each.extend(held.map(|at| at.duration_since(began).as_nanos() as f64 / 1000.0));
    }
    worker.await??;
    Ok(each)
}

async fn pick_up(queues: Queues, count: usize, told: tokio::sync::mpsc::Sender<Instant>) -> Result<()> {
    let (worker, mut doorbell, mut done) = (WorkerId::new("pickup"), queues.doorbell(), 0);
    while done < count {
        doorbell.wait("pickup", Duration::from_secs(5)).await?;
        let claimed = queues.claim::<Job>("pickup", &worker, BATCH, LEASE).await?;
        let at = Instant::now();
        if claimed.jobs.is_empty() {
            continue;
        }
        done += claimed.jobs.len();
        queues.ack("pickup", claimed.jobs, None).await.map_err(|rejected| rejected.error)?;
        told.send(at).await?;
    }
    Ok(())
}
