//! The layer before an axum application.

use std::time::Duration;

use axum::body::Body;
use axum::routing::get;
use axum::{Extension, Router};
use handover_gate::{Decision, Gate, GateLayer, Kind, PERMIT_HEADER, Settings, Side, Subject};
use tower::ServiceExt;

use crate::support::{MIGRATION, REQUEST, Stage, until};

fn application(gate: &Gate) -> Router {
    let side = async |Extension(decision): Extension<Decision>| match decision.side(MIGRATION) {
        Side::Legacy => "legacy",
        Side::New => "new",
    };
    let permit = async |Extension(decision): Extension<Decision>| {
        decision
            .permit_header()
            .map(|value| value.to_str().expect("visible ASCII").to_owned())
            .unwrap_or_default()
    };
    let stopped = async || {
        // Stops the whole thread, as SIGSTOP does: no timer of the gate's can end the handler.
        let (_never, silent) = std::sync::mpsc::channel::<()>();
        let _timed_out = silent.recv_timeout(REQUEST + Duration::from_millis(50));
        "written, and too late"
    };
    let slow = async || std::future::pending::<&'static str>().await;
    Router::new()
        .route("/side", get(side).post(side))
        .route("/permit", get(permit))
        .route("/stopped", get(stopped))
        .route("/slow", get(slow))
        .route("/health", get(async || "well"))
        .layer(GateLayer::new(gate.clone(), |request: &axum::extract::Request| {
            let user = request.headers().get("x-user").and_then(|user| user.to_str().ok());
            user.map_or(Subject::Nobody, |user| Subject::User(user.to_owned()))
        }))
}

struct Answer {
    status: u16,
    kind: String,
    retry: bool,
    body: String,
}

async fn send(app: &Router, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = axum::http::Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response =
        app.clone().oneshot(request.body(Body::empty()).expect("a request")).await.expect("an answer");
    let header = |name: &str| {
        response.headers().get(name).map(|value| value.to_str().expect("visible ASCII").to_owned())
    };
    let (kind, retry) = (header("content-type").unwrap_or_default(), header("retry-after").is_some());
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("a body");
    Answer { status, kind, retry, body: String::from_utf8(body.to_vec()).expect("UTF-8") }
}

fn impatient() -> Settings {
    let mut settings = Stage::settings();
    settings.hold_for = Duration::from_millis(60);
    settings.permit_keys = vec!["0123456789abcdef0123456789abcdef".into()];
    settings
}

#[tokio::test(flavor = "multi_thread")]
async fn the_handler_is_told_the_side_and_nobody_passes_without_one() {
    let stage = Stage::new().await;
    let app = application(&stage.gate_with(impatient(), &["1"]).await);
    assert_eq!(send(&app, "GET", "/side", &[("x-user", "1")]).await.body, "legacy");
    assert_eq!(send(&app, "GET", "/health", &[]).await.body, "well");
    stage.pause("1", 1).await;
    stage.flip("1", 1).await;
    until(async || send(&app, "GET", "/side", &[("x-user", "1")]).await.body == "new").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_users_browser_gets_a_page_and_an_api_client_a_problem_with_an_address_to_poll() {
    let stage = Stage::new().await;
    let gate = stage.gate_with(impatient(), &["1"]).await;
    let app = application(&gate);
    stage.pause("1", 1).await;
    until(async || gate.admit_now("1").is_none()).await;
    let browser = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
    let page = send(&app, "GET", "/side", &[("x-user", "1"), browser]).await;
    assert_eq!((page.status, page.retry), (503, true));
    assert!(page.kind.starts_with("text/html") && page.body.contains("const reload = true"));
    let form = send(&app, "POST", "/side", &[("x-user", "1"), browser]).await;
    assert!(form.body.contains("const reload = false"), "a form is not sent again by itself");
    let api = send(&app, "GET", "/side", &[("x-user", "1"), ("accept", "application/json")]).await;
    assert_eq!((api.status, api.kind.as_str(), api.retry), (503, "application/problem+json", true));
    assert!(api.body.contains("urn:handover:problem:user-paused"));
    let poll = "/.well-known/handover";
    assert!(api.body.contains(poll));
    assert!(send(&app, "GET", poll, &[("x-user", "1")]).await.body.contains("\"paused\":true"));
    stage.release("1", 1).await;
    until(async || send(&app, "GET", poll, &[("x-user", "1")]).await.body.contains("\"paused\":false")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_past_its_deadline_is_answered_503_although_the_handler_finished() {
    let stage = Stage::new().await;
    let app = application(&stage.gate_with(impatient(), &["1"]).await);
    let answer = send(&app, "GET", "/stopped", &[("x-user", "1")]).await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("outcome-unknown"), "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_never_ends_is_ended_at_its_deadline_and_lets_go_of_its_user() {
    let stage = Stage::new().await;
    let gate = stage.gate_with(impatient(), &["1"]).await;
    let app = application(&gate);
    assert_eq!(send(&app, "GET", "/slow", &[("x-user", "1")]).await.status, 503);
    let position = stage.pause("1", 1).await;
    let drained = stage.identity.drain(&["1".to_owned()], Some(&position), Duration::ZERO).await.unwrap();
    assert_eq!((drained.acknowledged, drained.silent), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permit_handed_on_is_served_during_the_pause_by_the_side_of_the_outer_request() {
    let stage = Stage::new().await;
    let (outer, inner) = (stage.gate_with(impatient(), &["1"]).await, {
        let mut settings = impatient();
        settings.max_clock_skew = Duration::from_millis(1);
        stage.gate_with(settings, &["1"]).await
    });
    let permit = send(&application(&outer), "GET", "/permit", &[("x-user", "1")]).await.body;
    // The outer request goes on while its user is paused.
    let pass = outer.admit("1", Kind::Holdable).await.unwrap();
    stage.pause("1", 1).await;
    until(async || inner.admit_now("1").is_none()).await;
    let app = application(&inner);
    let with = |user: &'static str, permit: String| {
        let app = app.clone();
        async move { send(&app, "GET", "/side", &[("x-user", user), (PERMIT_HEADER, &permit)]).await }
    };
    assert_eq!(with("1", permit.clone()).await.body, "legacy");
    assert_eq!(with("1", permit.replace("v1;", "v1;9")).await.status, 503, "not what was signed");
    assert_eq!(with("1", "anything".to_owned()).await.status, 503);
    assert!(inner.admit_continued("2", &permit).is_none(), "another user's");
    drop(pass);
}
