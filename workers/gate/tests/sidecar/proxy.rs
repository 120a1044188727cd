//! Reverse proxy mode before an application in Python.

use std::time::{Duration, Instant};

use handover_identity::Drained;
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::client::{Answer, get, request, send};
use crate::nginx::python;
use crate::programs::Process;
use crate::stage::{HOLD, REQUEST, Sidecar, Stage, until, waited_out};

/// A stage with an application and a sidecar before it.
struct Path {
    stage: Stage,
    sidecar: Sidecar,
    application: Process,
}

impl Path {
    async fn new(options: &[&str]) -> Self {
        let stage = Stage::new().await;
        let (application, port) = python(stage.folder.path()).await;
        let upstream = format!("http://127.0.0.1:{port}");
        let mut all =
            vec!["--upstream", &upstream, "--user-header", "x-user", "--user-path", "/users/{user}/"];
        all.extend(["--connect-timeout", "300ms"]);
        all.extend(options);
        let sidecar = stage.sidecar("proxy", &all).await;
        Self { stage, sidecar, application }
    }

    async fn get(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        get(self.sidecar.port, target, headers).await
    }

    /// A request under way.
    fn begin(&self, target: &str) -> JoinHandle<Answer> {
        let (port, target) = (self.sidecar.port, target.to_owned());
        tokio::spawn(async move { get(port, &target, &[]).await })
    }

