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

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_that_is_absent_half_installed_or_unused_is_found() -> Result<()> {
    let world = World::new(Setup::default()).await?;
    let fence = async |used: &str| -> Result<Vec<String>> {
        let mut command = world.command("handover")?;
        command.env("HANDOVER_FENCE__DATABASE", used).args(["--json", "doctor"]);
        let text = String::from_utf8(command.output().await?.stdout)?;
        let findings = text.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?;
        let of_legacy = |f: &&Value| f["check"] == "fence" && f["server"] == "legacy primary";
        let about = |f: &&Value| f["found"].as_str().is_some_and(|found| found.contains("invoice-reminders"));
        let level = |f: &Value| f["level"].as_str().unwrap_or_default().to_owned();
        Ok(findings.iter().filter(of_legacy).filter(about).map(level).collect())
    };
    assert_eq!((fence("false").await?, fence("true").await?), (vec!["ok".into()], vec!["error".into()]));
    world.handover(&["fence", "install", "invoice-reminders"]).await?.exited(0)?;
    assert_eq!((fence("false").await?, fence("true").await?), (vec!["warning".into()], vec!["ok".into()]));
    let trigger =
        "SELECT quote_ident(tgname) FROM pg_trigger WHERE tgrelid = 'shop.invoice_reminder'::regclass
                      AND NOT tgisinternal LIMIT 1";
    let name: String = world.client(Server::Legacy).await?.query_one(trigger, &[]).await?.get(0);
    world.sql(Server::Legacy, &format!("DROP TRIGGER {name} ON shop.invoice_reminder")).await?;
    assert_eq!((fence("false").await?, fence("true").await?), (vec!["warning".into()], vec!["error".into()]));
    Ok(())
}
