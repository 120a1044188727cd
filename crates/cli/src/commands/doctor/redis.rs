//! Redis: nothing may be evicted, writes must be taken, and the mirror must be leave to be believed.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use handover_engine::StageName;
use handover_queue::{Queues, ServerFacts};
use handover_settings::Server;
use secrecy::ExposeSecret as _;

use super::finding::{Findings, Level};
use super::{Patient, examine_clock, is_local};

const SERVER: Server = Server::Redis;

pub(super) async fn examine(patient: &Patient<'_>, findings: &mut Findings) -> Result<()> {
    let queues = match patient.context.queues().await {
        Ok(queues) => queues,
        Err(error) => {
            findings.error("connection", SERVER, format!("{error:#}"), "start it, or mend redis.url");
            return Ok(());
        }
    };
    findings.ok("connection", SERVER, "answers");
    let before = SystemTime::now();
    let facts = queues.server().await?;
    examine_clock(
        patient,
        SERVER,
        (before, Duration::from_millis(facts.now_ms), SystemTime::now()),
        findings,
    );
    kind(&facts, &patient.context.settings.redis.prefix, findings);
    eviction(&facts, findings);
    memory(&facts, findings);
    persistence(&facts, findings);
    idle(&facts, findings);
    encryption(patient, findings);
    workers(&queues, findings).await?;
    mirror(patient, findings).await
}

fn kind(facts: &ServerFacts, prefix: &str, findings: &mut Findings) {
    findings.holds(
        ("kind", SERVER),
        facts.is_master,
        format!("Redis {}, takes writes", facts.version),
        (Level::Error, "is a replica: it takes no writes", "let redis.url lead to the master"),
    );
    let has_tag = prefix.split_once('{').is_some_and(|(_, rest)| rest.find('}').is_some_and(|end| end > 0));
    findings.holds(
        ("cluster", SERVER),
        !facts.is_cluster || has_tag,
        if facts.is_cluster { "is a cluster, all keys are in one slot" } else { "is no cluster" },
        (
            Level::Error,
            "is a Redis Cluster, but the keys lie in different slots",
            "set redis.prefix = \"{handover}\"",
        ),
    );
}

fn eviction(facts: &ServerFacts, findings: &mut Findings) {
    let policy = &facts.maxmemory_policy;
    let level = if facts.maxmemory > 0 { Level::Error } else { Level::Warning };
    findings.holds(
        ("eviction", SERVER),
        policy == "noeviction",
        "nothing is evicted",
        (
            level,
            format!("maxmemory-policy is {policy}: queues and the mirror may vanish key by key"),
            "CONFIG SET maxmemory-policy noeviction; share no Redis with a cache",
        ),
    );
}

fn memory(facts: &ServerFacts, findings: &mut Findings) {
    let mib = |bytes: u64| bytes / (1 << 20);
    let is_low = facts.maxmemory > 0 && facts.used_memory > facts.maxmemory / 5 * 4;
    findings.holds(
        ("memory", SERVER),
        !is_low,
        format!("{} MiB in use", mib(facts.used_memory)),
        (
            Level::Warning,
            format!(
                "{} of {} MiB in use: writes are refused when it is full",
                mib(facts.used_memory),
                mib(facts.maxmemory)
            ),
            "raise maxmemory; a million users' states take some 104 MB (docs/redis.md)",
        ),
    );
}

fn persistence(facts: &ServerFacts, findings: &mut Findings) {
    let has_snapshots = facts.snapshots.as_deref().is_none_or(|save| !save.is_empty());
    findings.holds(
        ("persistence", SERVER),
        facts.has_append_log || has_snapshots,
        if facts.has_append_log { "keeps an append-only file" } else { "writes snapshots" },
        (
            Level::Warning,
            "keeps nothing: after a restart gates ask Identity's database until the mirror is rebuilt",
            "CONFIG SET appendonly yes (nothing is lost without it, it only takes longer)",
        ),
    );
}

fn idle(facts: &ServerFacts, findings: &mut Findings) {
    let Some(seconds) = facts.idle_seconds else {
        let remedy = "allow CONFIG GET, or see to it that `timeout` is 0 and `save` or `appendonly` is set";
        findings.warning("configuration", SERVER, "CONFIG is not allowed: not all can be checked", remedy);
        return;
    };
    findings.holds(
        ("idle connections", SERVER),
        seconds == 0,
        "idle connections are kept",
        (
            Level::Warning,
            format!("connections are closed after {seconds} s without a command"),
            "CONFIG SET timeout 0",
        ),
    );
}

fn encryption(patient: &Patient<'_>, findings: &mut Findings) {
    let encrypted =
        patient.context.settings.url(SERVER).is_ok_and(|url| !url.expose_secret().starts_with("redis://"));
    let local = patient.context.hosts(SERVER).iter().all(|host| is_local(host));
    findings.holds(
        ("encryption", SERVER),
        encrypted || local,
        if local { "is on this machine" } else { "is encrypted" },
        (
            Level::Warning,
            "users' keys and states cross the network in clear text",
            "begin redis.url with rediss://",
        ),
    );
}

async fn workers(queues: &Queues, findings: &mut Findings) -> Result<()> {
    let workers = queues.workers().await?;
    let lives = |stage: &str| {
        workers.iter().any(|worker| worker.facts.get("stage").is_some_and(|found| found == stage))
    };
    let stages = StageName::ALL.into_iter().map(StageName::as_str).chain(["reconcile"]);
    let absent: Vec<&str> = stages.filter(|stage| !lives(stage)).collect();
    findings.holds(
        ("workers", SERVER),
        absent.is_empty(),
        format!("{} live, at least one of each stage", crate::users::count(workers.len(), "worker")),
        (
            Level::Warning,
            format!("no process of {} lives", absent.join(", ")),
            "start them (docs/operations.md)",
        ),
    );
    Ok(())
}

async fn mirror(patient: &Patient<'_>, findings: &mut Findings) -> Result<()> {
    let until = patient.context.identity()?.mirror().ready_until().await?;
    findings.holds(
        ("mirror", SERVER),
        until.is_some_and(|until| until > SystemTime::now()),
        "may be believed",
        (
            Level::Warning,
            "no reconciler vouches for the mirror: gates ask Identity's database for each user that they have not cached",
            "start a reconciler, or see why the leading one does not vouch: `handover identity verify-mirror`",
        ),
    );
    Ok(())
}
