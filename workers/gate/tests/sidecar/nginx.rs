//! A real nginx with the configuration that the guide shows, before applications in Python and JavaScript.

use std::path::Path;
use std::time::Instant;

use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::client::{Answer, get, request, send};
use crate::programs::{Process, program};
use crate::stage::{HOLD, LEASE, REQUEST, Sidecar, Stage, TOKEN, until, waited_out};

const CONFIGURATION: &str = include_str!("../../../../config/nginx/handover-gate.conf");
const BROWSER: (&str, &str) = ("Accept", "text/html,application/xhtml+xml,*/*;q=0.8");

/// An application in another language.
pub(crate) async fn python(folder: &Path) -> (Process, u16) {
    application(Command::new(program("python3", "python3")), "app.py", folder).await
}

async fn node(folder: &Path) -> (Process, u16) {
    application(Command::new(program("node", "nodejs")), "app.js", folder).await
}

async fn application(mut command: Command, file: &str, folder: &Path) -> (Process, u16) {
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sidecar").join(file));
    let mut process = Process::start(command, &folder.join(format!("{file}.log")));
    process.says(" .").await;
    let port = process.word_after("listening ").parse().expect("a port");
    (process, port)
}

/// nginx with an application behind it.
pub(crate) struct Nginx {
    pub(crate) port: u16,
    process: Process,
    _application: Process,
}

/// A port that was free a moment ago.
async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("a bound port").port()
}

impl Nginx {
    /// With the configuration of the guide, but for addresses, the token, and times that are the test's.
    pub(crate) async fn before(
        (application, port): (Process, u16),
        sidecar: &Sidecar,
        folder: &Path,
    ) -> Self {
        let (outside, inside) = (free_port().await, free_port().await);
        let mut text = CONFIGURATION.to_owned();
        for (theirs, ours) in [
            ("server 127.0.0.1:7410;", format!("server 127.0.0.1:{};", sidecar.port)),
            ("server 127.0.0.1:8000;", format!("server 127.0.0.1:{port};")),
            ("listen 8080;", format!("listen 127.0.0.1:{outside};")),
            ("127.0.0.1:8081;", format!("127.0.0.1:{inside};")),
            ("CHANGE-ME", TOKEN.to_owned()),
            ("proxy_send_timeout 2s;", "proxy_send_timeout 300ms;".to_owned()),
            ("proxy_read_timeout 5s;", "proxy_read_timeout 800ms;".to_owned()),
        ] {
            assert!(text.contains(theirs), "{theirs}");
            text = text.replace(theirs, &ours);
        }
        let at = folder.display();
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let paths = kinds.map(|kind| format!("{kind}_temp_path {at}/{kind};\n")).concat();
        let whole = format!(
            "daemon off;\nuser root;\nworker_processes 2;\npid {at}/nginx.pid;\nerror_log stderr info;\n\
             events {{}}\nhttp {{\naccess_log off;\n{paths}{text}}}\n"
        );
        // Only root may say whom the workers run as, and only root needs to.
        let root = nix::unistd::Uid::effective().is_root();
        let whole = if root { whole } else { whole.replace("user root;\n", "") };
        let file = folder.join("nginx.conf");
        std::fs::write(&file, whole).expect("written");
        let mut command = Command::new(program("nginx", "nginx"));
        command.arg("-p").arg(folder).arg("-c").arg(&file);
        let mut process = Process::start(command, &folder.join("nginx.log"));
        process.says("start worker process").await;
        let started = Self { port: outside, process, _application: application };
        until(async || started.get("/health").await.status == 200).await;
        started
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        get(self.port, target, &[]).await
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Killed, its master would leave its workers behind.
        self.process.signal(Signal::SIGTERM);
    }
}

