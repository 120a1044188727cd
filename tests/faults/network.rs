//! The real programs, and a network that fails between them and every server.

use std::time::Duration;

use anyhow::Result;
use handover_proxy::{Cut, Mode, Strike};
use handover_sandbox::Server;
use handover_tests::{Fleet, PROGRAMS};

use crate::moving::{self, all_move, at_most, launch, some};
use crate::proxied::Proxied;

/// Time-outs, so that a peer who has vanished without a word is given up soon.
const SHORT: [(&str, &str); 7] = [
    ("PAUSE__MAX_PAUSE", "8s"),
    ("POSTGRES__STATEMENT_TIMEOUT", "3s"),
    ("POSTGRES__CONNECT_TIMEOUT", "2s"),
    ("POSTGRES__LOCK_TIMEOUT", "1s"),
    ("POSTGRES__IDLE_IN_TRANSACTION_TIMEOUT", "3s"),
    ("COPY__REPLICA_WAIT", "1s"),
    ("WORKER__MAX_TRIES", "20"),
];

/// One process of each program, all of whose ways lead through the proxies.
fn start<'w>(proxied: &'w Proxied, through: &[Server]) -> Result<Fleet<'w>> {
    let mut fleet = Fleet::new(&proxied.world)?;
    let settings: Vec<(&str, &str)> = SHORT.into_iter().chain(proxied.settings(through)).collect();
    for program in PROGRAMS {
        fleet.start_with(program, &settings)?;
    }
    Ok(fleet)
}

/// Trouble on the way to one server, for some tenths of a second each.
async fn trouble(proxied: &Proxied, server: Server) {
    let proxy = proxied.proxy(server);
    for how in [Cut::Reset, Cut::Fin] {
        proxy.cut(how);
        at_most(100, proxy.until_struck(proxy.struck() + 2)).await;
    }
    for strike in [Strike::after_bytes(700), Strike::after_bytes(5_000).fin(), Strike::before_query(5)] {
        proxy.arm(strike);
        at_most(300, proxy.until_struck(proxy.struck() + 1)).await;
        proxy.disarm();
    }
    for mode in [Mode::Delay(Duration::from_millis(30)), Mode::Stall, Mode::HalfOpen, Mode::Refuse] {
        proxy.set(mode);
        if mode == Mode::Refuse {
            proxy.cut(Cut::Reset);
        }
        at_most(250, proxy.until_struck(proxy.struck() + 50)).await;
        proxy.set(Mode::Pass);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_delayed_stalled_refused_and_vanished_connections_to_every_server_lose_nothing() -> Result<()> {
    let proxied = Proxied::new(moving::setup(250)).await?;
    let cohort = launch(&proxied.world).await?;
    let fleet = start(&proxied, &Server::ALL)?;
    for server in Server::ALL {
        let done = moving::counts(&proxied.world, &cohort).await?.completed;
        some(&proxied.world, &fleet, &cohort, (done + 5).min(240)).await?;
        trouble(&proxied, server).await;
        assert!(proxied.proxy(server).struck() > 5, "{server:?} was hardly hurt");
    }
    // All at once.
    let [first, second, third, fourth, fifth] = Server::ALL.map(|server| trouble(&proxied, server));
    tokio::join!(first, second, third, fourth, fifth);
    all_move(&proxied.world, &fleet, &cohort).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_server_vanished_at_once_without_a_word_ends_no_pause_late_once_it_is_back() -> Result<()> {
    let proxied = Proxied::new(moving::setup(60)).await?;
    let cohort = launch(&proxied.world).await?;
    let fleet = start(&proxied, &Server::ALL)?;
    some(&proxied.world, &fleet, &cohort, 5).await?;
    for server in Server::ALL {
        proxied.proxy(server).set(Mode::HalfOpen);
    }
    // Longer than a lease.
    at_most(4_000, std::future::pending()).await;
    for server in Server::ALL {
        proxied.proxy(server).set(Mode::Pass);
    }
    all_move(&proxied.world, &fleet, &cohort).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_worker_whose_replica_has_vanished_without_a_word_keeps_nobody_paused() -> Result<()> {
    let proxied = Proxied::new(moving::setup(20)).await?;
    let cohort = launch(&proxied.world).await?;
    let mut fleet = Fleet::new(&proxied.world)?;
    let settings: Vec<(&str, &str)> = SHORT.into_iter().chain(proxied.settings(&[Server::Replica])).collect();
    proxied.proxy(Server::Replica).set(Mode::HalfOpen);
    for program in PROGRAMS {
        let behind = program == "handover-copy";
        fleet.start_with(program, if behind { &settings } else { &SHORT })?;
    }
    tokio::time::timeout(handover_tests::PATIENCE, proxied.proxy(Server::Replica).until_struck(1)).await?;
    let many = 20;
    fleet
        .until("everybody has failed, for nobody could copy", || async {
            Ok(moving::counts(&proxied.world, &cohort).await?.failed == many)
        })
        .await?;
    moving::is_quiet(&proxied.world).await?;
    proxied.proxy(Server::Replica).set(Mode::Pass);
    let failed = all_move(&proxied.world, &fleet, &cohort).await?;
    assert_eq!(failed, many);
    Ok(())
}
