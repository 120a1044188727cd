//! Every transition is a compare-and-set: it holds in its state and for its version, once, and nowhere else.

use handover_tracking::{Claim, Closing, Kind, OpenState, RetryOf, Tracking};
use serde_json::json;

use crate::support::{AMPLE, Bench, digest_of, users};

/// The transitions of a move that the stages make, by name.
const STEPS: [&str; 5] = ["admit", "fence", "copy", "verify", "complete"];

async fn step(bench: &Bench, name: &str, claims: &[Claim]) -> Vec<Claim> {
    let t = &bench.tracking;
    match name {
        "admit" => {
            let admission = t.admit(1, Kind::Move, claims, AMPLE).await.unwrap();
            admission.admitted.iter().map(handover_tracking::OpenAttempt::claim).collect()
        }
        "fence" => t.fenced(1, claims, "0/16", "s/1").await.unwrap(),
        "copy" => bench.copied(claims).await.unwrap(),
        "verify" => t.verified(1, claims).await.unwrap(),
        _ => bench.close(Closing::Completed, claims).await,
    }
}

#[tokio::test]
async fn each_step_holds_in_its_own_state_alone() {
    let bench = Bench::new().await;
    let states = [
        OpenState::Queued,
        OpenState::Pausing,
        OpenState::Copying,
        OpenState::Verifying,
        OpenState::Completing,
    ];
    for (nth, name) in STEPS.into_iter().enumerate() {
        // The users stand one in each state; the sixth is being taken back.
        bench.install().await;
        bench.launched("c", 6).await;
        let mut drawn = bench.draw(6).await;
        drawn.sort_by(|a, b| a.user.cmp(&b.user));
        for (claim, state) in drawn.iter().zip(states) {
            bench.bring(std::slice::from_ref(claim), state).await;
        }
        let failing = &drawn[5];
        assert!(bench.tracking.raise(1, failing, failing.version + 1, &json!({}), None).await.unwrap());
        let mut held = step(&bench, name, &drawn).await;
        held.sort_by(|a, b| a.user.cmp(&b.user));
        // A second admission of a user who is being paused is given the attempt again.
        let want = if name == "admit" { &drawn[0..2] } else { &drawn[nth..=nth] };
        assert_eq!(users(&held), users(want), "{name}");
        bench.assert_sound(name).await;
    }
}

#[tokio::test]
async fn a_claim_of_another_version_user_or_migration_moves_nothing() {
    let bench = Bench::new().await;
    bench.launched("c", 1).await;
    let claim = bench.draw(1).await.remove(0);
    let stale = [
        Claim { version: claim.version - 1, ..claim.clone() },
        Claim { version: claim.version + 1, ..claim.clone() },
        Claim { user: "nobody".to_owned(), version: claim.version },
    ];
    for (name, state) in STEPS.into_iter().zip([
        OpenState::Queued,
        OpenState::Pausing,
        OpenState::Copying,
        OpenState::Verifying,
        OpenState::Completing,
    ]) {
        assert_eq!(step(&bench, name, &stale).await, [], "{name}");
        assert_eq!(bench.copied_in(2, std::slice::from_ref(&claim)).await.unwrap(), []);
        let open = bench.tracking.open_of(1, &claim.user).await.unwrap().unwrap();
        assert_eq!((open.state, open.version), (state, claim.version), "{name}");
        let claims = std::slice::from_ref(&claim);
        assert_eq!(step(&bench, name, claims).await, claims, "{name}");
    }
    assert!(bench.tracking.open_of(1, &claim.user).await.unwrap().is_none());
    bench.assert_sound("the way").await;
}

