//! Claims about throw-away servers, on real ones.
#![expect(clippy::print_stdout, reason = "processes of their own talk to their test by standard output")]

use handover_sandbox::{Error, Install, Options, Sandbox, Server, stop_kept, sweep};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio_postgres::{Client, NoTls};

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("connect");
    tokio::spawn(connection);
    client
}

async fn start() -> Sandbox {
    Sandbox::start(Options { install: Install::Never, ..Options::default() }).await.expect("start")
}

fn pids(sandbox: &Sandbox) -> Vec<u32> {
    Server::ALL.iter().filter_map(|server| sandbox.pid(*server)).collect()
}

/// A zombie whose new parent does not reap it is as good as gone.
fn is_running(pid: u32) -> bool {
    let output = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().expect("ps");
    let state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    !state.is_empty() && !state.starts_with('Z')
}

fn assert_no_trace(root: &Path, pids: &[u32]) {
    assert!(!pids.is_empty());
    assert!(!root.exists(), "{} is still there", root.display());
    for pid in pids {
        assert!(!is_running(*pid), "server {pid} still runs");
    }
}

#[tokio::test]
async fn two_sandboxes_start_side_by_side_and_leave_no_trace() {
    let begun = Instant::now();
    let (one, two) = tokio::join!(start(), start());
    eprintln!("two sandboxes side by side: {:?}", begun.elapsed());
    assert_ne!(one.legacy_url(), two.legacy_url());
    for sandbox in [one, two] {
        let (root, pids) = (sandbox.root().to_owned(), pids(&sandbox));
        assert_eq!(pids.len(), 5);
        for url in [sandbox.legacy_url(), sandbox.destination_url(), sandbox.identity_url()] {
            connect(&url).await.batch_execute("CREATE TABLE t (i int)").await.expect("write");
        }
        sandbox.stop().await;
        assert_no_trace(&root, &pids);
    }
}

#[tokio::test]
async fn dropping_a_sandbox_is_enough() {
    let begun = Instant::now();
    let sandbox = start().await;
    eprintln!("one sandbox: {:?}", begun.elapsed());
    let (root, pids) = (sandbox.root().to_owned(), pids(&sandbox));
    drop(sandbox);
    assert_no_trace(&root, &pids);
}

#[tokio::test]
async fn the_replica_is_a_streaming_standby_of_the_primary_and_of_nothing_else() {
    let sandbox = start().await;
    let system = "SELECT system_identifier::text FROM pg_control_system()";
    let mut identifiers = Vec::new();
    for server in [Server::Legacy, Server::Replica, Server::Destination] {
        let row = connect(sandbox.url(server)).await.query_one(system, &[]).await.expect("identifier");
        identifiers.push(row.get::<_, String>(0));
    }
    assert_eq!(identifiers[0], identifiers[1]);
    assert_ne!(identifiers[0], identifiers[2]);

    let primary = connect(&sandbox.legacy_url()).await;
    primary.batch_execute("CREATE TABLE seen (i int); INSERT INTO seen VALUES (42)").await.expect("write");
    let row = primary.query_one("SELECT pg_current_wal_flush_lsn()::text", &[]).await.expect("position");
    let written: String = row.get(0);
    let replica = connect(&sandbox.replica_url()).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    let replayed = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn";
    while !replica.query_one(replayed, &[&written]).await.expect("replayed").get::<_, bool>(0) {
        assert!(Instant::now() < deadline, "the write did not reach the replica");
    }
    let row = replica.query_one("SELECT i FROM seen", &[]).await.expect("read");
    assert_eq!(row.get::<_, i32>(0), 42);
    let refused = replica.batch_execute("INSERT INTO seen VALUES (1)").await.expect_err("a standby");
    assert_eq!(refused.code(), Some(&tokio_postgres::error::SqlState::READ_ONLY_SQL_TRANSACTION));
    sandbox.stop().await;
}