    /// A connection on which a request was sent.
    async fn sent(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.sidecar.port)).await.expect("it listens");
        stream.write_all(text.as_bytes()).await.expect("it reads");
        stream
    }

    /// Waits until the application works on it.
    async fn arrived(&self, target: &str) {
        let line = format!("got {target}\n");
        until(async || self.application.log().contains(&line)).await;
    }

    /// Pauses the user, and begins to wait.
    async fn draining(&self, user: &str) -> JoinHandle<Drained> {
        let position = self.stage.pause(user, 1).await;
        let (identity, users) = (self.stage.identity.clone(), [user.to_owned()]);
        tokio::spawn(async move {
            identity.drain(&users, position.as_ref(), Duration::ZERO).await.expect("identity answers")
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_counts_until_its_answer_has_gone_out_and_a_pause_holds_the_next_one() {
    let path = Path::new(&["--max-request", "20s", "--hold-for", "20s"]).await;
    assert_eq!(path.get("/users/1/", &[]).await.json()["side"], "legacy");
    assert_eq!(path.sidecar.in_flight().await, 0, "it has ended");
    let slow = path.begin("/users/1/?ms=500");
    path.arrived("/users/1/?ms=500").await;
    assert_eq!(path.sidecar.in_flight().await, 1);
    let began = Instant::now();
    let drain = path.draining("1").await;
    let held = path.begin("/users/1/next");
    let slow = slow.await.unwrap();
    assert_eq!((slow.status, slow.json()["side"].as_str()), (200, Some("legacy")));
    let drained = drain.await.unwrap();
    assert_eq!((drained.acknowledged, drained.silent), (1, 0), "{drained:?}");
    assert!(began.elapsed().as_secs() < 15, "sooner than its time runs out: {:?}", began.elapsed());
    path.stage.flip("1", 1).await;
    let held = held.await.unwrap().json();
    assert_eq!((held["side"].as_str(), held["user"].as_str()), (Some("new"), Some("1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn past_hold_for_a_browser_gets_a_page_and_others_a_problem_with_an_address_to_poll() {
    let path = Path::new(&[]).await;
    path.stage.pause("1", 1).await;
    let began = Instant::now();
    let page = path.get("/users/1/", &[("Accept", "text/html")]).await;
    assert!(began.elapsed() >= HOLD);
    assert!(page.status == 503 && page.body.contains("const reload = true"), "{page:?}");
    let problem = path.get("/account", &[("x-user", "1")]).await;
    assert_eq!((problem.status, problem.problem().as_str()), (503, "user-paused"));
    assert_eq!(problem.json()["poll"], "/.well-known/handover");
    assert_eq!(path.get("/.well-known/handover", &[("x-user", "1")]).await.json()["paused"], true);
    assert_eq!(path.get("/.well-known/handover?at=/users/1/", &[]).await.json()["paused"], true);
    path.stage.flip("1", 1).await;
    until(async || path.get("/.well-known/handover", &[("x-user", "1")]).await.json()["paused"] == false)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_sidecar_may_say_is_its_own_and_bodies_pass_in_both_directions() {
    let path = Path::new(&["--max-body", "300000"]).await;
    let smuggled = [
        ("handover-side-invoice-reminders", "new"),
        ("Handover_Side_Invoice_Reminders", "new"),
        ("handover-user", "2"),
        ("Connection", "close, X-Hop"),
        ("X-Hop", "1"),
    ];
    let told = path.get("/users/1/", &smuggled).await.json();
    assert_eq!((told["side"].as_str(), told["user"].as_str()), (Some("legacy"), Some("1")));
    let headers = &told["headers"];
    for absent in ["handover_side_invoice_reminders", "x-hop", "connection"] {
        assert!(headers.get(absent).is_none(), "{absent}: {headers}");
    }
    assert_eq!(
        (headers["host"].as_str(), headers["x-forwarded-for"].as_str()),
        (Some("shop.example"), Some("127.0.0.1"))
    );
    let nobodys = path.get("/health", &smuggled).await.json();
    assert!(nobodys["side"].is_null() && nobodys["user"].is_null(), "{nobodys}");
    let post = request("POST", "/users/1/", &[], &"x".repeat(300_000));
    assert_eq!(send(path.sidecar.port, post.as_bytes()).await.json()["body"], 300_000);
    let chunked = "POST /users/1/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
                   5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
    assert_eq!(send(path.sidecar.port, chunked.as_bytes()).await.json()["body"], 11);
    let lines = path.get("/users/1/?stream=50&every=1", &[]).await;
    assert_eq!(lines.body.len(), 250, "{lines:?}");
    until(async || path.sidecar.in_flight().await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_passed_on_is_refused_and_said() {
    let path = Path::new(&["--max-body", "1000"]).await;
    let upgrade = [("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")];
    let upgrade = path.get("/users/1/", &upgrade).await;
    assert_eq!((upgrade.status, upgrade.problem().as_str()), (501, "no-upgrade"));
    assert_eq!(path.get("/users/1/", &[("Upgrade", "h2c")]).await.status, 200, "it can do without");
    let large = request("POST", "/users/1/", &[], &"x".repeat(1_001));
    let large = send(path.sidecar.port, large.as_bytes()).await;
    assert_eq!((large.status, large.problem().as_str()), (413, "too-large"));
    let size = format!("{:x}\r\n{}\r\n", 2_000, "x".repeat(2_000));
    let chunked = format!(
        "POST /users/1/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{size}0\r\n\r\n"
    );
    assert_eq!(send(path.sidecar.port, chunked.as_bytes()).await.status, 413);
    let unclear = path.get("/x/%2e%2e/users/1/", &[]).await;
    assert_eq!((unclear.status, unclear.problem().as_str()), (400, "user-unclear"));
    let twice = path.get("/", &[("x-user", "1"), ("x-user", "2")]).await;
    assert_eq!((twice.status, twice.problem().as_str()), (400, "user-unclear"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_application_is_answered_504_and_its_user_counts_until_the_deadline() {
    let path = Path::new(&["--upstream-timeout", "500ms", "--max-request", "4s"]).await;
    let began = Instant::now();
    let slow = path.get("/users/1/?ms=6000", &[]).await;
    assert_eq!((slow.status, slow.problem().as_str()), (504, "outcome-unknown"));
    assert!(began.elapsed().as_secs() < 4, "{:?}", began.elapsed());
    let drain = path.draining("1").await.await.unwrap();
    assert_eq!((drain.acknowledged, drain.silent), (1, 0), "{drain:?}");
    assert!(began.elapsed().as_secs() >= 4, "the application may have been at work: {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_leaves_its_user_counted_until_the_deadline() {
    let path = Path::new(&[]).await;
    let began = Instant::now();
    let stream = path.sent(&request("GET", "/users/1/?ms=900", &[], "")).await;
    path.arrived("/users/1/?ms=900").await;
    drop(stream);
    let drained = path.draining("1").await.await.unwrap();
    assert_eq!((drained.acknowledged, drained.silent), (1, 0), "{drained:?}");
    assert!(began.elapsed() >= REQUEST, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_goes_on_past_the_deadline_is_broken_off() {
    let path = Path::new(&[]).await;
    let began = Instant::now();
    let mut stream = path.sent(&request("GET", "/users/1/?stream=100&every=100", &[], "")).await;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    let answer = Answer::read(&bytes);
    assert_eq!(answer.status, 200);
    assert!(!bytes.ends_with(b"0\r\n\r\n"), "nobody takes it for whole");
    assert!(began.elapsed() >= REQUEST && began.elapsed() < REQUEST * 5, "{:?}", began.elapsed());
    until(async || path.sidecar.in_flight().await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_is_not_there_is_502_and_nothing_counts() {
    let mut path = Path::new(&[]).await;
    path.application.signal(Signal::SIGKILL);
    path.application.child.wait().await.unwrap();
    let answer = path.get("/users/1/", &[]).await;
    assert_eq!((answer.status, answer.problem().as_str()), (502, "unreachable"));
    assert_eq!(path.sidecar.in_flight().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_dies_in_mid_request_is_502_with_an_unknown_outcome() {
    let mut path = Path::new(&[]).await;
    let slow = path.begin("/users/1/?ms=1000");
    path.arrived("/users/1/?ms=1000").await;
    path.application.signal(Signal::SIGKILL);
    path.application.child.wait().await.unwrap();
    let answer = slow.await.unwrap();
    assert_eq!((answer.status, answer.problem().as_str()), (502, "outcome-unknown"));
    assert_eq!(path.sidecar.in_flight().await, 1, "it may have been done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_stopped_in_mid_request_acknowledges_nothing_that_came_late() {
    let path = Path::new(&[]).await;
    let slow = path.begin("/users/1/?ms=300");
    path.arrived("/users/1/?ms=300").await;
    path.sidecar.process.signal(Signal::SIGSTOP);
    waited_out(path.draining("1").await.await.unwrap());
    path.stage.flip("1", 1).await;
    path.sidecar.process.signal(Signal::SIGCONT);
    let answer = slow.await.unwrap();
    assert!(matches!(answer.status, 503 | 504), "{answer:?}");
    assert_eq!(answer.problem(), "outcome-unknown");
    until(async || path.get("/users/1/", &[]).await.status == 200).await;
    assert_eq!(path.get("/users/1/", &[]).await.json()["side"], "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_the_requests_in_flight_end() {
    let mut path = Path::new(&[]).await;
    let slow = path.begin("/users/1/?ms=600");
    path.arrived("/users/1/?ms=600").await;
    path.sidecar.process.signal(Signal::SIGTERM);
    assert_eq!(slow.await.unwrap().status, 200);
    let status = path.sidecar.process.child.wait().await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", path.sidecar.process.log());
    assert_eq!(path.stage.identity.truth().members().await.unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permit_that_was_handed_on_is_served_during_the_pause_by_the_side_of_the_outer_request() {
    let stage = Stage::new().await;
    let (application, port) = python(stage.folder.path()).await;
    let key = stage.folder.path().join("key");
    std::fs::write(&key, "0123456789abcdef0123456789abcdef").unwrap();
    let key = ["--permit-key-file", key.to_str().unwrap()];
    let outer = stage.sidecar("native", &[&key[..], &["--max-request", "5s"]].concat()).await;
    let upstream = format!("http://127.0.0.1:{port}");
    let options = ["--upstream", &upstream, "--connect-timeout", "300ms", "--user-path", "/users/{user}/"];
    let inner = stage.sidecar("proxy", &[&key[..], &options[..]].concat()).await;
    let decision = outer.decision("1").await;
    let permit = decision.header("handover-permit").expect("there is a key");
    stage.pause("1", 1).await;
    until(async || get(inner.port, "/.well-known/handover?at=/users/1/", &[]).await.json()["paused"] == true)
        .await;
    let answer = get(inner.port, "/users/1/", &[("handover-permit", permit)]).await;
    assert_eq!(answer.json()["side"], "legacy", "{answer:?}");
    let handed_on = answer.json()["headers"]["handover-permit"].as_str().map(str::to_owned);
    assert!(handed_on.is_some_and(|handed_on| handed_on.starts_with("v1;")), "signed anew: {answer:?}");
    let forged = get(inner.port, "/users/2/", &[("handover-permit", permit)]).await;
    assert_eq!(forged.json()["side"], "legacy", "another user's permit is none");
    let forged = get(inner.port, "/users/1/", &[("handover-permit", &permit.replace("v1;", "v1;9"))]).await;
    assert_eq!(forged.status, 503);
    drop(application);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_not_there_in_time_is_not_acknowledged() {
    let path = Path::new(&[]).await;
    let whole = request("POST", "/users/1/", &[], "0123456789");
    let began = Instant::now();
    let mut stream = path.sent(&whole[..whole.len() - 5]).await;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    let answer = Answer::read(&bytes);
    assert!(matches!(answer.status, 503 | 504), "{answer:?}");
    assert_eq!(answer.problem(), "outcome-unknown");
    assert!(began.elapsed() < REQUEST * 5, "{:?}", began.elapsed());
}