#[tokio::test]
async fn a_step_that_is_repeated_holds_once() {
    let bench = Bench::new().await;
    bench.launched("c", 1).await;
    let claim = bench.draw(1).await;
    for name in STEPS {
        let twice = [claim[0].clone(), claim[0].clone()];
        assert_eq!(step(&bench, name, &twice).await.len(), if name == "admit" { 2 } else { 1 }, "{name}");
        if name != "admit" {
            assert_eq!(step(&bench, name, &claim).await, [], "{name} again");
        }
        bench.assert_sound(name).await;
    }
    assert_eq!(bench.paused().await, 0);
}

#[tokio::test]
async fn a_raise_shuts_out_every_later_step_of_the_old_version_and_keeps_the_first_reason() {
    for state in [OpenState::Queued, OpenState::Pausing, OpenState::Copying, OpenState::Completing] {
        let bench = Bench::new().await;
        let cohort = bench.launched("c", 1).await;
        let claim = bench.draw(1).await.remove(0);
        bench.bring(std::slice::from_ref(&claim), state).await;
        let t = &bench.tracking;
        let to = claim.version + 1;
        assert!(t.raise(1, &claim, to, &json!({ "message": "first" }), None).await.unwrap());
        assert!(t.raise(1, &claim, to, &json!({ "message": "second" }), Some(&[1])).await.unwrap());
        for name in STEPS {
            assert_eq!(step(&bench, name, std::slice::from_ref(&claim)).await, [], "{name} after a raise");
        }
        let raised = Claim { version: to, ..claim.clone() };
        let open = t.open(1, std::slice::from_ref(&raised)).await.unwrap().remove(0);
        assert_eq!(open.reason.unwrap()["message"], "first");
        assert_eq!((open.attempt, open.observed.as_deref()), (claim.version, Some([1].as_slice())));
        bench.assert_sound("a raise").await;
        let raised = std::slice::from_ref(&raised);
        assert_eq!(bench.close(Closing::Failed, raised).await, raised);
        assert_eq!(bench.close(Closing::Failed, raised).await, []);
        assert!(!t.raise(1, &claim, to, &json!({}), None).await.unwrap(), "it has ended");
        let record = t.user(&claim.user).await.unwrap().remove(0);
        assert_eq!((record.state.as_str(), record.version), ("failed", to));
        assert_eq!(record.attempts[0].reason.as_ref().unwrap()["message"], "first");
        bench.assert_sound("a failure").await;
        // The next attempt's number is above every one that was given out.
        assert_eq!(t.retry(&cohort, RetryOf::Failed, None).await.unwrap(), 1);
        assert_eq!(bench.draw(1).await[0].version, to + 1);
    }
}

#[tokio::test]
async fn a_raise_waits_for_a_copy_that_is_committing_and_then_finds_it() {
    let bench = Bench::new().await;
    bench.launched("c", 1).await;
    let claim = bench.draw(1).await.remove(0);
    bench.bring(std::slice::from_ref(&claim), OpenState::Copying).await;
    let mut session = bench.pool.get().await.unwrap();
    let transaction = session.transaction().await.unwrap();
    let copied = handover_tracking::Copied { claim: claim.clone(), digest: digest_of(&claim), rows: 1 };
    assert_eq!(Tracking::copied(&transaction, 1, &[copied]).await.unwrap().len(), 1);
    let (tracking, raised) = (bench.tracking.clone(), claim.clone());
    let raise = tokio::spawn(async move {
        tracking.raise(1, &raised, raised.version + 1, &json!({}), None).await.unwrap()
    });
    let waiting = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    let onlooker = bench.pool.get().await.unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !onlooker.query_one(waiting, &[]).await.unwrap().get::<_, bool>(0) {
        assert!(std::time::Instant::now() < deadline && !raise.is_finished(), "the raise did not wait");
        tokio::task::yield_now().await;
    }
    transaction.commit().await.unwrap();
    assert!(raise.await.unwrap());
    let open = bench.tracking.open_of(1, &claim.user).await.unwrap().unwrap();
    assert!(open.copied && open.state == OpenState::Failing && open.version == claim.version + 1);
}

