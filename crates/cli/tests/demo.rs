//! `handover demo` as it is started, with all of its processes, which lie beside it: users are moved while clients use
//! the application, and an interrupted demonstration leaves nothing behind.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_mins(1);

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_handover"));
    let inherited = std::env::vars_os().filter(|(name, _)| !name.to_string_lossy().starts_with("HANDOVER_"));
    command.env_clear().envs(inherited).current_dir(std::env::temp_dir()).arg("demo").args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn users_are_moved_while_clients_are_served() {
    let output = demo(&["--users", "60", "--traffic", "60", "--json"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&told["completed"], &told["rolled_back"]), (&60.into(), &20.into()), "{told}");
    for zero in ["failed", "digest_mismatches", "refused", "indeterminate", "stale"] {
        assert_eq!(told[zero], 0, "{zero}: {told}");
    }
    for some in ["acknowledged", "acknowledged_writes", "by_legacy", "by_new", "held"] {
        assert!(told[some].as_u64().unwrap() > 0, "{some}: {told}");
    }
    assert!(told["held_p99_ms"].as_f64().unwrap() > 0.0, "{told}");
}

/// The folder of the servers of the demonstration that runs as that process.
fn folder(child: &Child) -> Option<PathBuf> {
    let begins = format!("handover-sandbox-{}-", child.id());
    let entries =
        ["/tmp".into(), std::env::temp_dir()].into_iter().filter_map(|folder| std::fs::read_dir(folder).ok());
    let mut paths = entries.flatten().flatten().map(|entry| entry.path());
    paths.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&begins)))
}

/// The processes that are noted there, as pid and start time, which together are of one process only.
fn processes(folder: &std::path::Path) -> Vec<(i32, u64)> {
    let files = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    let noted = files.filter(|file| file.extension().is_some_and(|extension| extension == "pid"));
    let texts = noted.map(|file| std::fs::read_to_string(file).unwrap());
    let parse = |text: String| {
        let (pid, started) = text.trim().split_once('-')?;
        Some((pid.parse().ok()?, started.parse().ok()?))
    };
    texts.filter_map(parse).collect()
}

fn is_alive(pid: i32, started: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let same = fields.get(19).is_some_and(|field| field.parse() == Ok(started));
    same && fields.first() != Some(&"Z")
}

#[test]
#[cfg(target_os = "linux")]
fn an_interrupted_demonstration_leaves_no_process_and_no_file() {
    let mut child = demo(&["--users", "500"]).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let said: Vec<String> = lines.map_while(Result::ok).take_while(|line| line != "launching").collect();
    let folder = folder(&child).unwrap_or_else(|| panic!("it has a folder: {said:?}"));
    let running = processes(&folder);
    assert_eq!(running.len(), 15, "five servers, seven workers, three of the application: {said:?}");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let deadline = Instant::now() + PATIENCE;
    while running.iter().any(|(pid, started)| is_alive(*pid, *started)) {
        assert!(Instant::now() < deadline, "something still runs");
        std::thread::yield_now();
    }
    assert!(!folder.exists(), "its files are gone");
}
