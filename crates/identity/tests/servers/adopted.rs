//! Two Redis servers that both answer, as a fail-over with a cut-off old master leaves them.

use std::time::Duration;

use handover_identity::{Identity, Mirrored};
use handover_sandbox::{Options, Sandbox};

use crate::support::{Stage, mirror_at};

const MIGRATION: &str = "invoices";

/// One truth; the second Identity's mirror is on a server of its own.
async fn two() -> (Stage, Identity, Sandbox) {
    let stage = Stage::new().await;
    let other =
        Sandbox::start(Options { replica: false, ..Options::default() }).await.expect("a second server");
    let promoted = Identity::new(stage.truth().clone(), mirror_at(&other.redis_url(), "promoted"));
    (stage, promoted, other)
}

async fn adopt(identity: &Identity) {
    let run_id = identity.mirror().run_id().await.expect("it answers");
    identity.adopt(&run_id).await.expect("adopted");
}

#[tokio::test]
async fn a_leader_that_was_cut_off_with_the_old_server_writes_no_heartbeat_there_any_more() {
    let (stage, promoted, _other) = two().await;
    let cut_off = &stage.identity;
    assert!(cut_off.heartbeat().await.unwrap().is_none(), "nothing was adopted yet");
    adopt(cut_off).await;
    let first = cut_off.heartbeat().await.unwrap().expect("it is the one");
    assert!(promoted.heartbeat().await.unwrap().is_none(), "it is not the one yet");
    adopt(&promoted).await;
    assert!(promoted.heartbeat().await.unwrap().is_some());
    assert!(cut_off.heartbeat().await.unwrap().is_none(), "it is the one no more");
    // And back again: who follows the stream there must not take it for unbroken.
    adopt(cut_off).await;
    let again = cut_off.heartbeat().await.unwrap().expect("it is the one again");
    assert_ne!(again.generation, first.generation);
    assert!(promoted.heartbeat().await.unwrap().is_none());
}

#[tokio::test]
async fn what_a_cut_off_server_acknowledges_is_not_mirrored_and_stays_in_the_outbox() {
    let (stage, promoted, _other) = two().await;
    adopt(&stage.identity).await;
    adopt(&promoted).await;
    let done = stage.identity.begin(MIGRATION, &[("7".to_owned(), 1)]).await.unwrap();
    assert!(matches!(done.mirrored, Mirrored::NotYet(_)), "{:?}", done.mirrored);
    assert!(stage.identity.flush_outbox(Duration::ZERO).await.is_err());
    assert_eq!(stage.truth().outbox().await.unwrap().rows, 1);
    assert_eq!(promoted.flush_outbox(Duration::ZERO).await.unwrap().batches, 1);
    let again = promoted.begin(MIGRATION, &[("7".to_owned(), 1)]).await.unwrap();
    assert!(matches!(again.mirrored, Mirrored::Yes(Some(_))), "{:?}", again.mirrored);
}

#[tokio::test]
async fn of_two_leaders_who_adopt_at_once_only_the_later_one_succeeds() {
    let (stage, promoted, _other) = two().await;
    adopt(&stage.identity).await;
    let run_ids =
        (stage.identity.mirror().run_id().await.unwrap(), promoted.mirror().run_id().await.unwrap());
    // Both have put their tokens in before either has waited its second; the old one names its own server anew.
    let token = "UPDATE identity.mirror SET run_id = '!somebody'";
    stage.pool.get().await.unwrap().batch_execute(token).await.unwrap();
    let (one, two) = tokio::join!(stage.identity.adopt(&run_ids.0), promoted.adopt(&run_ids.1));
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    let winner = if one.is_ok() { run_ids.0 } else { run_ids.1 };
    assert_eq!(stage.truth().mirror_server().await.unwrap(), Some(winner));
}
