//! What all these tests ask in the end, and the users who are moved meanwhile.

use anyhow::{Context as _, Result, ensure};
use handover_identity::State;
use handover_sandbox::Server;
use handover_tests::{Fleet, Setup, World};
use handover_tracking::{CohortInfo, RetryOf, StatusCounts};
use serde_json::Value;

pub(crate) const REMINDERS: &str = "invoice-reminders";
/// Reminders a user.
pub(crate) const ROWS: i64 = 4;

/// What so many users with [`ROWS`] reminders each are made from.
pub(crate) fn setup(users: u64) -> Setup {
    Setup { users, rows_per_user: Some(ROWS as u32), max_paused: 30, ..Setup::default() }
}

/// Launches everybody as one cohort.
pub(crate) async fn launch(world: &World) -> Result<CohortInfo> {
    let users: Vec<String> = (1..=world.setup().users).map(|user| user.to_string()).collect();
    let names: Vec<&str> = users.iter().map(String::as_str).collect();
    world.launched(REMINDERS, "c", &names).await
}

pub(crate) async fn counts(world: &World, cohort: &CohortInfo) -> Result<StatusCounts> {
    Ok(world.engine.tracking.status(cohort).await?.users)
}

/// Waits until so many have completed, and others may be on their way.
pub(crate) async fn some(world: &World, fleet: &Fleet<'_>, cohort: &CohortInfo, many: i64) -> Result<()> {
    let what = format!("{many} have completed");
    fleet.until(&what, || async { Ok(counts(world, cohort).await?.completed >= many) }).await
}

/// Once the trouble is over: waits until everybody has completed, or failed with a reason, on legacy and unpaused;
/// those who failed are launched again, and complete. Returns how many had failed.
pub(crate) async fn all_move(world: &World, fleet: &Fleet<'_>, cohort: &CohortInfo) -> Result<i64> {
    let many = world.setup().users as i64;
    fleet
        .until("everybody has come to an end", || async {
            let now = counts(world, cohort).await?;
            Ok(now.completed + now.failed == many)
        })
        .await?;
    let failed = counts(world, cohort).await?.failed;
    for user in 1..=many {
        failed_safely(world, &user.to_string()).await?;
    }
    world.engine.tracking.retry(cohort, RetryOf::Failed, None).await?;
    some(world, fleet, cohort, many).await?;
    nothing_is_lost(world, many).await?;
    mirror_is_whole(world, fleet).await?;
    Ok(failed)
}

async fn failed_safely(world: &World, user: &str) -> Result<()> {
    if world.state(REMINDERS, user).await? != "failed" {
        return Ok(());
    }
    let reason = world.reason(REMINDERS, user).await?;
    ensure!(reason["kind"].is_string(), "user {user} failed without a reason: {reason}");
    ensure!(world.home(REMINDERS, user).await? == State::Legacy, "user {user} failed, and is not on legacy");
    ensure!(world.moved_reminders(user).await? == 0, "user {user} failed, and left rows: {reason}");
    Ok(())
}

/// Everybody has each row once, nobody is paused, and nothing is under way.
pub(crate) async fn nothing_is_lost(world: &World, many: i64) -> Result<()> {
    let whole = format!(
        "SELECT count(*) FROM (SELECT FROM reminders.reminder GROUP BY owner_id
          HAVING count(*) = {ROWS} AND count(DISTINCT legacy_id) = {ROWS}) AS whole"
    );
    ensure!(world.number(Server::Destination, &whole).await? == many, "rows were lost or doubled");
    let rows = world.number(Server::Destination, "SELECT count(*) FROM reminders.reminder").await?;
    ensure!(rows == many * ROWS, "{rows} rows for {many} users");
    is_quiet(world).await
}

/// Nobody is paused, and nothing is under way.
pub(crate) async fn is_quiet(world: &World) -> Result<()> {
    let paused = world.number(Server::Destination, "SELECT paused::int8 FROM handover.admission").await?;
    let open = world.number(Server::Destination, "SELECT count(*) FROM handover.open_attempt").await?;
    ensure!((paused, open) == (0, 0), "{paused} are paused, {open} under way");
    ensure!(world.engine.identity.paused().await?.is_empty(), "Identity has somebody paused");
    Ok(())
}

/// Waits until the mirror is equal to the truth, as `handover identity verify-mirror` finds it, and a copy is
/// found equal to its source by `handover audit`.
async fn mirror_is_whole(world: &World, fleet: &Fleet<'_>) -> Result<()> {
    fleet
        .until("the mirror is equal to the truth", || async {
            let ran = world.handover(&["--json", "identity", "verify-mirror"]).await?;
            let Some(found) = ran.out.lines().last() else { return Ok(false) };
            let found: Value = serde_json::from_str(found).with_context(|| format!("{ran:?}"))?;
            Ok(["missing", "stale", "wrong"].iter().all(|what| found[what] == 0))
        })
        .await?;
    let audited = world.handover(&["--json", "audit", "c"]).await?;
    ensure!(audited.code == 0, "the source is not what was moved: {audited:?}");
    Ok(())
}

/// Waits for an event at most so long: for trouble that lasts a stated time.
pub(crate) async fn at_most(millis: u64, event: impl Future<Output = ()>) {
    let _over = tokio::time::timeout(std::time::Duration::from_millis(millis), event).await;
}
