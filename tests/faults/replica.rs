//! A replica that does not replay, is promoted, or is another system's.

use anyhow::Result;
use handover_sandbox::Server;
use handover_tests::{Fleet, PROGRAMS, Setup, World};

use crate::moving::{self, REMINDERS, all_move, counts, launch, some};

/// Pauses that end soon.
const SHORT: [(&str, &str); 6] = [
    ("PAUSE__MAX_PAUSE", "5s"),
    ("POSTGRES__STATEMENT_TIMEOUT", "3s"),
    ("POSTGRES__CONNECT_TIMEOUT", "3s"),
    ("POSTGRES__LOCK_TIMEOUT", "1s"),
    ("POSTGRES__IDLE_IN_TRANSACTION_TIMEOUT", "3s"),
    ("COPY__REPLICA_WAIT", "1s"),
];

fn start<'w>(world: &'w World, more: &[(&str, &str)]) -> Result<Fleet<'w>> {
    let mut fleet = Fleet::new(world)?;
    let settings: Vec<(&str, &str)> = SHORT.iter().chain(more).copied().collect();
    for program in PROGRAMS {
        fleet.start_with(program, &settings)?;
    }
    Ok(fleet)
}

async fn all_fail(world: &World, fleet: &Fleet<'_>, cohort: &handover_tracking::CohortInfo) -> Result<()> {
    let many = world.setup().users as i64;
    fleet.until("everybody has failed", || async { Ok(counts(world, cohort).await?.failed == many) }).await?;
    let rows = "SELECT count(*) FROM reminders.reminder";
    assert_eq!(world.number(Server::Destination, rows).await?, 0, "nothing was copied");
    moving::is_quiet(world).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_read_from_a_replica_that_replays_nothing_and_all_move_once_it_does() -> Result<()> {
    let world = World::new(Setup { own_servers: true, ..moving::setup(10) }).await?;
    let cohort = launch(&world).await?;
    world.sql(Server::Replica, "SELECT pg_wal_replay_pause()").await?;
    world.sql(Server::Legacy, "UPDATE shop.invoice_reminder SET body = body || ' changed'").await?;
    let fleet = start(&world, &[])?;
    all_fail(&world, &fleet, &cohort).await?;
    assert_eq!(world.reason(REMINDERS, "1").await?["kind"], "max_pause");
    world.sql(Server::Replica, "SELECT pg_wal_replay_resume()").await?;
    assert_eq!(all_move(&world, &fleet, &cohort).await?, 10);
    let late = "SELECT count(*) FROM reminders.reminder WHERE body NOT LIKE '% changed'";
    assert_eq!(world.number(Server::Destination, late).await?, 0, "what was read is the latest");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_promoted_in_mid_run_is_not_read_any_more() -> Result<()> {
    let world = World::new(Setup { own_servers: true, ..moving::setup(10) }).await?;
    let before = world.launched(REMINDERS, "before", &["1", "2", "3", "4", "5"]).await?;
    let fleet = start(&world, &[])?;
    some(&world, &fleet, &before, 5).await?;
    world.sql(Server::Replica, "SELECT pg_promote()").await?;
    world.sql(Server::Legacy, "UPDATE shop.auth_user SET username = username || '!'").await?;
    let after = world.launched(REMINDERS, "after", &["6", "7", "8", "9", "10"]).await?;
    fleet.until("everybody has failed", || async { Ok(counts(&world, &after).await?.failed == 5) }).await?;
    moving::nothing_is_lost(&world, 5).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_of_another_system_is_refused_and_nobody_is_read_from_it() -> Result<()> {
    let world = World::new(moving::setup(5)).await?;
    let cohort = launch(&world).await?;
    // Identity's server holds no such tables, but the check comes first.
    let other = world.url(Server::Identity)?;
    let fleet = start(&world, &[("LEGACY__REPLICA_URL", &other)])?;
    all_fail(&world, &fleet, &cohort).await
}
