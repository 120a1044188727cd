//! Bodies and addresses that cannot be used, at Identity's service and at the hybrid application.

use anyhow::{Context, Result, ensure};
use handover_sandbox::Server;

use crate::row::{Row, Section, row};
use crate::services::{BEARER, Services};
use crate::wire;

/// What is asked.
struct Asked {
    method: &'static str,
    path: String,
    body: Vec<u8>,
    kind: &'static str,
}

fn asked(method: &'static str, path: &str, body: impl Into<Vec<u8>>) -> Asked {
    Asked { method, path: path.to_owned(), body: body.into(), kind: "application/json" }
}

fn nested(times: usize) -> String {
    format!("{{\"users\":{}", "[".repeat(times))
}

fn identity() -> Vec<Row<Asked>> {
    let users = |body: &str| asked("POST", "/v1/users", body);
    let enrol = |body: &str| asked("POST", "/v1/enrol", body);
    let gate = |path: &str, body: &str| asked("PUT", path, body);
    let many = format!("{{\"users\":[{}\"1\"]}}", "\"1\",".repeat(1_000));
    let long = format!("{{\"users\":[\"{}\"]}}", "9".repeat(10_000));
    let large = format!("{{\"users\":[\"{}\"]}}", "9".repeat(600_000));
    let good = r#"{"kind":"x","lease_ms":1,"max_request_ms":1}"#;
    let text = Asked { kind: "text/plain", ..users("{\"users\":[]}") };
    vec![
        row("no body", users(""), 400, "bad_json"),
        row("half an object", users("{\"users\":[\"1\""), 400, "bad_json"),
        row("two objects", users("{\"users\":[]}{\"users\":[]}"), 400, "bad_json"),
        row("a field that does not exist", users("{\"users\":[],\"all\":true}"), 400, "bad_json"),
        row("a field twice", users("{\"users\":[],\"users\":[]}"), 400, "bad_json"),
        row("a number for a key", users("{\"users\":[1]}"), 400, "bad_json"),
        row("100 000 arrays in each other", users(&nested(100_000)), 400, "bad_json"),
        row("half a surrogate pair", users("{\"users\":[\"\\ud800\"]}"), 400, "bad_json"),
        row("not UTF-8", asked("POST", "/v1/users", b"{\"users\":[\"\xff\"]}".to_vec()), 400, "bad_json"),
        row("another content type", text, 415, "not_json"),
        row("1 001 users", users(&many), 422, "too_many"),
        row("600 000 bytes", users(&large), 413, "too_large"),
        row("a key of 10 000 digits", users(&long), 422, "bad_user"),
        row("a key with a NUL", users("{\"users\":[\"1\\u0000\"]}"), 422, "bad_user"),
        row("a key with a right-to-left override", users("{\"users\":[\"\\u202e1\"]}"), 422, "bad_user"),
        row("a key with Arabic digits", asked("GET", "/v1/users/%D9%A4%D9%A2", ""), 422, "bad_user"),
        row("a key that is SQL", asked("GET", "/v1/users/1%27%20OR%201=1", ""), 422, "bad_user"),
        row("a path that is not UTF-8", asked("GET", "/v1/users/%FF", ""), 400, "bad_path"),
        row("a path that goes up", asked("GET", "/v1/users/../../metrics", ""), 404, "not_found"),
        row("a query that does not exist", asked("GET", "/v1/users/1?trust=me", ""), 400, "bad_query"),
        row(
            "a migration's name with a blank",
            enrol(r#"{"user":"9","migrations":["a b"]}"#),
            422,
            "bad_migration",
        ),
        row(
            "a migration's name that is SQL",
            enrol(r#"{"user":"9","migrations":["a'; --"]}"#),
            422,
            "bad_migration",
        ),
        row(
            "a migration's name with a NUL",
            enrol(r#"{"user":"9","migrations":["a\u0000"]}"#),
            422,
            "bad_migration",
        ),
        row("no migration", enrol(r#"{"user":"9","migrations":[]}"#), 422, "bad_migration"),
        row("a gate whose name is a NUL", gate("/v1/gates/%00", good), 422, "bad_gate"),
        row("a gate whose name has a line break", gate("/v1/gates/a%0Ab", good), 422, "bad_gate"),
        row(
            "a gate whose name has 10 000 bytes",
            gate(&format!("/v1/gates/{}", "g".repeat(10_000)), good),
            422,
            "bad_gate",
        ),
        row(
            "a lease below zero",
            gate("/v1/gates/g", r#"{"kind":"x","lease_ms":-1,"max_request_ms":1}"#),
            400,
            "bad_json",
        ),
        row(
            "a lease beyond all numbers",
            gate("/v1/gates/g", r#"{"kind":"x","lease_ms":1e400,"max_request_ms":1}"#),
            400,
            "bad_json",
        ),
        row(
            "a lease of all of 64 bits",
            gate("/v1/gates/g", r#"{"kind":"x","lease_ms":18446744073709551615,"max_request_ms":1}"#),
            422,
            "bad_gate",
        ),
        row(
            "a kind with a NUL",
            gate("/v1/gates/g", r#"{"kind":"\u0000","lease_ms":1,"max_request_ms":1}"#),
            422,
            "bad_gate",
        ),
        row("an address that does not exist", asked("GET", "/v2/users", ""), 404, "not_found"),
        row("another method", asked("DELETE", "/v1/users/1", ""), 405, "bad_method"),
    ]
}

fn application() -> Vec<Row<Asked>> {
    let reminders = "/api/users/1/reminders";
    let add = |body: &str| asked("POST", reminders, body);
    let due = |ms: &str| add(&format!("{{\"subject\":\"s\",\"body\":\"b\",\"due_in_ms\":{ms}}}"));
    let large = format!("{{\"subject\":\"s\",\"body\":\"{}\"}}", "b".repeat(300_000));
    let form = Asked {
        kind: "application/x-www-form-urlencoded",
        ..asked("POST", "/users/1/reminders", "subject=%FF%00&body=")
    };
    vec![
        row("no body", add(""), 400, "JSON"),
        row("not JSON", add("subject=s"), 400, "JSON"),
        row("100 000 arrays in each other", add(&"[".repeat(100_000)), 422, ""),
        row("not UTF-8", asked("POST", reminders, b"{\"subject\":\"\xff\"}".to_vec()), 400, "JSON"),
        row("another content type", Asked { kind: "text/plain", ..add("{}") }, 415, "application/json"),
        row("a field that does not exist", add(r#"{"subject":"s","body":"b","owner":2}"#), 422, "owner"),
        row("a text for a number", add(r#"{"subject":"s","body":"b","invoice_id":"1"}"#), 422, "invoice_id"),
        row("a number beyond 64 bits", due("9223372036854775808"), 422, "due_in_ms"),
        row("a time of 300 million years", due("9223372036854775807"), 422, "due_in_ms is out of range"),
        row("a time as long ago", due("-9223372036854775808"), 422, "due_in_ms is out of range"),
        row("a subject with a NUL", add(r#"{"subject":"\u0000","body":"b"}"#), 422, "subject"),
        row("a body with a NUL", add(r#"{"subject":"s","body":"\u0000"}"#), 422, "body holds a NUL"),
        row(
            "a subject of 201 characters",
            add(&format!("{{\"subject\":\"{}\",\"body\":\"\"}}", "ü".repeat(201))),
            422,
            "200 characters",
        ),
        row("300 000 bytes", add(&large), 413, "the body is longer"),
        row(
            "an invoice of somebody else",
            add(r#"{"subject":"s","body":"b","invoice_id":-1}"#),
            404,
            "no such invoice",
        ),
        row("a form that is not UTF-8, with a NUL", form, 422, ""),
    ]
}

pub(crate) fn sections() -> Vec<Section> {
    let about = "Requests to `handover-identity` with its token, for keys of the type `int8`. `says` is the problem's `code`, which \
                 programs can rely on. Afterwards Identity has no user and no gate more than before.";
    let invoicing = "Requests to `handover-invoicing`, the hybrid application of the guide. Afterwards both systems hold what they \
                     held.";
    vec![
        Section::of("Requests to Identity's service", about, "status", &identity()),
        Section::of("Requests to the hybrid application", invoicing, "status", &application()),
    ]
}

async fn check(port: u16, row: &Row<Asked>, authorization: &str) -> Result<()> {
    let Asked { method, path, body, kind } = &row.input;
    let headers = [("Authorization", authorization), ("Content-Type", *kind)];
    let bytes = wire::request(method, path, &headers, body);
    let came = wire::send(port, &bytes, std::time::Duration::from_secs(30)).await;
    ensure!(came.status == row.code, "{}: answered {}: {:.600}", row.what, came.status, came.text);
    ensure!(came.body().contains(row.says), "{}: does not say `{}`: {:.600}", row.what, row.says, came.text);
    ensure!(came.text.len() < 4_000, "{}: the input is thrown back, {} bytes", row.what, came.text.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_used_is_refused_and_changes_nothing() -> Result<()> {
    let services = Box::pin(Services::start()).await?;
    let world = &services.world;
    let (identity_port, application_port) =
        (services.named("Identity's service").port, services.named("the hybrid application").port);
    Services::answers(services.named("the hybrid application")).await?;
    let held = || async {
        anyhow::Ok([
            world.number(Server::Identity, "SELECT count(*) FROM identity.users").await?,
            world.number(Server::Identity, "SELECT count(*) FROM identity.gate").await?,
            world.number(Server::Legacy, "SELECT count(*) FROM shop.invoice_reminder").await?,
            world.number(Server::Legacy, "SELECT count(*) FROM shop.auth_user").await?,
            world.number(Server::Destination, "SELECT count(*) FROM reminders.reminder").await?,
        ])
    };
    let before = held().await?;
    for row in identity() {
        check(identity_port, &row, BEARER).await.context("Identity's service")?;
    }
    for row in application() {
        check(application_port, &row, "Bearer demo-1").await.context("the application")?;
    }
    ensure!(held().await? == before, "something has changed: {before:?}");
    Ok(())
}
