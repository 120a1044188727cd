//! What `redis-cli` sees is what docs/redis.md says: names, types and the spelling of what stands in them.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use handover_tests::{Fleet, Setup, World};
use serde_json::Value;
use tokio::process::Command;

const REMINDERS: &str = "invoice-reminders";

/// Runs `redis-cli --raw` with these arguments, and returns its lines.
async fn cli(world: &World, arguments: &[&str]) -> Result<Vec<String>> {
    let mut command = Command::new("redis-cli");
    command.arg("-u").arg(world.redis_url()).arg("--raw").args(arguments).stdin(Stdio::null());
    let output = command.output().await.context("redis-cli, which comes with redis-server, did not start")?;
    let out = String::from_utf8(output.stdout)?;
    ensure!(output.status.success() && !out.starts_with("ERR"), "{arguments:?}: {out}");
    Ok(out.lines().map(str::to_owned).collect())
}

/// The values of pairs of lines, by name.
fn value<'l>(lines: &'l [String], name: &str) -> Result<&'l str> {
    let pair = lines.chunks(2).find(|pair| pair[0] == name);
    Ok(pair.and_then(|pair| pair.get(1)).with_context(|| format!("no {name} in {lines:?}"))?)
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_cli_sees_what_the_contract_says() -> Result<()> {
    let world = World::new(Setup { rows_per_user: Some(2), ..Setup::default() }).await?;
    let cohort = world.launched(REMINDERS, "c", &["1", "2", "3"]).await?;
    let mut fleet = Fleet::new(&world)?;
    fleet.start("handover-reconcile")?;
    fleet.until("the window is filled", || async { Ok(world.waiting("pause").await?.len() == 3) }).await?;

    let queue = world.key("queue:pause");
    assert_eq!(cli(&world, &["TYPE", &queue]).await?, ["list"]);
    let next: Value = serde_json::from_str(&cli(&world, &["LINDEX", &queue, "-1"]).await?[0])?;
    let fields: Vec<&str> = next.as_object().context("an object")?.keys().map(String::as_str).collect();
    for field in ["migration", "user", "version", "tries", "recoveries", "at"] {
        assert!(fields.contains(&field), "{field} in {next}");
    }
    assert_eq!(
        (&next["migration"], &next["user"], &next["version"]),
        (&REMINDERS.into(), &"1".into(), &1.into())
    );

    world.push_raw("copy", b"not a job").await?;
    for program in ["handover-pause", "handover-copy", "handover-verify", "handover-complete"] {
        fleet.start(program)?;
    }
    let tracking = &world.engine.tracking;
    let done = || async { Ok(tracking.status(&cohort).await?.users.completed == 3) };
    fleet.until("everybody has completed", done).await?;

    let dead = world.key("dead:copy");
    assert_eq!(cli(&world, &["TYPE", &dead]).await?, ["list"]);
    let record: Value = serde_json::from_str(&cli(&world, &["LRANGE", &dead, "0", "0"]).await?[0])?;
    assert_eq!((&record["stage"], &record["entry"]), (&"copy".into(), &"not a job".into()));
    assert!(record["error"].is_string() && record["at"].is_number(), "{record}");

    let identity = world.key("identity");
    assert_eq!(cli(&world, &["TYPE", &identity]).await?, ["hash"]);
    assert_eq!(cli(&world, &["HGET", &identity, "1"]).await?, [format!("r2 {REMINDERS}=migrated")]);
    let vouched = || async { Ok(!cli(&world, &["HGET", &identity, "!ready"]).await?.concat().is_empty()) };
    fleet.until("the mirror is vouched for", vouched).await?;
    let ready = cli(&world, &["HGET", &identity, "!ready"]).await?.concat();
    let words: Vec<&str> = ready.split(' ').collect();
    assert!(matches!(words[..], ["until", ms, "run", _] if ms.parse::<u64>().is_ok()), "{ready}");

    let changes = world.key("changes");
    assert_eq!(cli(&world, &["TYPE", &changes]).await?, ["stream"]);
    let newest = cli(&world, &["XREVRANGE", &changes, "+", "-", "COUNT", "1"]).await?;
    assert!(value(&newest[1..], "n")?.parse::<u64>()? > 0 && !value(&newest[1..], "gen")?.is_empty());

    let workers = cli(&world, &["ZRANGE", &world.key("workers"), "0", "-1"]).await?;
    let copy = workers.iter().find(|id| id.starts_with("copy-")).with_context(|| format!("{workers:?}"))?;
    let facts = cli(&world, &["HGETALL", &world.key(&format!("worker:{copy}"))]).await?;
    for fact in ["stage", "phase", "held", "concurrency", "batch", "http", "pid", "started", "version"] {
        value(&facts, fact)?;
    }
    assert_eq!(value(&facts, "stage")?, "copy");
    for stage in ["pause", "copy", "verify", "complete"] {
        let empty = || async {
            Ok(cli(&world, &["ZCARD", &world.key(&format!("inflight:{stage}"))]).await? == ["0"])
        };
        fleet.until("nothing is held", empty).await?;
    }
    Ok(())
}
