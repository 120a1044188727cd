//! Pauses as a gate lives them: drained, held, acknowledged, and under a lease.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use handover_gate::{Kind, Refusal, Side};

use crate::support::{LEASE, MIGRATION, REQUEST, Stage, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_the_request_in_flight_and_then_for_nothing() {
    let stage = Stage::new().await;
    let gate = stage.gate_with(Stage::settings(), &["1"]).await;
    let pass = gate.admit("1", Kind::Holdable).await.unwrap();
    assert_eq!(pass.side(MIGRATION), Side::Legacy);
    let position = stage.pause("1", 1).await;
    let (identity, began) = (stage.identity.clone(), Instant::now());
    let drain = tokio::spawn(async move {
        identity.drain(&["1".to_owned()], Some(&position), Duration::ZERO).await.unwrap()
    });
    until(async || gate.admit_now("1").is_none()).await;
    let held = tokio::spawn({
        let gate = gate.clone();
        async move { gate.admit("1", Kind::Holdable).await.map(|pass| pass.side(MIGRATION)) }
    });
    assert!(!pass.has_expired() && !drain.is_finished() && !held.is_finished());
    let released = began.elapsed();
    drop(pass);
    let drained = drain.await.unwrap();
    assert_eq!((drained.acknowledged, drained.silent), (1, 0));
    assert!(drained.waited >= released.saturating_sub(Duration::from_millis(50)));
    assert!(drained.waited < LEASE + REQUEST, "{:?}", drained.waited);
    stage.flip("1", 1).await;
    assert_eq!(held.await.unwrap(), Ok(Side::New));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_hears_nothing_stops_serving_from_its_cache_and_asks() {
    let stage = Stage::new().await;
    let gate = stage.gate_with(Stage::settings(), &["1"]).await;
    stage.stop_heart();
    let began = Instant::now();
    until(async || gate.admit_now("1").is_none()).await;
    assert!(began.elapsed() < LEASE * 2, "{:?}", began.elapsed());
    let before = stage.source.asked.load(Ordering::SeqCst);
    assert!(gate.admit("1", Kind::Holdable).await.is_ok());
    assert!(stage.source.asked.load(Ordering::SeqCst) > before);
    // And heard again.
    stage.beat();
    until(async || gate.admit_now("1").is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_gate_costs_a_pause_its_lease_and_longest_request() {
    let stage = Stage::new().await;
    let gate = stage.gate_with(Stage::settings(), &["1"]).await;
    // It holds on to its request for ever, as a stopped process does.
    let pass = gate.admit("1", Kind::Holdable).await.unwrap();
    let position = stage.pause("1", 1).await;
    let drained = stage.identity.drain(&["1".to_owned()], Some(&position), Duration::ZERO).await.unwrap();
    assert_eq!((drained.acknowledged, drained.silent), (0, 1));
    assert!(drained.waited >= LEASE + REQUEST);
    assert!(pass.has_expired(), "whatever it does from now on is not acknowledged");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_identity_everybody_is_treated_as_paused() {
    let stage = Stage::new().await;
    let mut settings = Stage::settings();
    settings.hold_for = Duration::from_millis(100);
    let gate = stage.gate_with(settings, &["1"]).await;
    stage.source.gone.store(true, Ordering::SeqCst);
    assert_eq!(gate.admit("unknown", Kind::Holdable).await.unwrap_err(), Refusal::Unknown);
    assert_eq!(gate.admit("unknown", Kind::Deferrable).await.unwrap_err(), Refusal::Unknown);
    assert!(gate.admit_now("1").is_some(), "the cache still holds");
    // Nobody hears that the gate is alive: it must not admit what nobody would wait for.
    until(async || gate.admit_now("1").is_none()).await;
    assert_eq!(gate.admit("1", Kind::Holdable).await.unwrap_err(), Refusal::Unknown);
    stage.source.gone.store(false, Ordering::SeqCst);
    until(async || gate.admit_now("1").is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_spelling_of_a_key_is_drained_under_the_right_one() {
    let stage = Stage::new().await;
    let gate = stage.gate_with(Stage::settings(), &["7"]).await;
    let pass = gate.admit("007", Kind::Holdable).await.unwrap();
    assert!(gate.admit_now("007").is_none(), "never cached under a name that no change bears");
    let position = stage.pause("7", 1).await;
    let (identity, users) = (stage.identity.clone(), ["7".to_owned()]);
    let drain = tokio::spawn(async move { identity.drain(&users, Some(&position), Duration::ZERO).await });
    until(async || gate.admit_now("7").is_none()).await;
    assert!(!drain.is_finished());
    drop(pass);
    assert_eq!(drain.await.unwrap().unwrap().acknowledged, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn waiters_are_bounded_and_let_go_when_the_pause_is_taken_back() {
    let stage = Stage::new().await;
    let mut settings = Stage::settings();
    settings.max_waiters_per_user = 2;
    let gate = stage.gate_with(settings, &["1"]).await;
    stage.pause("1", 1).await;
    until(async || gate.admit_now("1").is_none()).await;
    let hold = |gate: handover_gate::Gate| {
        tokio::spawn(async move {
            loop {
                match gate.admit("1", Kind::Holdable).await {
                    Err(Refusal::Crowded) => tokio::task::yield_now().await,
                    other => return other.map(|pass| pass.side(MIGRATION)),
                }
            }
        })
    };
    let held = [hold(gate.clone()), hold(gate.clone())];
    let moment = Duration::from_millis(20);
    let crowded = async || {
        let third = tokio::time::timeout(moment, gate.admit("1", Kind::Holdable)).await;
        matches!(third, Ok(Err(Refusal::Crowded)))
    };
    until(crowded).await;
    assert_eq!(gate.admit("1", Kind::Deferrable).await.unwrap_err(), Refusal::Paused);
    let began = Instant::now();
    stage.release("1", 1).await;
    for held in held {
        assert_eq!(held.await.unwrap(), Ok(Side::Legacy));
    }
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_closes_waits_for_its_requests_and_is_a_member_no_more() {
    let stage = Stage::new().await;
    let gate = stage.gate_with(Stage::settings(), &["1"]).await;
    let members = async || stage.identity.truth().members().await.unwrap().len();
    assert_eq!(members().await, 1);
    let pass = gate.admit("1", Kind::Holdable).await.unwrap();
    let closing = tokio::spawn({
        let gate = gate.clone();
        async move { gate.close().await }
    });
    until(async || gate.admit_now("1").is_none()).await;
    assert_eq!(members().await, 1, "something is in flight");
    drop(pass);
    closing.await.unwrap().unwrap();
    assert_eq!(members().await, 0);
}
