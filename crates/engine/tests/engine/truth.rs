//! Identity's truth when one request has to wait for another.

use std::time::Duration;

use anyhow::Result;
use handover_identity::{Restore, State};
use handover_sandbox::Server;

use crate::world::{MIGRATION, Setup, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_waits_for_the_pause_to_commit_ends_it() -> Result<()> {
    let world = World::new(Setup { users: 1, ..Setup::default() }).await?;
    world.completed(1).await?;
    let mut client = world.client(Server::Identity).await?;
    let pausing = client.transaction().await?;
    let begin =
        "UPDATE identity.users SET revision = revision + 1, open_migration = $1, open_state = 'rolling_back',
                        open_version = 2, paused_at = now()";
    pausing.execute(begin, &[&MIGRATION]).await?;

    let identity = world.engine.identity.clone();
    let users = [("1".to_owned(), 2)];
    let restoring = tokio::spawn(async move { identity.restore(MIGRATION, &users).await });
    let waits = "SELECT count(*) FROM pg_stat_activity
                  WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    while world.number(Server::Identity, waits).await? == 0 {
        ticks.tick().await;
    }
    pausing.commit().await?;
    assert_eq!(restoring.await??.outcomes, [Restore::Restored]);
    assert_eq!(world.state("1").await?, State::Migrated);
    Ok(())
}
