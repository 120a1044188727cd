//! Native mode, and what every mode does when its process is stopped, killed or asked to end.

use std::process::Stdio;
use std::time::Instant;

use nix::sys::signal::Signal;
use tokio::process::Command;

use crate::client::{get, request, send};
use crate::stage::{HOLD, IDENTITY, MIGRATION, REQUEST, Stage, TOKEN, until, waited_out};

fn token() -> String {
    format!("Bearer {TOKEN}")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_is_told_the_side_and_its_pass_counts_until_it_is_given_back() {
    let stage = Stage::new().await;
    let sidecar = stage.sidecar("native", &["--user-header", "x-user", "--max-request", "20s"]).await;
    let answer = sidecar.decision("1").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let value = answer.json();
    assert_eq!((value["user"].as_str(), value["sides"][MIGRATION].as_str()), (Some("1"), Some("legacy")));
    assert_eq!(answer.header("handover-side-invoice-reminders"), Some("legacy"));
    let by_header = get(sidecar.port, "/v1/decision", &[("Authorization", &token()), ("x-user", "2")]).await;
    assert_eq!(by_header.json()["user"], "2");
    let position = stage.pause("1", 1).await;
    let (identity, users) = (stage.identity.clone(), ["1".to_owned()]);
    let drain = tokio::spawn(async move {
        let began = Instant::now();
        (identity.drain(&users, position.as_ref(), std::time::Duration::ZERO).await.unwrap(), began.elapsed())
    });
    let pass = format!("/v1/passes/{}", value["pass"].as_str().unwrap());
    let give_back = request("DELETE", &pass, &[("Authorization", &token())], "");
    assert!(!drain.is_finished(), "the pass counts");
    assert_eq!(send(sidecar.port, give_back.as_bytes()).await.status, 204);
    let (drained, took) = drain.await.unwrap();
    assert_eq!((drained.acknowledged, drained.silent), (1, 0));
    assert!(took.as_secs() < 15, "sooner than its time runs out: {took:?}");
    assert_eq!(send(sidecar.port, give_back.as_bytes()).await.status, 410, "given back already");
    stage.flip("1", 1).await;
    until(async || sidecar.decision("1").await.json()["sides"][MIGRATION] == "new").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_user_is_held_and_then_answered_503_and_a_job_is_put_off_at_once() {
    let stage = Stage::new().await;
    let sidecar = stage.sidecar("native", &[]).await;
    stage.pause("1", 1).await;
    let began = Instant::now();
    let answer = sidecar.decision("1").await;
    assert!(began.elapsed() >= HOLD);
    assert_eq!((answer.status, answer.problem().as_str()), (503, "user-paused"));
    assert!(answer.header("retry-after").is_some());
    let began = Instant::now();
    let job = get(sidecar.port, "/v1/decision?user=1&kind=job", &[("Authorization", &token())]).await;
    assert_eq!(job.status, 503);
    assert!(began.elapsed() < HOLD, "a job is not held");
    let poll = get(sidecar.port, "/.well-known/handover?user=1", &[("Authorization", &token())]).await;
    assert_eq!(poll.json()["paused"], true);
    // Held while the pause ends.
    let held = tokio::spawn({
        let (port, token) = (sidecar.port, token());
        async move { get(port, "/v1/decision?user=1", &[("Authorization", &token)]).await }
    });
    stage.flip("1", 1).await;
    assert_eq!(held.await.unwrap().json()["sides"][MIGRATION], "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_token_or_asks_for_nobody_gets_no_decision() {
    let stage = Stage::new().await;
    let sidecar = stage.sidecar("native", &[]).await;
    let with = |target: &'static str, token: String| {
        let port = sidecar.port;
        async move { get(port, target, &[("Authorization", &token)]).await }
    };
    let wrong = with("/v1/decision?user=1", "Bearer wrong".to_owned()).await;
    assert_eq!((wrong.status, wrong.problem().as_str()), (401, "unauthorised"));
    assert_eq!(with("/v1/decision", token()).await.problem(), "user-unclear");
    assert_eq!(with("/v1/decision?user=1&kind=x", token()).await.problem(), "bad-kind");
    assert_eq!(with("/v1/else", token()).await.status, 404);
    // What Identity does not know as a key is not "legacy".
    assert_eq!(with("/v1/decision?user=abc&kind=job", token()).await.problem(), "user-unknown");
    let metrics = get(sidecar.health, "/metrics", &[]).await;
    assert_eq!(metrics.status, 401);
    let metrics = get(sidecar.health, "/metrics", &[("Authorization", &token())]).await;
    assert!(metrics.body.contains("handover_gate_look_ups_total"), "{}", metrics.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_sidecar_costs_a_pause_its_lease_and_longest_request_and_no_less() {
    let stage = Stage::new().await;
    let mut sidecar = stage.sidecar("native", &[]).await;
    let value = sidecar.decision("1").await.json();
    assert_eq!(value["sides"][MIGRATION], "legacy");
    sidecar.process.signal(Signal::SIGKILL);
    sidecar.process.child.wait().await.unwrap();
    let position = stage.pause("1", 1).await;
    waited_out(stage.drain("1", position.as_ref()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_sidecar_that_wakes_after_its_lease_answers_nothing_from_its_cache() {
    let stage = Stage::new().await;
    let sidecar = stage.sidecar("native", &[]).await;
    assert_eq!(sidecar.decision("1").await.json()["sides"][MIGRATION], "legacy");
    sidecar.process.signal(Signal::SIGSTOP);
    // Asked while it sleeps: the question lies in its socket when it wakes.
    let early = tokio::spawn({
        let (port, token) = (sidecar.port, token());
        async move { get(port, "/v1/decision?user=1", &[("Authorization", &token)]).await }
    });
    let position = stage.pause("1", 1).await;
    waited_out(stage.drain("1", position.as_ref()).await);
    stage.flip("1", 1).await;
    sidecar.process.signal(Signal::SIGCONT);
    let answer = early.await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["sides"][MIGRATION], "new", "the cache still said legacy");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_waits_for_what_counts_signs_off_and_ends_with_0() {
    let stage = Stage::new().await;
    let mut sidecar = stage.sidecar("native", &[]).await;
    let members = async || stage.identity.truth().members().await.unwrap().len();
    assert_eq!(members().await, 1);
    let began = Instant::now();
    assert_eq!(sidecar.decision("1").await.status, 200);
    sidecar.process.signal(Signal::SIGTERM);
    let status = sidecar.process.child.wait().await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", sidecar.process.log());
    assert!(began.elapsed() >= REQUEST, "the pass that was not given back counts to its end");
    assert_eq!(members().await, 0, "{}", sidecar.process.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_and_messages_are_as_documented() {
    let run = async |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_handover-gate"));
        command.env_clear().envs(variables.iter().copied()).args(arguments).stdin(Stdio::null());
        let output = command.output().await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    let native = ["native", "--identity-url", "http://127.0.0.1:1", "--migration", "m"];
    let (code, _, said) = run(&native, &[]).await;
    assert_eq!(code, 78);
    assert!(said.contains("there is no token") && said.contains("the Redis is missing"), "{said}");
    let token = [("HANDOVER_GATE_TOKEN", TOKEN), ("HANDOVER_GATE_IDENTITY_TOKEN", IDENTITY)];
    let (code, _, said) =
        run(&[&native[..], &["--redis-url", "redis://:secret@127.0.0.1:1"]].concat(), &token).await;
    assert_eq!(code, 78);
    assert!(said.contains("password") && !said.contains("secret@"), "{said}");
    assert_eq!(run(&["native", "--no-such"], &[]).await.0, 2);
    let (code, out, _) = run(&["health", "--json", "--health-bind", "127.0.0.1:1"], &[]).await;
    assert_eq!(code, 69);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&out).unwrap()["ready"], false);
    let (code, out, _) = run(&["--help"], &[]).await;
    assert_eq!(code, 0);
    assert!(out.contains("Examples:") && out.contains("Other exit codes:"), "{out}");
    let stage = Stage::new().await;
    let sidecar = stage.sidecar("native", &[]).await;
    let address = format!("127.0.0.1:{}", sidecar.health);
    let (code, out, _) = run(&["health", "--health-bind", &address], &[]).await;
    assert_eq!((code, out.trim()), (0, "ready"));
}
