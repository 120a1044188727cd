//! Identity's service over real connections: what it answers, whom it refuses, and what it does not put up with.

use std::sync::Arc;
use std::time::Duration;

use handover_identity::http::{Site, serve};
use handover_identity::{
    ClientOptions, Identity, IdentityClient, IdentitySource as _, LookUps, Registration, SourceError, State,
    Trust,
};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::support::{Stage, at, mirror_at, names};

pub(crate) const TOKEN: &str = "s3cret";
const SKEW: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(10);

/// A service on a port of its own, until it is dropped.
pub(crate) struct Service {
    pub(crate) port: u16,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

/// An answer, as it came over the wire.
#[derive(Debug)]
struct Raw {
    status: u16,
    head: String,
    body: String,
}

impl Raw {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("a JSON body")
    }

    fn code(&self) -> String {
        assert!(self.head.contains("application/problem+json"), "{self:?}");
        self.json()["code"].as_str().expect("a code").to_owned()
    }
}

impl Service {
    pub(crate) async fn of(identity: &Identity) -> Self {
        let site = Site {
            look_ups: LookUps::new(identity.clone(), SKEW),
            identity: identity.clone(),
            canonical: Arc::new(|user: &str| {
                user.trim().parse::<i64>().map(|user| user.to_string()).map_err(|_| "no number".to_owned())
            }),
            token: Some(SecretString::from(TOKEN)),
            metrics_token: Some(SecretString::from("scrape")),
            render: Arc::new(|| "handover_test 1\n".to_owned()),
            longest_term: Duration::from_mins(1),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound port").port();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(serve(listener, site, async {
            // Dropped is stopped.
            let _ = stopped.await;
        }));
        Self { port, stop: Some(stop), task }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.expect("the service listens")
    }

    /// Sends these bytes and reads all that comes back.
    async fn send(&self, bytes: &[u8]) -> Raw {
        let mut stream = self.connect().await;
        // A service that refuses early closes while we still write.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let text = String::from_utf8(answer).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Raw { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    async fn ask_with(&self, token: &str, method: &str, path: &str, body: &str) -> Raw {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.send(request.as_bytes()).await
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> Raw {
        self.ask_with(TOKEN, method, path, body).await
    }

    fn client(&self) -> IdentityClient {
        client(self.port)
    }
}

fn client(port: u16) -> IdentityClient {
    let mut options = ClientOptions::new(format!("http://127.0.0.1:{port}/"));
    options.token = Some(SecretString::from(TOKEN));
    options.patience = Duration::from_secs(5);
    IdentityClient::new(&options).expect("a client")
}

fn gate(id: &str) -> Registration {
    Registration { id: id.to_owned(), kind: "layer".to_owned(), lease: LONG, max_request: LONG }
}

/// Says for a while that the mirror may be believed.
async fn believe(stage: &Stage) {
    let run_id = stage.mirror().run_id().await.expect("redis answers");
    stage.identity.renew_ready(&run_id, LONG, LONG).await.expect("redis answers");
}

async fn until_field_is(stage: &Stage, field: &str, text: &str) {
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    while stage.field(field).await.as_deref() != Some(text) {
        assert!(begun.elapsed() < LONG, "the field {field} never became {text}");
        ticks.tick().await;
    }
}

