//! A gate that a fail-over of Redis leaves behind with the old master, together with a reconciler that led there.

use std::time::Duration;

use handover_gate::{Kind, Refusal};
use handover_identity::{Identity, Mirror, MirrorOptions, Mirrored};
use handover_sandbox::{Options, Sandbox};
use secrecy::SecretString;

use crate::support::{LEASE, MIGRATION, REQUEST, Stage, until};

async fn adopt(identity: &Identity) {
    let run_id = identity.mirror().run_id().await.expect("it answers");
    identity.adopt(&run_id).await.expect("adopted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_on_a_cut_off_redis_does_not_keep_the_gates_there_under_a_lease() {
    let stage = Stage::new().await;
    stage.stop_heart();
    adopt(&stage.identity).await;
    // The leader on the old master: it goes on as it did, whatever happens elsewhere.
    let leader = stage.identity.clone();
    let beating = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(LEASE / 16);
        loop {
            ticks.tick().await;
            let _ = leader.heartbeat().await;
        }
    });
    let mut settings = Stage::settings();
    settings.hold_for = Duration::from_millis(50);
    let gate = stage.gate_with(settings, &["1"]).await;

    let promoted =
        Sandbox::start(Options { replica: false, ..Options::default() }).await.expect("a second server");
    let mut options = MirrorOptions::new(SecretString::from(promoted.redis_url()));
    options.prefix.clone_from(&stage.changes.prefix);
    let mirror = Mirror::new(&options).expect("the sandbox's URL");
    let identity = Identity::new(stage.identity.truth().clone(), mirror);
    adopt(&identity).await;
    let done = identity.begin(MIGRATION, &[("1".to_owned(), 1)]).await.expect("begun");
    let Mirrored::Yes(position) = done.mirrored else { panic!("{:?}", done.mirrored) };
    let drained =
        identity.drain(&["1".to_owned()], position.as_ref(), Duration::ZERO).await.expect("drained");
    assert_eq!((drained.acknowledged, drained.silent), (0, 1));
    assert!(drained.waited >= LEASE + REQUEST);
    // Its old master answers, and nothing there renews its lease: it asks, and is told of the pause.
    assert!(gate.admit_now("1").is_none());
    assert_eq!(gate.admit("1", Kind::Holdable).await.unwrap_err(), Refusal::Paused);
    // Heard again, it must not take the stream for unbroken, and is told of what it missed.
    identity.flip(MIGRATION, &[("1".to_owned(), 1)]).await.expect("flipped");
    adopt(&stage.identity).await;
    until(async || {
        gate.admit_now("1").is_some_and(|pass| pass.side(MIGRATION) == handover_gate::Side::New) || {
            drop(gate.admit("1", Kind::Deferrable).await);
            false
        }
    })
    .await;
    beating.abort();
}
