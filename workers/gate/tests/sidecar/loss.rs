//! Redis emptied, stopped, and restarted empty while requests flow through nginx and users are moved to and fro.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use handover_identity::Mirrored;
use handover_sandbox::Server;

use crate::client::get;
use crate::nginx::{Nginx, python};
use crate::stage::{MIGRATION, Stage};

const USERS: [&str; 4] = ["1", "2", "3", "4"];
const RUNS_FOR: Duration = Duration::from_secs(20);

/// Requests of a user that are served before the user is moved again.
const REQUESTS_BETWEEN: u64 = 20;
/// Answers that are older than so many seconds say nothing: their passes may have ended.
const NEWS: f64 = 0.4;

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs_f64()
}

/// A user's owner, as the test itself keeps account: 0 legacy, 1 new, 2 neither, while the user is moved; and how
/// many requests of the user were served.
#[derive(Default)]
struct Account {
    owner: AtomicU64,
    served: AtomicU64,
}

type Accounts = HashMap<&'static str, Account>;

#[derive(Default)]
struct Tally {
    served: AtomicU64,
    refused: AtomicU64,
    wrong: AtomicU64,
    moved: AtomicU64,
    over: AtomicBool,
}

/// Requests of one user, one after the other: when an answer arrives its pass still counts, so the user's owner must
/// be the side that served.
async fn requests(port: u16, user: &'static str, accounts: Arc<Accounts>, tally: Arc<Tally>) {
    while !tally.over.load(Ordering::SeqCst) {
        let answer = get(port, &format!("/users/{user}/"), &[]).await;
        let owner = accounts[user].owner.load(Ordering::SeqCst);
        if answer.status != 200 {
            assert!(matches!(answer.status, 503 | 504), "{answer:?}");
            tally.refused.fetch_add(1, Ordering::SeqCst);
            continue;
        }
        let told = answer.json();
        let age = now() - told["at"].as_f64().expect("a time");
        if age > NEWS {
            // This process was held up: the pass may have ended since.
            continue;
        }
        let side = match told["side"].as_str() {
            Some("legacy") => 0,
            Some("new") => 1,
            _ => 9,
        };
        tally.served.fetch_add(1, Ordering::SeqCst);
        accounts[user].served.fetch_add(1, Ordering::SeqCst);
        if side != owner {
            tally.wrong.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Moves a user to and fro: pause, drain, change of owner, end of the pause.
async fn mover(
    identity: handover_identity::Identity,
    user: &'static str,
    accounts: Arc<Accounts>,
    tally: Arc<Tally>,
) {
    let ids = [user.to_owned()];
    for version in 1.. {
        let home = accounts[user].owner.load(Ordering::SeqCst);
        let versions = [(user.to_owned(), version)];
        let position = loop {
            let mirrored = match home {
                0 => identity.begin(MIGRATION, &versions).await.expect("identity answers").mirrored,
                _ => identity.begin_rollback(MIGRATION, &versions).await.expect("identity answers").mirrored,
            };
            if let Mirrored::Yes(position) = mirrored {
                break position;
            }
            tokio::task::yield_now().await;
        };
        identity.drain(&ids, position.as_ref(), Duration::ZERO).await.expect("identity answers");
        accounts[user].owner.store(2, Ordering::SeqCst);
        tokio::task::yield_now().await;
        accounts[user].owner.store(1 - home, Ordering::SeqCst);
        match home {
            0 => drop(identity.flip(MIGRATION, &versions).await.expect("identity answers")),
            _ => drop(identity.release(MIGRATION, &versions).await.expect("identity answers")),
        }
        tally.moved.fetch_add(1, Ordering::SeqCst);
        let due = accounts[user].served.load(Ordering::SeqCst) + REQUESTS_BETWEEN;
        let over = || tally.over.load(Ordering::SeqCst);
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        while !over() && accounts[user].served.load(Ordering::SeqCst) < due {
            ticks.tick().await;
        }
        if over() {
            return;
        }
    }
}

/// Empties Redis, and stops and restarts it empty, in turn.
async fn trouble(stage: &mut Stage) {
    let began = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(900));
    let client = redis::Client::open(stage.redis_url()).expect("the sandbox's URL");
    for round in 0.. {
        ticks.tick().await;
        if began.elapsed() > RUNS_FOR {
            return;
        }
        if round % 4 < 2 {
            let Ok(mut redis) = client.get_multiplexed_async_connection().await else { continue };
            let _ = redis::cmd("FLUSHALL").exec_async(&mut redis).await;
            continue;
        }
        let sandbox = Arc::get_mut(&mut stage.sandbox).expect("nobody else has these servers");
        if round % 4 == 2 {
            sandbox.crash(Server::Redis);
        } else {
            sandbox.restart(Server::Redis).await.expect("it starts again");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_stopped_emptied_or_restarted_empty_never_sends_a_request_to_the_wrong_side() {
    let mut stage = Stage::alone().await;
    let sidecar = stage.sidecar("nginx", &["--user-path", "/users/{user}/"]).await;
    let nginx = Nginx::before(python(stage.folder.path()).await, &sidecar, stage.folder.path()).await;
    let accounts: Arc<Accounts> =
        Arc::new(USERS.map(|user| (user, Account::default())).into_iter().collect());
    let tally = Arc::new(Tally::default());
    let mut tasks = tokio::task::JoinSet::new();
    for user in USERS {
        for _ in 0..2 {
            tasks.spawn(requests(nginx.port, user, Arc::clone(&accounts), Arc::clone(&tally)));
        }
        tasks.spawn(mover(stage.identity.clone(), user, Arc::clone(&accounts), Arc::clone(&tally)));
    }
    trouble(&mut stage).await;
    let sandbox = Arc::get_mut(&mut stage.sandbox).expect("nobody else has these servers");
    sandbox.restart(Server::Redis).await.expect("it starts again");
    tally.over.store(true, Ordering::SeqCst);
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    let read = |number: &AtomicU64| number.load(Ordering::SeqCst);
    assert_eq!(read(&tally.wrong), 0, "of {} requests", read(&tally.served));
    assert!(read(&tally.served) > 200, "{} requests", read(&tally.served));
    assert!(read(&tally.moved) >= 8, "{} moves", read(&tally.moved));
    assert!(read(&tally.refused) < read(&tally.served), "{} refused", read(&tally.refused));
}
