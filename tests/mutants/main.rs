//! Mutants of the pause protocol: for each safeguard that is taken away, a schedule of events under which an
//! acknowledged write is lost, and the same schedule with the safeguard, under which none is. The ledger judges both,
//! so that it is proven as well: it must find what is wrong, and nothing where nothing is.
//!
//! Nothing here is left to luck: stages, gates and handlers stand still at named points until the schedule lets
//! them go on. A mutant is of the whole process, so these tests have a binary of their own and take turns in it.

mod play;
mod schedules;

use anyhow::{Result, ensure};
use handover_fault::Mutant;
use handover_ledger::check::Verdict;

use play::Play;

/// Plays a schedule as it is, and once more without the safeguard.
async fn caught(mutant: Mutant, schedule: impl AsyncFn(&Play) -> Result<()>) -> Result<()> {
    let right = Box::pin(run(None, &schedule)).await?;
    ensure!(right.acknowledged > 0, "{mutant}: without an acknowledged write nothing is proven: {right:?}");
    ensure!(right.balances(), "{mutant}: the schedule fails with the safeguard in place: {right:?}");
    let wrong = Box::pin(run(Some(mutant), &schedule)).await?;
    ensure!(wrong.acknowledged > 0, "{mutant}: nothing was acknowledged: {wrong:?}");
    ensure!(!wrong.balances() && wrong.lost == 1, "{mutant} was not caught: {wrong:?}");
    Ok(())
}

async fn run(mutant: Option<Mutant>, schedule: &impl AsyncFn(&Play) -> Result<()>) -> Result<Verdict> {
    let play = Play::new(mutant).await?;
    let within = tokio::time::timeout(handover_tests::PATIENCE, Box::pin(schedule(&play)));
    within.await.map_err(|_| anyhow::anyhow!("the schedule stands still, with the mutant {mutant:?}"))??;
    play.verdict().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_drain_a_write_in_flight_is_lost() -> Result<()> {
    caught(Mutant::NoDrain, schedules::no_drain).await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_position_taken_before_the_drain_a_write_of_the_drain_is_lost() -> Result<()> {
    caught(Mutant::PositionBeforeDrain, schedules::position_before_drain).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_lease_a_gate_that_hears_nothing_serves_the_old_home() -> Result<()> {
    caught(Mutant::NoLease, schedules::no_lease).await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_mirror_told_before_the_truth_a_gate_learns_the_old_state_behind_the_pause() -> Result<()> {
    caught(Mutant::MirrorBeforeTruth, schedules::mirror_before_truth).await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_members_read_from_an_emptied_redis_nobody_is_waited_for() -> Result<()> {
    caught(Mutant::MembersFromRedis, schedules::members_from_redis).await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_lease_that_any_answer_renews_a_cut_off_master_keeps_its_gates_at_the_old_home() -> Result<()>
{
    caught(Mutant::PingRenews, schedules::ping_renews).await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_answers_after_the_permits_end_a_write_that_came_late_is_acknowledged() -> Result<()> {
    caught(Mutant::AnswerAfterPermit, schedules::answer_after_permit).await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_absent_read_as_legacy_a_user_who_has_moved_writes_to_the_old_home() -> Result<()> {
    caught(Mutant::AbsentIsLegacy, schedules::absent_is_legacy).await
}

/// The verify stage's second look at the source is a safeguard of its own behind the position's.
#[tokio::test(flavor = "multi_thread")]
async fn a_position_taken_too_early_is_found_by_the_source_recheck() -> Result<()> {
    let mut play = Play::new(Some(Mutant::PositionBeforeDrain)).await?;
    play.recheck_source();
    schedules::position_before_drain(&play).await?;
    ensure!(play.state().await? == "failed", "{}", play.state().await?);
    let verdict = play.verdict().await?;
    ensure!(verdict.acknowledged == 1 && verdict.balances(), "{verdict:?}");
    Ok(())
}
