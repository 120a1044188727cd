//! Redis emptied again and again while users are moved to and fro and requests flow.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use handover_gate::{Gate, Kind, Side};
use handover_identity::Mirrored;

use crate::support::{MIGRATION, Stage};

const USERS: [&str; 4] = ["1", "2", "3", "4"];
const RUNS_FOR: Duration = Duration::from_secs(8);

/// Who owns a user, as the test itself keeps account: 0 legacy, 1 new, 2 neither, while the user is moved.
type Owners = HashMap<&'static str, AtomicU64>;

#[derive(Default)]
struct Tally {
    served: AtomicU64,
    wrong: AtomicU64,
    moved: AtomicU64,
    over: AtomicBool,
}

/// Requests of one user, one after the other: each must find the owner that the gate named, from its beginning to
/// its end, or be past its deadline.
async fn requests(gate: Gate, user: &'static str, owners: Arc<Owners>, tally: Arc<Tally>) {
    while !tally.over.load(Ordering::SeqCst) {
        let Ok(pass) = gate.admit(user, Kind::Holdable).await else { continue };
        let side = u64::from(pass.side(MIGRATION) == Side::New);
        let owns = || owners[user].load(Ordering::SeqCst) == side;
        let before = owns() || pass.has_expired();
        tokio::time::timeout(Duration::from_millis(fastrand()), std::future::pending::<()>())
            .await
            .expect_err("it never ends");
        let after = owns() || pass.has_expired();
        tally.served.fetch_add(1, Ordering::SeqCst);
        if !before || !after {
            tally.wrong.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Some milliseconds, not always the same.
fn fastrand() -> u64 {
    u64::from(Instant::now().elapsed().subsec_nanos() % 3)
}

/// Moves a user to and fro: pause, drain, change of owner, end of the pause.
async fn mover(stage: Arc<Stage>, user: &'static str, owners: Arc<Owners>, tally: Arc<Tally>) {
    let ids = [user.to_owned()];
    for version in 1.. {
        let home = owners[user].load(Ordering::SeqCst);
        let versions = [(user.to_owned(), version)];
        let position = loop {
            let mirrored = match home {
                0 => stage.identity.begin(MIGRATION, &versions).await.expect("identity answers").mirrored,
                _ => {
                    stage
                        .identity
                        .begin_rollback(MIGRATION, &versions)
                        .await
                        .expect("identity answers")
                        .mirrored
                }
            };
            if let Mirrored::Yes(position) = mirrored {
                break position;
            }
        };
        stage.identity.drain(&ids, position.as_ref(), Duration::ZERO).await.expect("identity answers");
        owners[user].store(2, Ordering::SeqCst);
        tokio::task::yield_now().await;
        owners[user].store(1 - home, Ordering::SeqCst);
        match home {
            0 => drop(stage.identity.flip(MIGRATION, &versions).await.expect("identity answers")),
            _ => drop(stage.identity.release(MIGRATION, &versions).await.expect("identity answers")),
        }
        tally.moved.fetch_add(1, Ordering::SeqCst);
        if tally.over.load(Ordering::SeqCst) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_never_sends_a_request_to_the_wrong_side() {
    let stage = Arc::new(Stage::new().await);
    let (one, two) =
        (stage.gate_with(Stage::settings(), &USERS).await, stage.gate_with(Stage::settings(), &USERS).await);
    let owners: Arc<Owners> = Arc::new(USERS.map(|user| (user, AtomicU64::new(0))).into_iter().collect());
    let tally = Arc::new(Tally::default());
    let mut tasks = tokio::task::JoinSet::new();
    for user in USERS {
        for gate in [&one, &two] {
            tasks.spawn(requests(gate.clone(), user, Arc::clone(&owners), Arc::clone(&tally)));
        }
        tasks.spawn(mover(Arc::clone(&stage), user, Arc::clone(&owners), Arc::clone(&tally)));
    }
    let began = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(700));
    while began.elapsed() < RUNS_FOR {
        ticks.tick().await;
        for key in ["identity", "changes"] {
            stage.delete(key).await;
        }
        stage.delete(&format!("gate:{}", one.id())).await;
    }
    tally.over.store(true, Ordering::SeqCst);
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    let read = |number: &AtomicU64| number.load(Ordering::SeqCst);
    assert_eq!(read(&tally.wrong), 0, "of {} requests", read(&tally.served));
    assert!(read(&tally.served) > 1_000, "{} requests", read(&tally.served));
    assert!(read(&tally.moved) > 8, "{} moves", read(&tally.moved));
}