#[tokio::test]
async fn no_server_runs_as_root() {
    let sandbox = start().await;
    for pid in pids(&sandbox) {
        let output = Command::new("ps").args(["-o", "uid=", "-p", &pid.to_string()]).output().expect("ps");
        let uid = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert!(!uid.is_empty() && uid != "0", "server {pid} runs as uid {uid:?}");
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn databases_can_be_made_on_primaries_only() {
    let sandbox = start().await;
    for server in [Server::Legacy, Server::Destination, Server::Identity] {
        let url = sandbox.create_database(server, "fresh one").await.expect("create");
        let row = connect(&url).await.query_one("SELECT current_database()::text", &[]).await.expect("query");
        assert_eq!(row.get::<_, String>(0), "fresh one");
    }
    for server in [Server::Replica, Server::Redis] {
        let refused = sandbox.create_database(server, "fresh").await;
        assert!(matches!(refused, Err(Error::NoDatabases { .. })));
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn settings_and_durability_reach_the_servers() {
    let settings = vec![(Server::Destination, "work_mem".to_owned(), "7MB".to_owned())];
    let options = Options { durable: true, replica: false, settings, ..Options::default() };
    let sandbox = Sandbox::start(options).await.expect("start");
    assert_eq!(sandbox.replica_url(), sandbox.legacy_url());
    let destination = connect(&sandbox.destination_url()).await;
    for (setting, value) in [("work_mem", "7MB"), ("fsync", "on"), ("full_page_writes", "on")] {
        let row = destination.query_one(&format!("SHOW {setting}"), &[]).await.expect("show");
        assert_eq!(row.get::<_, String>(0), value, "{setting}");
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn kept_servers_outlive_their_sandbox_until_they_are_stopped() {
    let kept_url;
    let (root, pids) = {
        let sandbox = start().await;
        let pids = pids(&sandbox);
        kept_url = sandbox.destination_url();
        let kept = sandbox.keep().expect("keep");
        assert!(kept.stop.contains("kill -INT"));
        (kept.root, pids)
    };
    sweep();
    connect(&kept_url).await.batch_execute("SELECT 1").await.expect("still answers");
    stop_kept(&root).expect("stop");
    assert_no_trace(&root, &pids);
}

/// Not a test: the owner that the next test kills. It prints its folder and pids, then waits for the end.
#[tokio::test]
#[ignore = "run by another test, as a process of its own"]
async fn owner_process() {
    let sandbox = start().await;
    let pids: Vec<String> = pids(&sandbox).iter().map(u32::to_string).collect();
    println!("\nowner: {} {}", sandbox.root().display(), pids.join(" "));
    std::future::pending::<()>().await;
}

/// One of this file's ignored tests as a process of its own, and the words that it prints behind `label`.
/// Its output stays open with the last part: printing into a closed pipe would end it.
fn spawn_part(test: &str, label: &str, environment: &[(&str, String)]) -> (Child, Vec<String>, impl Sized) {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--ignored", "--exact", test, "--nocapture"])
        .envs(environment.iter().map(|(name, value)| (*name, value.as_str())))
        .stdout(Stdio::piped())
        .spawn()
        .expect("spawn");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let line = lines.find(|line| line.starts_with(label)).expect("its line");
    (child, line.split(' ').skip(1).map(str::to_owned).collect(), lines)
}

fn spawn_owner() -> (Child, PathBuf, Vec<u32>) {
    let (child, words, _) = spawn_part("owner_process", "owner: ", &[]);
    let pids = words[1..].iter().map(|pid| pid.parse().expect("pid")).collect();
    (child, PathBuf::from(&words[0]), pids)
}

#[test]
fn what_a_killed_owner_leaves_is_swept_and_a_living_owners_is_not() {
    let (mut dead, dead_root, dead_pids) = spawn_owner();
    let (mut alive, alive_root, alive_pids) = spawn_owner();
    dead.kill().expect("kill -9");
    dead.wait().expect("wait");
    // Another test's start may sweep it first: what counts is that nothing is left.
    sweep();
    assert_no_trace(&dead_root, &dead_pids);
    assert!(alive_root.exists());
    assert!(alive_pids.iter().all(|pid| is_running(*pid)));
    alive.kill().expect("kill -9");
    alive.wait().expect("wait");
    sweep();
    assert_no_trace(&alive_root, &alive_pids);
}

/// Not a test: starts a sandbox in an environment that names servers. It prints what it got, creates a
/// database, and stops.
#[tokio::test]
#[ignore = "run by another test, as a process of its own"]
async fn guest_process() {
    let sandbox = start().await;
    let own = sandbox.create_database(Server::Destination, "guest").await.expect("create");
    connect(&own).await.batch_execute("CREATE TABLE t (i int)").await.expect("write");
    let url = sandbox.destination_url();
    println!("\nguest: {url} {own} {}", pids(&sandbox).len());
    sandbox.stop().await;
}

#[tokio::test]
async fn a_server_from_the_environment_is_used_and_loses_only_our_databases() {
    let host = start().await;
    let url = host.create_database(Server::Destination, "theirs").await.expect("create");
    let databases = "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database";
    let client = connect(&url).await;
    let before: String = client.query_one(databases, &[]).await.expect("list").get(0);
    let given = [(Server::Destination.variable(), url.clone())];
    let (mut guest, words, _output) = spawn_part("guest_process", "guest: ", &given);
    assert!(guest.wait().expect("wait").success());
    assert_eq!(words[0], url);
    assert!(words[1].contains("/handover_test_") && words[1].ends_with("_guest"), "{}", words[1]);
    assert_eq!(words[2], "4", "the other servers were started");
    let after: String = client.query_one(databases, &[]).await.expect("list").get(0);
    assert_eq!(before, after);
    host.stop().await;
}

#[tokio::test]
async fn a_crashed_server_comes_back_with_its_data_where_it_was() {
    let mut sandbox = start().await;
    let url = sandbox.destination_url();
    connect(&url).await.batch_execute("CREATE TABLE t (i int); CHECKPOINT").await.expect("write");
    let before = sandbox.pid(Server::Destination);
    sandbox.crash(Server::Destination);
    assert_eq!(sandbox.pid(Server::Destination), None);
    assert!(tokio_postgres::connect(&url, NoTls).await.is_err());
    for server in [Server::Destination, Server::Redis] {
        sandbox.restart(server).await.expect("restart");
    }
    assert_eq!(sandbox.destination_url(), url);
    assert!(sandbox.pid(Server::Destination).is_some_and(|pid| Some(pid) != before));
    connect(&url).await.batch_execute("TABLE t").await.expect("its table");
    sandbox.stop().await;
}
