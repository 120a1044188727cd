//! The chaos run in its quick form: a fixed seed for each fence.

use std::process::Stdio;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::process::Command;

const NOTHING: [&str; 11] = [
    "lost",
    "doubled",
    "misrouted",
    "stuck",
    "sent_twice",
    "unsent",
    "phantom",
    "stale",
    "altered",
    "unmoved",
    "digest_mismatches",
];

async fn balances(seed: &str, fence: &str) -> Result<()> {
    let kept = tempfile::tempdir()?;
    let mut command = Command::new(handover_tests::program("handover-ledger")?);
    command.args(["chaos", "--seed", seed, "--users", "20", "--minutes", "0.35", "--rate", "40", "--json"]);
    command.arg("--keep-history").arg(kept.path()).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.context("the chaos run did not start")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let line: Value =
        serde_json::from_slice(&output.stdout).with_context(|| format!("no verdict: {said}"))?;
    for nothing in NOTHING {
        assert_eq!(line[nothing], 0, "{nothing}: {line}\n{said}");
    }
    assert_eq!((output.status.code(), &line["fence"]), (Some(0), &Value::from(fence)), "{line}\n{said}");
    let at_least = |name: &str, least: u64| assert!(line[name].as_u64() >= Some(least), "{name}: {line}");
    at_least("faults", 10);
    at_least("kinds", 8);
    at_least("acknowledged", 50);
    // Each of 20 users in both migrations.
    at_least("handovers", 40);
    assert!(line["unsettled_seconds"].as_f64() < Some(120.0), "{line}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn under_random_faults_the_ledger_balances_with_the_cooperative_fence() -> Result<()> {
    balances("1", "cooperative").await
}

#[tokio::test(flavor = "multi_thread")]
async fn under_random_faults_the_ledger_balances_with_the_database_fence() -> Result<()> {
    balances("2", "database").await
}