#[tokio::test]
async fn a_copy_that_comes_after_a_raise_commits_nothing() {
    let bench = Bench::new().await;
    bench.launched("c", 2).await;
    let drawn = bench.draw(2).await;
    bench.bring(&drawn, OpenState::Copying).await;
    let (taken, other) = (&drawn[0], &drawn[1]);
    assert!(bench.tracking.raise(1, taken, taken.version + 1, &json!({}), None).await.unwrap());
    assert_eq!(
        bench.copied(&drawn).await.unwrap(),
        std::slice::from_ref(other),
        "the copy learns who still stands"
    );
    assert!(!bench.tracking.open_of(1, &taken.user).await.unwrap().unwrap().copied);
}

#[tokio::test]
async fn a_rollback_carries_the_digest_and_key_of_the_move_it_undoes() {
    let bench = Bench::new().await;
    let cohort = bench.launched("c", 1).await;
    let moved = bench.draw(1).await;
    let key = bench.tracking.open(1, &moved).await.unwrap().remove(0).key_block;
    bench.complete(&moved).await;
    assert_eq!(bench.tracking.request_rollback(&cohort, None).await.unwrap(), 1);
    let drawn = crate::support::claims(&bench.tracking.draw(Kind::Rollback, 9).await.unwrap());
    let open = bench.tracking.open(1, &drawn).await.unwrap().remove(0);
    assert_eq!(open.digest.as_deref(), Some(digest_of(&moved[0]).as_slice()));
    assert_eq!((open.key_block, open.kind), (key, Kind::Rollback));
    assert!(open.version > moved[0].version);
}

#[tokio::test]
async fn a_rollback_is_closed_as_done_only_once_it_has_removed_and_as_refused_only_before() {
    let bench = Bench::new().await;
    let cohort = bench.launched("c", 2).await;
    bench.complete(&bench.draw(2).await).await;
    bench.tracking.request_rollback(&cohort, None).await.unwrap();
    let drawn = crate::support::claims(&bench.tracking.draw(Kind::Rollback, 9).await.unwrap());
    bench.tracking.admit(1, Kind::Rollback, &drawn, AMPLE).await.unwrap();
    bench.assert_sound("an admitted rollback").await;
    let (back, stays) = (&drawn[..1], &drawn[1..]);
    assert_eq!(bench.close(Closing::RolledBack, &drawn).await, [], "nothing was removed");
    assert_eq!(bench.tracking.fenced(1, &drawn, "0/17", "s/1").await.unwrap().len(), 2);
    assert_eq!(bench.removed(back).await.unwrap(), back);
    assert_eq!(bench.removed(back).await.unwrap(), [], "once");
    assert_eq!(bench.tracking.fenced(1, back, "0/18", "s/1").await.unwrap(), [], "it is past its fence");
    assert_eq!(bench.tracking.requeue(1, back).await.unwrap(), [], "it can only go on");
    assert_eq!(bench.close(Closing::Refused, &drawn).await, stays);
    assert_eq!(bench.close(Closing::RolledBack, &drawn).await, back);
    let status = bench.tracking.status(&cohort).await.unwrap().users;
    assert_eq!((status.rolled_back, status.completed, status.total()), (1, 1, 2));
    bench.assert_sound("both ends").await;
    let outcomes: Vec<String> = bench.tracking.user(&stays[0].user).await.unwrap()[0]
        .attempts
        .iter()
        .map(|a| a.outcome.clone())
        .collect();
    assert_eq!(outcomes, ["refused", "completed"]);
}

