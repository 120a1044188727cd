//! What is between a commit and the mirror: lost connections, crashes, late writes.

use std::time::Duration;

use handover_identity::{Begin, Identity, Readiness, Renewal};

use crate::support::{Stage, Wire, at, mirror_at, port_of};

#[tokio::test]
async fn an_operation_is_mirrored_and_leaves_no_outbox_row() {
    let stage = Stage::new().await;
    let done = stage.identity.begin("m", &at(["a", "b"], 1)).await.unwrap();
    assert!(done.is_mirrored());
    assert_eq!(stage.outbox_rows().await, 0);
    assert_eq!(stage.field("a").await.as_deref(), Some("r1 m=migrating"));
}

#[tokio::test]
async fn while_the_mirror_is_down_the_truth_commits_and_the_outbox_keeps_it() {
    let stage = Stage::new().await;
    let port = port_of(&stage.redis_url);
    let wire = Wire::to(port).await;
    let prefix = stage.keys.identity().trim_end_matches(":identity").to_owned();
    let mirror = mirror_at(&format!("redis://127.0.0.1:{}", wire.port), &prefix);
    let identity = Identity::new(stage.truth().clone(), mirror);
    identity.begin("m", &at(["a"], 1)).await.unwrap();

    wire.cut();
    let done = identity.flip("m", &at(["a"], 1)).await.unwrap();
    assert!(!done.is_mirrored());
    identity.begin("m", &at(["b"], 1)).await.unwrap();
    assert_eq!(stage.outbox_rows().await, 2);
    assert_eq!(stage.field("a").await.as_deref(), Some("r1 m=migrating"));
    assert!(identity.flush_outbox(Duration::ZERO).await.is_err());
    assert_eq!(stage.outbox_rows().await, 2, "a failed flush forgets nothing");

    wire.lead_to(port);
    let flushed = loop {
        if let Ok(flushed) = identity.flush_outbox(Duration::ZERO).await {
            break flushed;
        }
    };
    assert_eq!((flushed.batches, flushed.users), (2, 2));
    assert_eq!(stage.outbox_rows().await, 0);
    assert_eq!(stage.field("a").await.as_deref(), Some("r2 m=migrated"));
    assert_eq!(stage.field("b").await.as_deref(), Some("r1 m=migrating"));
}

#[tokio::test]
async fn a_crash_between_commit_and_mirror_loses_nothing_and_the_current_row_is_told() {
    let stage = Stage::new().await;
    // The truth alone is what a program leaves that is killed right after the commit.
    stage.truth().begin("m", &at(["a"], 1)).await.unwrap();
    stage.identity.flip("m", &at(["a"], 1)).await.unwrap();
    assert_eq!(stage.outbox_rows().await, 1);
    stage.identity.flush_outbox(Duration::ZERO).await.unwrap();
    assert_eq!(stage.outbox_rows().await, 0);
    assert_eq!(stage.field("a").await.as_deref(), Some("r2 m=migrated"));
}

#[tokio::test]
async fn a_repeated_operation_mirrors_what_the_first_could_not() {
    let stage = Stage::new().await;
    stage.truth().begin("m", &at(["a"], 1)).await.unwrap();
    assert_eq!(stage.field("a").await, None);
    let again = stage.identity.begin("m", &at(["a"], 1)).await.unwrap();
    assert_eq!(again.outcomes, vec![Begin::AlreadyBegun]);
    assert!(again.is_mirrored());
    assert_eq!(stage.field("a").await.as_deref(), Some("r1 m=migrating"));
}

#[tokio::test]
async fn a_flush_leaves_batches_that_are_on_their_way() {
    let stage = Stage::new().await;
    stage.truth().begin("m", &at(["a"], 1)).await.unwrap();
    let flushed = stage.identity.flush_outbox(Duration::from_mins(1)).await.unwrap();
    assert_eq!(flushed.batches, 0);
    assert_eq!(stage.outbox_rows().await, 1);
}

#[tokio::test]
async fn ready_is_not_renewed_while_a_commit_waits_beyond_the_grace() {
    let stage = Stage::new().await;
    let identity = &stage.identity;
    let run_id = identity.mirror().run_id().await.unwrap();
    let second = Duration::from_secs(1);
    stage.truth().begin("m", &at(["a"], 1)).await.unwrap();
    let refused = identity.renew_ready(&run_id, second, Duration::ZERO).await.unwrap();
    assert!(matches!(refused, Readiness::Unmirrored { .. }));
    assert_eq!(stage.field("!ready").await, None);
    let graced = identity.renew_ready(&run_id, second, Duration::from_mins(1)).await.unwrap();
    assert_eq!(graced, Readiness::Asked(Renewal::First));
    identity.flush_outbox(Duration::ZERO).await.unwrap();
    let renewed = identity.renew_ready(&run_id, second, Duration::ZERO).await.unwrap();
    assert_eq!(renewed, Readiness::Asked(Renewal::Renewed));
}

#[tokio::test]
async fn every_outbox_row_is_mirrored_though_programs_die_and_flush_in_any_order() {
    let stage = Stage::new().await;
    for round in 0..20_i64 {
        let users: Vec<(String, i64)> = (0..50).map(|user| (format!("u{user}"), round + 1)).collect();
        if round % 3 == 0 {
            stage.truth().begin("m", &users).await.unwrap();
        } else {
            stage.identity.begin("m", &users).await.unwrap();
        }
        stage.truth().release("m", &users[..25]).await.unwrap();
        stage.identity.release("m", &users[25..]).await.unwrap();
        if round % 4 == 0 {
            let (one, two) = tokio::join!(
                stage.identity.flush_outbox(Duration::ZERO),
                stage.identity.flush_outbox(Duration::ZERO)
            );
            one.unwrap();
            two.unwrap();
        }
    }
    stage.identity.flush_outbox(Duration::ZERO).await.unwrap();
    assert_eq!(stage.outbox_rows().await, 0);
    assert!(stage.identity.verify_mirror().await.unwrap().is_equal());
}
