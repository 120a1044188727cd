//! What happens while a user is being moved, and to those who are late.

use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use handover_gate::Side;
use handover_invoicing::{Failure, Leave, NewReminder, REMINDERS, Transaction, legacy};
use handover_postgres::Database;
use handover_sandbox::Server;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use crate::support::{Town, number};

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_users_request_is_held_and_then_served_at_home() -> Result<()> {
    let town = Town::new().await?;
    let app = town.web().await?;
    town.reminders(&app, "5").await?;
    let jobs = town.pause(REMINDERS, "5").await?;
    town.is_paused_at(&app, "5").await?;
    let asked = json!({ "subject": "sent during the pause", "body": "" }).to_string();
    let held = town.api(&app, "POST", "/api/users/5/reminders", &asked);
    let (answer, finished) = tokio::join!(held, town.finish(jobs));
    finished?;
    assert_eq!(answer?.with(201).json()["served_by"], "new");
    let sql = "SELECT count(*) FROM shop.invoice_reminder WHERE subject = 'sent during the pause'";
    assert_eq!(number(&town, Server::Legacy, sql).await?, 0);
    let sql =
        "SELECT count(*) FROM reminders.reminder WHERE subject = 'sent during the pause' AND owner_id = 5";
    assert_eq!(number(&town, Server::Destination, sql).await?, 1);
    Ok(app.stop().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn past_hold_for_a_browser_sees_the_splash_page_and_an_api_client_a_problem() -> Result<()> {
    let town = Town::new().await?;
    let app = town.app(|config| config.hold_for = Duration::from_millis(200)).await?;
    let jobs = town.pause(REMINDERS, "5").await?;
    let page = town.page(&app, "/users/5").await?.with(503);
    assert!(page.text.contains("Your account is being moved") && page.text.contains("const reload = true"));
    let form = [("accept", "text/html")];
    let sent = town.send(&app, "POST", "/users/5/reminders", &form, "subject=s&body=b").await?.with(503);
    assert!(sent.text.contains("was not saved") && sent.text.contains("const reload = false"));
    let problem = town.api(&app, "GET", "/api/users/5/reminders", "").await?.with(503);
    assert_eq!(problem.json()["type"], "urn:handover:problem:user-paused");
    assert!(!problem.header("retry-after").is_empty());
    // The splash page asks with the cookie that it was given, and is told when the pause is over.
    let cookie = page.header("set-cookie").split(';').next().context("a cookie")?.to_owned();
    let status = async || {
        let headers = [("cookie", cookie.as_str())];
        anyhow::Ok(town.send(&app, "GET", "/.well-known/handover", &headers, "").await?.with(200).json())
    };
    assert_eq!(status().await?["paused"], true);
    // Others go on.
    town.reminders(&app, "6").await?;
    town.page(&app, "/").await?.with(200);
    town.finish(jobs).await?;
    handover_tests::until("the gate hears of the end", || async { Ok(status().await?["paused"] == false) })
        .await?;
    assert_eq!(town.reminders(&app, "5").await?["served_by"], "new");
    Ok(app.stop().await?)
}

/// Holds a reminder's row, as a long transaction of somebody else would.
async fn locked(town: &Town, reminder: &serde_json::Value) -> Result<handover_postgres::Connection> {
    let session = town.world.client(Server::Legacy).await?;
    let sql = format!("BEGIN; SELECT FROM shop.invoice_reminder WHERE id = {reminder} FOR UPDATE");
    session.batch_execute(&sql).await?;
    Ok(session)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_not_done_by_its_deadline_is_never_done() -> Result<()> {
    let town = Town::new().await?;
    let app = town.app(|config| config.max_request = Duration::from_millis(400)).await?;
    let reminder = town.reminders(&app, "5").await?["reminders"][0]["id"].clone();
    let other = locked(&town, &reminder).await?;
    let path = format!("/api/users/5/reminders/{reminder}/notes");
    let note = json!({ "note": "too late" }).to_string();
    let answer = town.api(&app, "POST", &path, &note).await?.with(503);
    assert!(answer.header("content-type").contains("problem+json"), "{answer:?}");
    other.batch_execute("COMMIT").await?;
    // Whatever the server still did for the application has ended: nobody holds or waits for the row.
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                  AND query LIKE '%invoice_reminder r%SET body%' AND state <> 'idle'";
    handover_tests::until("the statement has ended", || async {
        Ok(number(&town, Server::Legacy, waits).await? <= 1)
    })
    .await?;
    let sql = "SELECT count(*) FROM shop.invoice_reminder WHERE body LIKE '%too late%'";
    assert_eq!(number(&town, Server::Legacy, sql).await?, 0);
    Ok(app.stop().await?)
}

/// A leave whose time is over right after the transaction has begun.
struct Short(Mutex<Vec<Duration>>);

impl Leave for Short {
    fn side(&self, _: &str) -> Side {
        Side::Legacy
    }

    fn remaining(&self) -> Duration {
        self.0.lock().expect("no test panics with it").pop().unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_itself_refuses_a_commit_that_comes_after_the_permits_end() -> Result<()> {
    let town = Town::new().await?;
    let pool = Database::new("legacy", &town.world.url(Server::Legacy)?.into())?.pool(1);
    let asked = NewReminder { subject: "by the clock".to_owned(), ..NewReminder::default() };
    let sql = "SELECT min(id) FROM shop.invoice WHERE owner_id = 5";
    let invoice = number(&town, Server::Legacy, sql).await?;
    for (left, comes) in [(Duration::ZERO, false), (Duration::from_mins(1), true)] {
        // The time-outs of its statements are far away: the commit alone is late.
        let leave = Short(Mutex::new(vec![left, Duration::from_mins(1)]));
        let mut transaction = Transaction::begin(&pool, &leave).await.expect("it begins");
        legacy::add_reminder(&mut transaction, 5, invoice, &asked).await.expect("it is written");
        let committed = transaction.commit().await;
        assert_eq!(committed.is_ok(), comes);
        ensure!(comes || matches!(committed, Err(Failure::TooLate)), "{committed:?}");
        let sql = "SELECT count(*) FROM shop.invoice_reminder WHERE subject = 'by the clock'";
        assert_eq!(number(&town, Server::Legacy, sql).await?, i64::from(comes));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_waits_for_a_write_whose_client_has_hung_up() -> Result<()> {
    let town = Town::new().await?;
    let app = town.app(|config| config.max_request = Duration::from_secs(30)).await?;
    let reminder = town.reminders(&app, "5").await?["reminders"][0]["id"].clone();
    let other = locked(&town, &reminder).await?;
    let note = json!({ "note": "of one who left" }).to_string();
    let mut stream = tokio::net::TcpStream::connect(app.address()).await?;
    let request = format!(
        "POST /api/users/5/reminders/{reminder}/notes HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{note}",
        note.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    handover_tests::until("the write waits", || async {
        Ok(number(&town, Server::Legacy, waits).await? == 1)
    })
    .await?;
    drop(stream);
    let pausing = town.pause(REMINDERS, "5");
    tokio::pin!(pausing);
    let early = tokio::time::timeout(Duration::from_millis(700), &mut pausing).await;
    assert!(early.is_err(), "the pause must wait for the write: {early:?}");
    other.batch_execute("COMMIT").await?;
    town.finish(pausing.await?).await?;
    let sql = "SELECT count(*) FROM reminders.reminder WHERE owner_id = 5 AND body LIKE '%of one who left'";
    assert_eq!(number(&town, Server::Destination, sql).await?, 1, "the write was carried along");
    Ok(app.stop().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_says_where_it_listens_and_signs_its_gate_off_when_it_is_ended() -> Result<()> {
    let town = Town::new().await?;
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_handover-invoicing"))
        .envs(town.environment()?)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let line = BufReader::new(child.stdout.take().context("a pipe")?).lines().next_line().await?;
    let line: serde_json::Value = serde_json::from_str(&line.context("a line")?)?;
    let address = line["listening"].as_str().and_then(|url| url.strip_prefix("http://")).context("a URL")?;
    let get = async |path: &str| {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = get("/api/users/3/reminders").await?;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("served-by: reminders=legacy"), "{answer}");
    let metrics = get("/metrics").await?;
    assert!(metrics.contains("handover_gate_look_ups_total{outcome=\"answered\"}"), "{metrics}");
    let members = "SELECT count(*) FROM identity.gate WHERE ended_at IS NULL";
    assert_eq!(number(&town, Server::Identity, members).await?, 1);
    kill(Pid::from_raw(child.id().context("it runs")? as i32), Signal::SIGTERM)?;
    let status = tokio::time::timeout(handover_tests::PATIENCE, child.wait()).await??;
    assert_eq!(status.code(), Some(0));
    assert_eq!(number(&town, Server::Identity, members).await?, 0, "nobody waits for it any more");
    Ok(())
}

#[tokio::test]
async fn a_process_without_its_settings_names_all_that_are_missing_and_fails() -> Result<()> {
    let program = env!("CARGO_BIN_EXE_handover-invoicing");
    let output = tokio::process::Command::new(program).env_clear().output().await?;
    let text = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1));
    for name in ["LEGACY_URL", "NEW_URL", "REDIS_URL", "IDENTITY_URL"] {
        assert!(text.contains(&format!("INVOICING_{name} is missing")), "{text}");
    }
    Ok(())
}
