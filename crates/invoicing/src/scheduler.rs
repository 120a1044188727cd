//! Sends due reminders, wherever their users live. Any number of schedulers may run.
//!
//! Sending is a row in the side's own table of what was sent: a mailer would take it from there. That row and the
//! reminder's switch are written in one transaction at the user's home, under a job guard: see
//! [`legacy::send_due`].

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use handover_gate::{JobGuard, Side, Turn};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::failure::Failure;
use crate::home::Home;
use crate::{REMINDERS, legacy, new};

/// Users who are looked for at once, and for whom is sent at once.
const PAGE: i64 = 500;
const AT_ONCE: usize = 4;

/// Sends what is due every `tick`, until it is stopped.
pub(crate) async fn run(app: App, tick: Duration, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(tick);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        for side in [Side::Legacy, Side::New] {
            if let Err(error) = sweep(&app, side, &stop).await {
                tracing::warn!(%error, "due reminders are looked for again at the next tick");
            }
        }
    }
}

/// Goes through all users with reminders that look due on that side, in pages.
async fn sweep(app: &App, side: Side, stop: &CancellationToken) -> Result<(), Failure> {
    let mut after = 0;
    while !stop.is_cancelled() {
        let users = match side {
            Side::Legacy => legacy::users_with_due(&app.legacy, after, app.stale_after, PAGE).await?,
            Side::New => new::users_with_due(&app.new, after, app.stale_after, PAGE).await?,
        };
        let Some(last) = users.last() else { break };
        after = *last;
        stream::iter(users).for_each_concurrent(AT_ONCE, |user| turn(app, user, side)).await;
    }
    Ok(())
}

/// One user's turn. What was found on the side that the user has left stands there as it was at the move, and is
/// nobody's business any more; a paused user's turn comes at a later tick.
async fn turn(app: &App, user: i64, found_on: Side) {
    let Turn::Go(guard) = app.gate.job(&user.to_string()).await else { return };
    if guard.side(REMINDERS) != found_on {
        return;
    }
    match send(app, &guard, user).await {
        Ok(sent) if sent > 0 => tracing::info!(sent, "reminders are sent"),
        Ok(_) => {}
        // One user's trouble: the others' turns come all the same.
        Err(error) => tracing::warn!(%error, "a user's reminders are tried again at the next tick"),
    }
}

async fn send(app: &App, guard: &JobGuard, user: i64) -> Result<usize, Failure> {
    let mut home = Home::open(app, guard, REMINDERS).await?;
    let sent = home.send_due(user, app.stale_after).await?;
    home.commit().await?;
    Ok(sent.len())
}
