//! Servers that are restarted while users are moved, and sessions that are ended by hand.

use anyhow::Result;
use handover_sandbox::{Server, Shutdown};
use handover_tests::{Fleet, Setup, World, until};

use crate::moving::{self, all_move, launch, some};

const POSTGRES: [Server; 4] = [Server::Legacy, Server::Replica, Server::Destination, Server::Identity];

async fn restarted(how: Shutdown) -> Result<()> {
    let world = World::new(Setup { own_servers: true, ..moving::setup(120) }).await?;
    let cohort = launch(&world).await?;
    let fleet = Fleet::of_all(&world)?;
    for server in Server::ALL {
        let done = moving::counts(&world, &cohort).await?.completed;
        some(&world, &fleet, &cohort, (done + 10).min(110)).await?;
        world.sandbox().start_again(server, how).await?;
    }
    all_move(&world, &fleet, &cohort).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fast_restart_of_each_server_in_mid_run_loses_nothing() -> Result<()> {
    Box::pin(restarted(Shutdown::Fast)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_immediate_restart_of_each_server_in_mid_run_loses_nothing() -> Result<()> {
    Box::pin(restarted(Shutdown::Immediate)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_sessions_ended_by_hand_again_and_again_lose_nothing() -> Result<()> {
    let world = World::new(moving::setup(80)).await?;
    let cohort = launch(&world).await?;
    let fleet = Fleet::of_all(&world)?;
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()";
    for round in 1..=5 {
        some(&world, &fleet, &cohort, round * 10).await?;
        for server in POSTGRES {
            let ended = |ended: i64| ended > 0;
            until("sessions were ended", || async { Ok(ended(world.number(server, sql).await?)) }).await?;
        }
    }
    all_move(&world, &fleet, &cohort).await?;
    Ok(())
}
