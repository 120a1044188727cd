//! Signals, to a process of its own: this test binary, started again to run one test only.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use handover_engine::{Outcome, StageName};
use handover_worker::{Driver, Lifecycle, Limits, Line, Worker};

use crate::support::*;

/// The child's redis; a child without it is an ordinary run of all tests.
const REDIS: &str = "HANDOVER_TEST_REDIS";
/// The child's deadline, in ms.
const DEADLINE_MS: &str = "HANDOVER_TEST_DEADLINE_MS";
/// What the child says once its first batch runs.
const RUNNING: &str = "\na batch runs\n";

/// Not a claim of its own: the process that the other tests send signals to.
#[test]
fn child() {
    let Ok(url) = std::env::var(REDIS) else { return };
    let deadline = Duration::from_millis(std::env::var(DEADLINE_MS).unwrap().parse().unwrap());
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let lifecycle = Lifecycle::new();
        lifecycle.listen(deadline).unwrap();
        let (step, mut runs) = Fake::new(|_| Outcome::Advance(StageName::Verify));
        let (step, hold) = step.held();
        let line = Arc::new(Line::new(target(&url)).unwrap());
        let limits = Limits { concurrency: 1, ..limits() };
        let worker = Arc::new(Worker::new(StageName::Copy, line, limits, lifecycle));
        let driver = tokio::spawn(Driver::new(step, worker).run());
        next(&mut runs).await;
        std::io::Write::write_all(&mut std::io::stdout(), RUNNING.as_bytes()).unwrap();
        // The parent lets the batch end by a line on standard input.
        std::thread::spawn(move || {
            let mut line = String::new();
            if std::io::stdin().read_line(&mut line).is_ok() && line.contains("end") {
                hold.add_permits(100);
            }
        });
        driver.await.unwrap();
    });
    std::process::exit(0);
}

/// Starts the child and returns once its first batch runs.
fn start(redis: &Redis, deadline: Duration) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "signals::child", "--nocapture"])
        .env(REDIS, redis.url())
        .env(DEADLINE_MS, deadline.as_millis().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == RUNNING.trim()), "the child has ended");
    child
}

async fn end(mut child: Child) -> ExitStatus {
    let waiting = tokio::task::spawn_blocking(move || child.wait().unwrap());
    within("the child exits", waiting).await.unwrap()
}

fn finish_batch(child: &mut Child) {
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"end\n").unwrap();
}

#[tokio::test]
async fn sigterm_finishes_what_runs_hands_back_the_rest_uncounted_and_exits_0() {
    for name in ["-TERM", "-INT"] {
        let redis = Redis::start();
        let queues = redis.queues();
        push(&queues, &[job("a", 1), job("b", 2)]).await;
        let mut child = start(&redis, Duration::from_mins(1));
        signal(child.id(), name);
        until("it says that it drains", async || {
            queues.workers().await.unwrap().iter().any(|worker| worker.facts["phase"] == "draining")
        })
        .await;
        finish_batch(&mut child);
        assert_eq!(end(child).await.code(), Some(0));
        assert_eq!(take(&queues, "verify").await, [(job("a", 1), 0)]);
        assert_eq!(take(&queues, STAGE).await, [(job("b", 2), 0)]);
        assert_eq!(queues.depth(STAGE).await.unwrap().inflight, 0);
        assert!(queues.workers().await.unwrap().is_empty(), "it has signed off");
    }
}

#[tokio::test]
async fn what_outlasts_the_deadline_is_cut_off_and_handed_back_uncounted() {
    let redis = Redis::start();
    let queues = redis.queues();
    push(&queues, &[job("a", 1), job("b", 2)]).await;
    let child = start(&redis, Duration::from_millis(100));
    signal(child.id(), "-TERM");
    assert_eq!(end(child).await.code(), Some(0));
    let mut left = take(&queues, STAGE).await;
    left.sort_by(|one, other| one.0.user.cmp(&other.0.user));
    assert_eq!(left, [(job("a", 1), 0), (job("b", 2), 0)]);
}

#[tokio::test]
async fn a_second_signal_ends_the_process_at_once_with_its_own_code() {
    for (name, code) in [("-TERM", 143), ("-INT", 130)] {
        let redis = Redis::start();
        let queues = redis.queues();
        push(&queues, &jobs(1)).await;
        let child = start(&redis, Duration::from_mins(1));
        signal(child.id(), "-TERM");
        until("it says that it drains", async || {
            queues.workers().await.unwrap().iter().any(|worker| worker.facts["phase"] == "draining")
        })
        .await;
        signal(child.id(), name);
        assert_eq!(end(child).await.code(), Some(code));
        // Nothing is lost: the job waits for its lease to end.
        assert_eq!(queues.depth(STAGE).await.unwrap().inflight, 1);
    }
}
