//! The schedules, each of which ends with the user on the new system. What they wait for are events: a point that
//! is reached, an answer, the end of the move.

use std::time::Duration;

use anyhow::Result;
use handover_gate::Side;
use handover_identity::{LookUps, State, Trust};
use handover_sandbox::{Options, Sandbox};
use handover_tests::until;

use crate::play::{MIGRATION, Play, USER};

/// A lease that is waited for to its end, and the longest request under it.
const SHORT: (Duration, Duration) = (Duration::from_millis(800), Duration::from_millis(600));
/// A lease and a longest request that no schedule comes to the end of.
const LONG: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(30));

/// A request is admitted on legacy and stands before its write. The user is moved. The write is let go as soon as
/// the drain waits for it, or the move is over.
pub(crate) async fn no_drain(play: &Play) -> Result<()> {
    let gate = play.warm(LONG.0, LONG.1).await?;
    let (writes, waits) = (play.scope.hold("app.writes"), play.scope.hold("drain.waits"));
    let answer = play.ask(&gate);
    writes.reached().await;
    let moving = play.moves();
    moving.reaches(&waits).await;
    writes.release();
    answer.await??;
    waits.release();
    moving.ends().await
}

/// The replica stands still from the position on, or from the drain on, if this comes first; a request writes
/// during the drain. The replica goes on once a position that comes after the drain is taken, or the move is over.
pub(crate) async fn position_before_drain(play: &Play) -> Result<()> {
    let gate = play.warm(LONG.0, LONG.1).await?;
    let (writes, waits) = (play.scope.hold("app.writes"), play.scope.hold("drain.waits"));
    let positioned = play.scope.hold("pause.positioned");
    let answer = play.ask(&gate);
    writes.reached().await;
    let moving = play.moves();
    let early = tokio::select! {
        () = positioned.reached() => true,
        () = waits.reached() => false,
    };
    play.freeze_replica().await?;
    let late = if early {
        positioned.release();
        waits.reached().await;
        None
    } else {
        Some(positioned)
    };
    writes.release();
    answer.await??;
    waits.release();
    match late {
        Some(positioned) => positioned.reached().await,
        // Read at the early position; what the verify stage looks at again must come from behind the write.
        None if play.world.engine.options.recheck_source => copied(play).await?,
        None => drop(moving.reaches(&play.scope.hold("never")).await),
    }
    play.thaw_replica().await?;
    moving.ends().await
}

/// Waits until the copy has committed.
async fn copied(play: &Play) -> Result<()> {
    until("the user's rows are copied", || async { Ok(play.world.moved_reminders(USER).await? > 0) }).await
}

/// A gate that has cached the user hears nothing more. The user is moved, the gate's whole term is waited for. Then
/// a request comes to it.
pub(crate) async fn no_lease(play: &Play) -> Result<()> {
    let gate = play.warm(SHORT.0, SHORT.1).await?;
    let reads = play.scope.hold("gate.reads");
    reads.reached().await;
    play.moves().ends().await?;
    play.ask(&gate).await??;
    reads.release();
    Ok(())
}

/// Between the two writes that tell of a pause, a gate begins and asks for the user. Once the pause has drained, a
/// request comes to that gate; if it is let through, it writes after the move.
pub(crate) async fn mirror_before_truth(play: &Play) -> Result<()> {
    let between = play.scope.hold("identity.between");
    let moving = play.moves();
    between.reached().await;
    let gate = play.gate(LONG.0, LONG.1).await?;
    until("the gate knows of the user", || async {
        let admitted = gate.admit(USER, handover_gate::Kind::Deferrable).await;
        let paused = matches!(admitted, Err(handover_gate::Refusal::Paused));
        drop(admitted);
        Ok(paused || gate.admit_now(USER).is_some())
    })
    .await?;
    let positioned = play.scope.hold("pause.positioned");
    between.release();
    positioned.reached().await;
    let (writes, holds) = (play.scope.hold("app.writes"), play.scope.hold("gate.holds"));
    let answer = play.ask(&gate);
    tokio::select! {
        () = writes.reached() => {}
        () = holds.reached() => {}
    }
    holds.release();
    positioned.release();
    moving.ends().await?;
    writes.release();
    answer.await?
}

/// Redis is emptied between the mirror's word and the drain, and the gate is not quick enough to tell of itself again.
/// A request that it serves is let go as soon as the drain waits for it, or the move is over.
pub(crate) async fn members_from_redis(play: &Play) -> Result<()> {
    let gate = play.warm(LONG.0, LONG.1).await?;
    let (writes, tells) = (play.scope.hold("app.writes"), play.scope.hold("gate.tells"));
    let (begins, waits) = (play.scope.hold("drain.begins"), play.scope.hold("drain.waits"));
    let answer = play.ask(&gate);
    writes.reached().await;
    tells.reached().await;
    let moving = play.moves();
    begins.reached().await;
    play.empty_redis().await?;
    begins.release();
    let waited = moving.reaches(&waits).await;
    writes.release();
    answer.await??;
    waits.release();
    if waited {
        // Its word would be of another stream: only its end is quicker than its whole term.
        tells.release();
        gate.close().await?;
    }
    moving.ends().await
}

/// Redis fails over. The gate stays with the old master, which answers it and hears of nothing. The user is moved,
/// the gate's whole term is waited for. Then a request comes to it.
pub(crate) async fn ping_renews(play: &Play) -> Result<()> {
    let lease = Duration::from_secs(3);
    let gate = play.warm(lease, SHORT.1).await?;
    let promoted = Sandbox::start(Options { replica: false, ..Options::default() }).await?;
    let identity = play.failed_over(promoted.redis_url())?;
    play.beat(identity.mirror().clone());
    play.moves_by(identity).ends().await?;
    play.ask(&gate).await?
}

/// A request stands before its write, its gate is silent. The user is moved, the gate's whole term is waited for.
/// Then the handler goes on, if it is still there.
pub(crate) async fn answer_after_permit(play: &Play) -> Result<()> {
    let gate = play.warm(SHORT.0, SHORT.1).await?;
    let (writes, tells) = (play.scope.hold("app.writes"), play.scope.hold("gate.tells"));
    let late = play.ask(&gate);
    writes.reached().await;
    tells.reached().await;
    play.moves().ends().await?;
    writes.release();
    late.await??;
    tells.release();
    // What nobody was told of proves nothing alone: the next one is answered by the new home.
    play.ask(&gate).await?
}

/// A user who has moved is deleted from the mirror, which may be believed. An application asks Identity's service at
/// each request, and trusts the mirror.
pub(crate) async fn absent_is_legacy(play: &Play) -> Result<()> {
    play.moves().ends().await?;
    let identity = &play.world.engine.identity;
    let run_id = identity.mirror().run_id().await?;
    let minute = Duration::from_mins(1);
    identity.renew_ready(&run_id, minute, minute).await?;
    let mut redis = redis::Client::open(play.world.redis_url())?.get_multiplexed_async_connection().await?;
    redis::cmd("HDEL").arg(identity.mirror().keys().identity()).arg(USER).exec_async(&mut redis).await?;
    let look_ups = LookUps::new(identity.clone(), Duration::ZERO);
    let answers = look_ups.get(&[USER.to_owned()], Trust::Mirror).await?;
    let side = match answers[0].state(MIGRATION) {
        State::Migrated => Side::New,
        _ => Side::Legacy,
    };
    play.write_on(side).await
}