#[tokio::test]
async fn a_move_cannot_be_closed_as_a_rollback_nor_a_rollback_raised_as_a_move() {
    let bench = Bench::new().await;
    let cohort = bench.launched("c", 1).await;
    let moved = bench.draw(1).await;
    assert_eq!(bench.close(Closing::Refused, &moved).await, []);
    bench.complete(&moved).await;
    bench.tracking.request_rollback(&cohort, None).await.unwrap();
    let drawn = crate::support::claims(&bench.tracking.draw(Kind::Rollback, 9).await.unwrap());
    let to = drawn[0].version + 1;
    assert!(!bench.tracking.raise(1, &drawn[0], to, &json!({}), None).await.unwrap());
    assert_eq!(bench.tracking.admit(1, Kind::Move, &drawn, AMPLE).await.unwrap().admitted.len(), 0);
    bench.assert_sound("refused steps").await;
}

#[tokio::test]
async fn a_user_whom_identity_cannot_pause_yet_waits_again_unpaused_under_the_same_version() {
    let bench = Bench::new().await;
    bench.launched("c", 1).await;
    let claim = bench.draw(1).await;
    bench.admit(&claim).await;
    assert_eq!(bench.paused().await, 1);
    assert_eq!(bench.tracking.requeue(1, &claim).await.unwrap(), claim);
    assert_eq!(bench.paused().await, 0);
    assert_eq!(bench.tracking.overdue(0, 9).await.unwrap().len(), 0, "who is not paused is not overdue");
    bench.admit(&claim).await;
    bench.assert_sound("a second admission").await;
}

#[tokio::test]
async fn a_skipped_user_keeps_why_and_cannot_be_skipped_once_fenced() {
    let bench = Bench::new().await;
    let cohort = bench.launched("c", 2).await;
    let drawn = bench.draw(2).await;
    bench.bring(&drawn[..1], OpenState::Copying).await;
    bench.admit(&drawn[1..]).await;
    let reason = Some(json!({ "message": "born on the new system" }));
    let ended: Vec<_> = drawn
        .iter()
        .map(|claim| handover_tracking::Ended {
            reason: reason.clone(),
            ..handover_tracking::Ended::of(claim.clone())
        })
        .collect();
    assert_eq!(bench.tracking.close(1, Closing::Skipped, &ended).await.unwrap(), drawn[1..]);
    let record = bench.tracking.user(&drawn[1].user).await.unwrap().remove(0);
    assert_eq!((record.state.as_str(), record.attempts[0].outcome.as_str()), ("skipped", "skipped"));
    assert_eq!(record.attempts[0].reason, reason);
    assert_eq!(bench.tracking.status(&cohort).await.unwrap().users.skipped, 1);
}

#[tokio::test]
async fn failing_attempts_are_found_however_many_others_stand_longer() {
    let bench = Bench::new().await;
    bench.launched("c", 30).await;
    let drawn = bench.draw(30).await;
    assert!(bench.tracking.raise(1, &drawn[29], drawn[29].version + 1, &json!({}), None).await.unwrap());
    let found = bench.tracking.failing(0, 5).await.unwrap();
    assert_eq!(found.iter().map(|(_, open)| open.user.as_str()).collect::<Vec<_>>(), [&drawn[29].user]);
    assert_eq!(bench.tracking.failing(60_000, 5).await.unwrap().len(), 0, "it is young");
}

#[tokio::test]
async fn key_blocks_are_secret_enough_to_differ_from_attempt_to_attempt() {
    let bench = Bench::new().await;
    let cohort = bench.launched("c", 50).await;
    let drawn = bench.draw(50).await;
    let mut blocks: Vec<Vec<u8>> =
        bench.tracking.open(1, &drawn).await.unwrap().into_iter().map(|open| open.key_block).collect();
    bench.fail(&drawn[..10]).await;
    bench.tracking.retry(&cohort, RetryOf::Failed, None).await.unwrap();
    let again = bench.draw(50).await;
    blocks.extend(bench.tracking.open(1, &again).await.unwrap().into_iter().map(|open| open.key_block));
    let all = blocks.len();
    blocks.sort();
    blocks.dedup();
    assert_eq!((blocks.len(), all), (60, 60));
}
