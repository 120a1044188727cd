//! `handover doctor` on real servers: each thing made unsafe is found, and named with what mends it.

use anyhow::{Context, Result};
use handover_sandbox::Server;
use handover_tests::{Fleet, Setup, World};
use serde_json::Value;

/// What the doctor finds wrong: check, server and level.
async fn complaints(world: &World, code: i32) -> Result<Vec<(String, String, String)>> {
    let ran = world.handover(&["--json", "doctor"]).await?.exited(code)?;
    let mut found = Vec::new();
    for line in ran.out.lines() {
        let finding: Value = serde_json::from_str(line)?;
        let word = |name: &str| finding[name].as_str().map(str::to_owned).context("a word");
        if finding["level"] != "ok" {
            assert!(finding["remedy"].is_string(), "no remedy: {finding}");
            found.push((word("check")?, word("server")?, word("level")?));
        }
    }
    Ok(found)
}

fn has(found: &[(String, String, String)], check: &str, server: &str, level: &str) -> bool {
    found.iter().any(|(c, s, l)| (c.as_str(), s.as_str(), l.as_str()) == (check, server, level))
}

async fn redis(world: &World, words: &[&str]) -> Result<()> {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    Ok(command.exec_async(&mut world.redis().await?).await?)
}

fn own() -> Setup {
    Setup { own_servers: true, ..Setup::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_fleet_is_warned_of_and_nothing_but_the_sandbox_s_haste_is_an_error() -> Result<()> {
    let world = World::new(own()).await?;
    let idle = complaints(&world, 3).await?;
    // The sandbox flushes nothing to disk, and that is just what the doctor is to find.
    let is_error = |(check, _, level): &&(String, String, String)| level == "error" && check != "durability";
    assert_eq!(idle.iter().find(is_error), None);
    for server in ["legacy primary", "destination", "identity"] {
        assert!(has(&idle, "durability", server, "error"), "{server}: {idle:?}");
    }
    assert!(
        has(&idle, "workers", "redis", "warning") && has(&idle, "mirror", "redis", "warning"),
        "{idle:?}"
    );
    assert!(has(&idle, "role", "destination", "warning"), "the sandbox's role is a superuser: {idle:?}");
    let fleet = Fleet::of_all(&world)?;
    fleet
        .until("workers and mirror are well", || async {
            let found = complaints(&world, 3).await?;
            Ok(!has(&found, "workers", "redis", "warning") && !has(&found, "mirror", "redis", "warning"))
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_evicts_or_hangs_up_is_found() -> Result<()> {
    let world = World::new(own()).await?;
    redis(&world, &["CONFIG", "SET", "maxmemory", "200mb"]).await?;
    redis(&world, &["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await?;
    redis(&world, &["CONFIG", "SET", "timeout", "60"]).await?;
    redis(&world, &["CONFIG", "SET", "save", ""]).await?;
    let found = complaints(&world, 3).await?;
    assert!(has(&found, "eviction", "redis", "error"), "{found:?}");
    assert!(has(&found, "idle connections", "redis", "warning"), "{found:?}");
    assert!(has(&found, "persistence", "redis", "warning"), "{found:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_stands_still_or_is_none_is_found() -> Result<()> {
    let world = World::new(own()).await?;
    world.sql(Server::Replica, "SELECT pg_wal_replay_pause()").await?;
    world.sql(Server::Legacy, "CREATE TABLE shop.later (id int)").await?;
    let found = complaints(&world, 3).await?;
    assert!(has(&found, "replay", "legacy replica", "error"), "{found:?}");
    assert!(has(&found, "lag", "legacy replica", "error"), "{found:?}");
    world.sql(Server::Replica, "SELECT pg_promote()").await?;
    let found = complaints(&world, 3).await?;
    assert!(has(&found, "kind", "legacy replica", "error"), "{found:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_hides_nothing_of_the_others() -> Result<()> {
    let world = World::new(Setup::default()).await?;
    let mut command = world.command("handover")?;
    command.env("HANDOVER_IDENTITY__URL", "postgres://nobody@127.0.0.1:1/none").args(["--json", "doctor"]);
    let output = command.output().await?;
    let text = String::from_utf8(output.stdout)?;
    assert_eq!(output.status.code(), Some(3), "{text}");
    let finding = |server: &str, check: &str| -> Result<Value> {
        let mut all = text.lines().map(serde_json::from_str::<Value>);
        all.find_map(|value| value.ok().filter(|v| v["server"] == server && v["check"] == check))
            .context("a finding")
    };
    assert_eq!(finding("identity", "connection")?["level"], "error");
    assert_eq!(finding("destination", "schema")?["level"], "ok");
    Ok(())
}