#[tokio::test]
async fn every_endpoint_answers_as_documented() {
    let stage = Stage::new().await;
    let service = Service::of(&stage.identity).await;
    stage.identity.begin("m", &at(["42"], 1)).await.unwrap();

    let user = service.ask("GET", "/v1/users/42?trust=truth", "").await;
    let paused = json!({"user": "42", "revision": 1, "paused": true, "states": {"m": "migrating"}});
    assert_eq!((user.status, user.json()), (200, paused.clone()));
    assert!(user.head.contains("cache-control: no-store"), "{}", user.head);

    let users = service.ask("POST", "/v1/users", r#"{"users":["43","42"],"trust":"truth"}"#).await;
    let unknown = json!({"user": "43", "revision": 0, "paused": false, "states": {}});
    assert_eq!(users.json(), json!({"users": [unknown, paused]}));
    assert_eq!(service.ask("POST", "/v1/users", r#"{"users":[]}"#).await.json(), json!({"users": []}));

    let enrolled = service.ask("POST", "/v1/enrol", r#"{"user":"7","migrations":["m","n"]}"#).await;
    let born = json!({"user": "7", "revision": 1, "paused": false, "states": {"m": "migrated", "n": "migrated"},
        "enrolled": true, "mirrored": true});
    assert_eq!((enrolled.status, enrolled.json()), (200, born));
    let again = service.ask("POST", "/v1/enrol", r#"{"user":"7","migrations":["m"]}"#).await;
    assert_eq!((again.status, &again.json()["enrolled"]), (200, &json!(false)));

    let body = r#"{"kind":"layer","lease_ms":5000,"max_request_ms":10000}"#;
    let registered = service.ask("PUT", "/v1/gates/web-1", body).await;
    assert_eq!((registered.status, registered.json()), (200, json!({"id": "web-1", "registered": true})));
    assert_eq!(service.ask("PUT", "/v1/gates/web-1", body).await.json()["registered"], false);
    assert_eq!(stage.truth().members().await.unwrap()[0].id, "web-1");
    let gone = service.ask("DELETE", "/v1/gates/web-1", "").await;
    assert_eq!((gone.status, gone.json()), (200, json!({"id": "web-1", "was_member": true})));
    assert!(stage.truth().members().await.unwrap().is_empty());

    assert_eq!(service.ask_with("", "GET", "/healthz", "").await.body, "alive\n");
    let ready = service.ask_with("", "GET", "/readyz", "").await;
    let well = json!({"ready": true, "checks": [{"name": "identity"}, {"name": "redis"}]});
    assert_eq!((ready.status, ready.json()), (200, well));
    let metrics = service.ask_with("scrape", "GET", "/metrics", "").await;
    assert_eq!((metrics.status, metrics.body.as_str()), (200, "handover_test 1\n"));
}

#[tokio::test]
async fn without_the_whole_token_nothing_is_told_or_done() {
    let stage = Stage::new().await;
    let service = Service::of(&stage.identity).await;
    let gate = r#"{"kind":"x","lease_ms":1,"max_request_ms":1}"#;
    for (method, path, body) in [
        ("GET", "/v1/users/1", ""),
        ("POST", "/v1/users", r#"{"users":["1"]}"#),
        ("POST", "/v1/enrol", r#"{"user":"1","migrations":["m"]}"#),
        ("PUT", "/v1/gates/g", gate),
        ("DELETE", "/v1/gates/g", ""),
        ("GET", "/metrics", ""),
    ] {
        for token in ["", "s3cre", "s3cret2", "S3CRET"] {
            let refused = service.ask_with(token, method, path, body).await;
            assert_eq!((refused.status, refused.code().as_str()), (401, "unauthorised"), "{method} {path}");
            assert!(refused.head.contains("www-authenticate: bearer"), "{}", refused.head);
        }
        let none = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert_eq!(service.send(none.as_bytes()).await.status, 401, "{method} {path}");
    }
    assert!(!stage.truth().get(&names(["1"])).await.unwrap()[0].is_known());
    assert!(stage.truth().members().await.unwrap().is_empty());
    assert_eq!(service.ask("GET", "/metrics", "").await.status, 401, "it has a token of its own");
}

#[tokio::test]
async fn a_key_is_one_user_however_it_is_spelt() {
    let stage = Stage::new().await;
    let service = Service::of(&stage.identity).await;
    stage.identity.begin("m", &at(["42"], 1)).await.unwrap();
    for path in ["/v1/users/042", "/v1/users/%2042", "/v1/users/+42"] {
        let found = service.ask("GET", path, "").await.json();
        assert_eq!((&found["user"], &found["paused"]), (&json!("42"), &json!(true)), "{path}");
    }
    service.ask("POST", "/v1/enrol", r#"{"user":"007","migrations":["m"]}"#).await;
    assert!(stage.truth().get(&names(["7"])).await.unwrap()[0].is_known());
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_with_a_reason_and_the_service_goes_on() {
    let stage = Stage::new().await;
    let service = Service::of(&stage.identity).await;
    stage.identity.begin("m", &at(["1"], 1)).await.unwrap();
    stage.identity.begin("m", &at(["2"], 1)).await.unwrap();
    stage.identity.release("m", &at(["2"], 1)).await.unwrap();
    let many = serde_json::to_string(&json!({ "users": vec!["1"; 1001] })).unwrap();
    let long_gate = r#"{"kind":"x","lease_ms":50000,"max_request_ms":10000}"#;
    let huge_gate = r#"{"kind":"x","lease_ms":18446744073709551615,"max_request_ms":18446744073709551615}"#;
    for (method, path, body, status, code) in [
        ("GET", "/v1/users/x", "", 422, "bad_user"),
        ("GET", "/v1/users/%FF", "", 400, "bad_path"),
        ("GET", "/v1/users/1?trust=me", "", 400, "bad_query"),
        ("GET", "/v1/users/1?x=1", "", 400, "bad_query"),
        ("GET", "/v1/nothing", "", 404, "not_found"),
        ("GET", "/", "", 404, "not_found"),
        ("PUT", "/v1/users/1", "", 405, "bad_method"),
        ("GET", "/v1/enrol", "", 405, "bad_method"),
        ("POST", "/v1/users", "", 400, "bad_json"),
        ("POST", "/v1/users", "{", 400, "bad_json"),
        ("POST", "/v1/users", r#"{"users":"1"}"#, 400, "bad_json"),
        ("POST", "/v1/users", r#"{"users":[1]}"#, 400, "bad_json"),
        ("POST", "/v1/users", r#"{"users":["1"],"trust":"me"}"#, 400, "bad_json"),
        ("POST", "/v1/users", r#"{"users":["1"],"fresh":true}"#, 400, "bad_json"),
        ("POST", "/v1/users", r#"{"users":["1"]} x"#, 400, "bad_json"),
        ("POST", "/v1/users", &many, 422, "too_many"),
        ("POST", "/v1/users", r#"{"users":["1","x"]}"#, 422, "bad_user"),
        ("POST", "/v1/enrol", r#"{"user":"3","migrations":[]}"#, 422, "bad_migration"),
        ("POST", "/v1/enrol", r#"{"user":"3","migrations":["a b"]}"#, 422, "bad_migration"),
        ("POST", "/v1/enrol", r#"{"user":"1","migrations":["m"]}"#, 409, "paused"),
        ("POST", "/v1/enrol", r#"{"user":"2","migrations":["m"]}"#, 409, "known_on_legacy"),
        ("PUT", "/v1/gates/g", "{}", 400, "bad_json"),
        ("PUT", "/v1/gates/g", r#"{"kind":"x","lease_ms":-1,"max_request_ms":1}"#, 400, "bad_json"),
        ("PUT", "/v1/gates/g", r#"{"kind":"x","lease_ms":0,"max_request_ms":1}"#, 422, "bad_gate"),
        ("PUT", "/v1/gates/a%20b", r#"{"kind":"x","lease_ms":1,"max_request_ms":1}"#, 422, "bad_gate"),
        ("PUT", "/v1/gates/g", long_gate, 422, "bad_gate"),
        ("PUT", "/v1/gates/g", huge_gate, 422, "bad_gate"),
        ("DELETE", "/v1/gates/%00", "", 422, "bad_gate"),
    ] {
        let refused = service.ask(method, path, body).await;
        assert_eq!((refused.status, refused.code().as_str()), (status, code), "{method} {path} {body:.60}");
    }
    let form = b"POST /v1/users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cret\r\nConnection: close\r\n\
        Content-Type: text/plain\r\nContent-Length: 13\r\n\r\n{\"users\":[]} ";
    assert_eq!(service.send(form).await.status, 415);
    assert_eq!(service.ask("GET", "/v1/users/1", "").await.status, 200);
}

#[tokio::test]
async fn malformed_http_and_too_much_of_it_are_refused() {
    let stage = Stage::new().await;
    let service = Service::of(&stage.identity).await;
    assert_eq!(service.send(b"\x16\x03\x01 hello\r\n\r\n").await.status, 400);
    assert_eq!(service.send(b"GET /healthz HTTP/1.1\r\nno colon here\r\n\r\n").await.status, 400);
    let both = b"POST /v1/users HTTP/1.1\r\nHost: x\r\nContent-Length: nonsense\r\n\r\n";
    assert_eq!(service.send(both).await.status, 400);

    let wide = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Wide: {}\r\n\r\n", "x".repeat(20_000));
    assert_eq!(service.send(wide.as_bytes()).await.status, 431);
    let many = "X-More: x\r\n".repeat(100);
    let many = format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{many}\r\n");
    assert_eq!(service.send(many.as_bytes()).await.status, 431);

    let head = "POST /v1/users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cret\r\n\
        Content-Type: application/json\r\n";
    let told = format!("{head}Content-Length: 600000\r\n\r\n{}", "x".repeat(600_000));
    assert_eq!(service.send(told.as_bytes()).await.status, 413);
    let chunk = format!("{:x}\r\n{}\r\n", 600_000, "x".repeat(600_000));
    let untold = format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n");
    assert_eq!(service.send(untold.as_bytes()).await.status, 413);
    let garbled = format!("{head}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\nxyz\r\n");
    assert_eq!(service.send(garbled.as_bytes()).await.status, 400);
    assert_eq!(service.ask("GET", "/healthz", "").await.status, 200);
}

#[tokio::test]
async fn a_client_that_dawdles_is_sent_away() {
    let stage = Stage::new().await;
    let service = Service::of(&stage.identity).await;
    let begun = Instant::now();
    let headers = async {
        let mut stream = service.connect().await;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost").await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    };
    let body = service.send(
        b"POST /v1/users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cret\r\n\
          Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{\"users\":",
    );
    let both = async { tokio::join!(headers, body) };
    let ((), body) = tokio::time::timeout(Duration::from_secs(20), both).await.expect("both are sent away");
    assert_eq!((body.status, body.code().as_str()), (408, "too_slow"));
    assert!(begun.elapsed() > Duration::from_secs(2), "not at once: {:?}", begun.elapsed());
}

#[tokio::test]
async fn the_mirror_answers_while_it_may_be_believed_and_else_the_truth_which_fills_it() {
    let stage = Stage::new().await;
    let service = Service::of(&stage.identity).await;
    let revision = async |path: &str| service.ask("GET", path, "").await.json()["revision"].clone();
    stage.identity.begin("m", &at(["1"], 1)).await.unwrap();
    // Unlike the truth, so that it shows which of them answered.
    stage.set_field("1", "r9 m=migrated").await;

    assert_eq!(revision("/v1/users/1").await, 1, "`!ready` is absent");
    let past = std::time::SystemTime::now() - Duration::from_secs(1);
    let run_id = stage.mirror().run_id().await.unwrap();
    stage.mirror().renew_ready(&run_id, past).await.unwrap();
    assert_eq!(revision("/v1/users/1").await, 1, "`!ready` has passed");
    let soon = std::time::SystemTime::now() + SKEW / 2;
    stage.mirror().renew_ready(&run_id, soon).await.unwrap();
    assert_eq!(revision("/v1/users/1").await, 1, "`!ready` ends within the difference of clocks");
    stage.set_field("!ready", "nonsense").await;
    assert_eq!(revision("/v1/users/1").await, 1, "`!ready` is garbled");

    stage.delete_keys().await;
    believe(&stage).await;
    stage.set_field("1", "r9 m=migrated").await;
    assert_eq!(revision("/v1/users/1").await, 9);
    assert_eq!(revision("/v1/users/1?trust=mirror").await, 9);
    assert_eq!(revision("/v1/users/1?trust=truth").await, 1);
    let both = service.ask("POST", "/v1/users", r#"{"users":["1","2"]}"#).await.json();
    assert_eq!((&both["users"][0]["revision"], &both["users"][1]["revision"]), (&json!(9), &json!(0)));
    until_field_is(&stage, "2", "r0").await;

    stage.identity.begin("m", &at(["3"], 1)).await.unwrap();
    stage.set_field("3", "garbled").await;
    assert_eq!(revision("/v1/users/3").await, 1, "a field that cannot be read");
    until_field_is(&stage, "3", "r1 m=migrating").await;
}

#[tokio::test]
async fn without_redis_the_truth_answers_and_a_sign_up_says_that_the_mirror_was_not_told() {
    let stage = Stage::new().await;
    // Nobody listens on port 1.
    let identity = Identity::new(stage.truth().clone(), mirror_at("redis://127.0.0.1:1/", "x"));
    let service = Service::of(&identity).await;
    stage.truth().begin("m", &at(["1"], 1)).await.unwrap();
    let found = service.client().look_up("1", Trust::Mirror).await.unwrap();
    assert_eq!((found.paused, found.state("m")), (true, State::Migrating));
    let enrolled = service.client().enrol("2", &names(["m"])).await.unwrap();
    assert_eq!((enrolled.enrolled, enrolled.mirrored), (true, false));
    let ready = service.ask("GET", "/readyz", "").await;
    assert_eq!(ready.status, 200, "it can answer");
    assert!(ready.json()["checks"][1]["problem"].is_string(), "{ready:?}");
}

#[tokio::test]
async fn a_redis_that_hangs_costs_a_moment_once_and_not_at_each_request() {
    let stage = Stage::new().await;
    let hung = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://127.0.0.1:{}", hung.local_addr().unwrap().port());
    let identity = Identity::new(stage.truth().clone(), mirror_at(&url, "x"));
    let service = Service::of(&identity).await;
    service.ask("GET", "/v1/users/1", "").await;
    let begun = Instant::now();
    for _ in 0..3 {
        assert_eq!(service.ask("GET", "/v1/users/1", "").await.status, 200);
    }
    assert!(begun.elapsed() < Duration::from_millis(600), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn without_the_truth_there_is_no_answer_and_never_legacy() {
    let stage = Stage::new().await;
    let service = Service::of(&stage.identity).await;
    let session = stage.pool.get().await.unwrap();
    session.batch_execute("ALTER SCHEMA identity RENAME TO elsewhere").await.unwrap();
    let mut failed = service.ask("GET", "/v1/users/1?trust=truth", "").await;
    assert_eq!((failed.status, failed.code().as_str()), (503, "unavailable"));
    assert!(failed.head.contains("retry-after: 1"), "{}", failed.head);
    assert!(!failed.body.contains("relation"), "what the server said is for the log: {}", failed.body);
    failed = service.ask("GET", "/readyz", "").await;
    assert_eq!(failed.status, 503);
    let error = service.client().look_up("1", Trust::Truth).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}

#[tokio::test]
async fn the_client_speaks_for_a_gate_from_its_first_word_to_its_last() {
    let stage = Stage::new().await;
    let service = Service::of(&stage.identity).await;
    let client = service.client();
    client.register(&gate("g")).await.unwrap();
    assert!(client.seen(&gate("g")).await.unwrap(), "a member");
    let members = stage.truth().members().await.unwrap();
    assert_eq!((members.len(), members[0].term(), members[0].kind.as_str()), (1, LONG * 2, "layer"));
    client.sign_off("g").await.unwrap();
    client.sign_off("g").await.unwrap();
    assert!(stage.truth().members().await.unwrap().is_empty());
    assert!(!client.seen(&gate("g")).await.unwrap(), "it was none, and is one again");
    assert_eq!(stage.truth().members().await.unwrap().len(), 1);

    stage.identity.begin("m", &at(["5"], 1)).await.unwrap();
    let all = client.look_up_all(&names(["6", "05"]), Trust::Truth).await.unwrap();
    assert_eq!((all[0].revision, all[1].user.as_str(), all[1].paused), (0, "5", true));
    let refused = client.look_up("a/b?c", Trust::Mirror).await.unwrap_err();
    assert_eq!(refused, SourceError::Refused { status: 422, text: "no number".to_owned() });
    let refused = client.register(&Registration { id: "a b".to_owned(), ..gate("g") }).await.unwrap_err();
    assert!(matches!(refused, SourceError::Refused { status: 422, .. }), "{refused}");
}

#[tokio::test]
async fn the_client_tries_again_a_bounded_number_of_times() {
    let stage = Stage::new().await;
    let service = Service::of(&stage.identity).await;
    let target = service.port;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for _ in 0..2 {
            // Closed before it has answered.
            drop(listener.accept().await.unwrap());
        }
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
    });
    assert_eq!(client(port).look_up("1", Trust::Truth).await.unwrap().revision, 0);

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut options = ClientOptions::new(format!("http://{}", silent.local_addr().unwrap()));
    options.patience = Duration::from_millis(100);
    let begun = Instant::now();
    let error = IdentityClient::new(&options).unwrap().look_up("1", Trust::Truth).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(begun.elapsed() >= Duration::from_millis(300) && begun.elapsed() < Duration::from_secs(2));
    assert!(IdentityClient::new(&ClientOptions::new("127.0.0.1:7400")).is_err());
}

#[tokio::test]
async fn a_service_that_stops_finishes_what_it_has_begun() {
    let stage = Stage::new().await;
    let mut service = Service::of(&stage.identity).await;
    let mut slow = service.connect().await;
    let head = "POST /v1/users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cret\r\n\
        Content-Type: application/json\r\nContent-Length: 15\r\n\r\n";
    slow.write_all(head.as_bytes()).await.unwrap();
    // Answered on another connection after those bytes were there: the request has begun.
    service.ask("GET", "/healthz", "").await;
    drop(service.stop.take());
    slow.write_all(br#"{"users":["1"]}"#).await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    (&mut service.task).await.unwrap();
    assert!(TcpStream::connect(("127.0.0.1", service.port)).await.is_err());
}