async fn sidecar(stage: &Stage) -> Sidecar {
    stage.sidecar("nginx", &["--user-path", "/users/{user}/"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_request_goes_on_with_the_side_and_a_clients_own_header_never_does() {
    let stage = Stage::new().await;
    let sidecar = sidecar(&stage).await;
    stage.moved("2").await;
    let nginx = Nginx::before(python(stage.folder.path()).await, &sidecar, stage.folder.path()).await;
    let smuggled = [
        ("handover-side-invoice-reminders", "new"),
        ("handover_side_invoice_reminders", "new"),
        ("handover-user", "2"),
        ("handover-permit", "x"),
        ("handover-deadline", "99999999999999"),
    ];
    let legacy = get(nginx.port, "/users/1/reminders?x=y", &smuggled).await.json();
    assert_eq!((legacy["side"].as_str(), legacy["user"].as_str()), (Some("legacy"), Some("1")));
    assert!(legacy["headers"].get("handover_side_invoice_reminders").is_none(), "{legacy}");
    assert!(legacy["headers"].get("handover-permit").is_none(), "{legacy}");
    let deadline: f64 = legacy["headers"]["handover-deadline"].as_str().unwrap().parse().unwrap();
    let left = deadline / 1000.0 - legacy["at"].as_f64().unwrap();
    assert!(left > 0.0 && left <= REQUEST.as_secs_f64() + 0.01, "{left} s");
    assert_eq!(nginx.get("/users/2/reminders").await.json()["side"], "new");
    let nobodys = get(nginx.port, "/health", &smuggled).await.json();
    assert!(nobodys["side"].is_null() && nobodys["user"].is_null(), "{nobodys}");
    let body = "x".repeat(200_000);
    let post = send(nginx.port, request("POST", "/users/1/", &[], &body).as_bytes()).await.json();
    assert_eq!((post["method"].as_str(), post["body"].as_u64()), (Some("POST"), Some(200_000)));
    let chunked = "POST /users/1/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
                   5\r\nhello\r\n0\r\n\r\n";
    assert_eq!(send(nginx.port, chunked.as_bytes()).await.json()["body"], 5);
    // The application's own refusals are its own.
    for status in [403, 500] {
        let own = nginx.get(&format!("/users/1/?status={status}")).await;
        assert_eq!((own.status, own.json()["side"].as_str()), (status, Some("legacy")));
    }
    let unclear = nginx.get("/x/../users/1/").await;
    assert_eq!((unclear.status, unclear.problem().as_str()), (400, "user-unclear"));
    assert_eq!(nginx.get("/_handover_auth").await.status, 404, "not from outside");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_user_is_held_and_goes_on_to_the_new_home() {
    let stage = Stage::new().await;
    let sidecar = stage.sidecar("nginx", &["--user-path", "/users/{user}/", "--hold-for", "15s"]).await;
    let nginx = Nginx::before(node(stage.folder.path()).await, &sidecar, stage.folder.path()).await;
    assert_eq!(nginx.get("/users/1/").await.json()["side"], "legacy");
    let position = stage.pause("1", 1).await;
    let port = nginx.port;
    let held_request = tokio::spawn(async move { get(port, "/users/1/", &[]).await });
    stage.drain("1", position.as_ref()).await;
    assert!(!held_request.is_finished());
    stage.flip("1", 1).await;
    assert_eq!(held_request.await.unwrap().json()["side"], "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn past_hold_for_a_paused_user_gets_a_page_or_a_problem_with_an_address_to_poll() {
    let stage = Stage::new().await;
    let sidecar = sidecar(&stage).await;
    let nginx = Nginx::before(node(stage.folder.path()).await, &sidecar, stage.folder.path()).await;
    stage.pause("3", 1).await;
    let began = Instant::now();
    let problem = nginx.get("/users/3/").await;
    assert!(began.elapsed() >= HOLD);
    assert_eq!((problem.status, problem.problem().as_str()), (503, "user-paused"));
    assert!(problem.header("retry-after").is_some());
    let poll = problem.json()["poll"].as_str().unwrap().to_owned();
    assert_eq!(nginx.get(&poll).await.json()["paused"], true);
    let page = get(nginx.port, "/users/3/", &[BROWSER]).await;
    assert_eq!(page.status, 503);
    assert!(page.body.contains("const reload = true") && page.body.contains(&poll), "{page:?}");
    let form = send(nginx.port, request("POST", "/users/3/", &[BROWSER], "a=b").as_bytes()).await;
    assert!(form.status == 503 && form.body.contains("const reload = false"), "{form:?}");
    stage.flip("3", 1).await;
    until(async || nginx.get(&poll).await.json()["paused"] == false).await;
    assert_eq!(nginx.get("/users/3/").await.json()["side"], "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_pass_counts_for_max_request_and_no_longer() {
    let stage = Stage::new().await;
    let sidecar = sidecar(&stage).await;
    let nginx = Nginx::before(python(stage.folder.path()).await, &sidecar, stage.folder.path()).await;
    let began = Instant::now();
    assert_eq!(nginx.get("/users/1/").await.status, 200);
    let answered = Instant::now();
    let position = stage.pause("1", 1).await;
    let drained = stage.drain("1", position.as_ref()).await;
    assert_eq!((drained.acknowledged, drained.silent), (1, 0), "{drained:?}");
    assert!(began.elapsed() >= REQUEST, "{:?}", began.elapsed());
    assert!(answered.elapsed() < REQUEST + LEASE * 5, "{:?}", answered.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_is_too_slow_is_given_up_before_its_pass_ends() {
    let stage = Stage::new().await;
    let sidecar = stage.sidecar("nginx", &["--user-path", "/users/{user}/", "--max-request", "5s"]).await;
    let nginx = Nginx::before(python(stage.folder.path()).await, &sidecar, stage.folder.path()).await;
    let began = Instant::now();
    let slow = nginx.get("/users/1/?ms=8000").await;
    assert_eq!(slow.status, 504, "{slow:?}");
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_sidecar_nobody_is_served_and_a_new_one_takes_over_after_the_old_ones_lease() {
    let stage = Stage::new().await;
    let mut sidecar = sidecar(&stage).await;
    let nginx = Nginx::before(python(stage.folder.path()).await, &sidecar, stage.folder.path()).await;
    assert_eq!(nginx.get("/users/1/").await.json()["side"], "legacy");
    sidecar.process.signal(Signal::SIGKILL);
    sidecar.process.child.wait().await.unwrap();
    let gone = nginx.get("/users/1/").await;
    assert_eq!((gone.status, gone.problem().as_str()), (503, "user-unknown"));
    assert!(gone.header("retry-after").is_some());
    let position = stage.pause("1", 1).await;
    waited_out(stage.drain("1", position.as_ref()).await);
    stage.flip("1", 1).await;
    let address = format!("127.0.0.1:{}", sidecar.port);
    let _next = stage.sidecar("nginx", &["--user-path", "/users/{user}/", "--bind", &address]).await;
    until(async || nginx.get("/users/1/").await.status == 200).await;
    assert_eq!(nginx.get("/users/1/").await.json()["side"], "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_upload_is_asked_for_once_it_is_there_and_goes_where_its_user_is_then() {
    let stage = Stage::new().await;
    let sidecar = sidecar(&stage).await;
    let nginx = Nginx::before(python(stage.folder.path()).await, &sidecar, stage.folder.path()).await;
    assert_eq!(nginx.get("/users/1/").await.json()["side"], "legacy");
    let whole = request("POST", "/users/1/", &[], "0123456789");
    let (first, rest) = whole.split_at(whole.len() - 5);
    let mut stream = TcpStream::connect(("127.0.0.1", nginx.port)).await.expect("it listens");
    stream.write_all(first.as_bytes()).await.expect("it reads");
    // Moved while the upload is under way: nothing counts, and nothing was decided.
    stage.moved("1").await;
    stream.write_all(rest.as_bytes()).await.expect("it reads");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.expect("it answers");
    let answer = Answer::read(&bytes).json();
    assert_eq!((answer["side"].as_str(), answer["body"].as_u64()), (Some("new"), Some(10)));
}
