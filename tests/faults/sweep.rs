//! Every query fails once: for each server, each stage and each N the connection is cut at the stage's N-th query
//! to that server, or its answer is lost after the server has done it. The user is moved all the same, by trying again.

use anyhow::{Context as _, Result, bail, ensure};
use handover_engine::{Complete, Copy, Engine, Job, Outcome, Pause, Rollback, StageName, Step, Verify};
use handover_identity::State;
use handover_proxy::Strike;
use handover_sandbox::Server;
use handover_tracking::{Kind, OpenAttempt, OpenState};

use crate::moving::{self, REMINDERS, ROWS};
use crate::proxied::Proxied;

/// More users than there are queries of all stages to a server.
const USERS: u64 = 240;
/// More steps than an attempt needs, one of which fails.
const STEPS: usize = 16;

/// A server whose queries fail, one after the other.
struct Sweep {
    proxied: Proxied,
    engine: Engine,
    server: Server,
    next: u64,
}

impl Sweep {
    async fn new(server: Server) -> Result<Self> {
        let proxied = Proxied::new(moving::setup(USERS)).await?;
        let engine = proxied.engine()?;
        let mut sweep = Self { proxied, engine, server, next: 0 };
        // Connections stand, and the plan is bound.
        let user = sweep.user()?;
        sweep.moved(&user, None).await?;
        Ok(sweep)
    }

    fn user(&mut self) -> Result<String> {
        self.next += 1;
        ensure!(self.next <= USERS, "more queries than users");
        Ok(self.next.to_string())
    }

    /// Strikes at each query of each stage; returns how many there were.
    async fn each(&mut self, stages: &[StageName], strike: impl Fn(u64) -> Strike) -> Result<u64> {
        let mut struck = 0;
        for stage in stages {
            for nth in 1.. {
                let user = self.user()?;
                let strikes = Some((*stage, strike(nth)));
                let hit = self.moved(&user, strikes).await;
                if !hit.with_context(|| format!("{stage}'s query {nth} to {:?}, user {user}", self.server))? {
                    break;
                }
                struck += 1;
            }
        }
        self.engine.identity.flush_outbox(std::time::Duration::ZERO).await?;
        ensure!(self.engine.identity.verify_mirror().await?.is_equal(), "the mirror differs");
        moving::is_quiet(&self.proxied.world).await?;
        Ok(struck)
    }

    /// Moves a user, and back if the stage that fails is of the rollback; whether the strike hit.
    async fn moved(&self, user: &str, strike: Option<(StageName, Strike)>) -> Result<bool> {
        let world = &self.proxied.world;
        let cohort = world.launched(REMINDERS, &format!("c{user}"), &[user]).await?;
        world.engine.tracking.draw(Kind::Move, 1).await?;
        let mut hit = self.to_the_end(user, strike.clone()).await?;
        ensure!(world.state(REMINDERS, user).await? == "completed");
        ensure!(world.home(REMINDERS, user).await? == State::Migrated);
        ensure!(world.moved_reminders(user).await? == ROWS);
        if matches!(strike, Some((StageName::Rollback, _))) {
            world.engine.tracking.request_rollback(&cohort, None).await?;
            world.engine.tracking.draw(Kind::Rollback, 1).await?;
            hit = self.to_the_end(user, strike).await?;
            ensure!(world.state(REMINDERS, user).await? == "rolled_back");
            ensure!(world.home(REMINDERS, user).await? == State::Legacy);
            ensure!(world.moved_reminders(user).await? == 0);
        }
        Ok(hit)
    }

    /// Runs whatever stage the user's attempt is due at, until it has ended, as retries and the reconciler would.
    async fn to_the_end(&self, user: &str, mut strike: Option<(StageName, Strike)>) -> Result<bool> {
        let world = &self.proxied.world;
        let id = world.engine.tracking.migration_id(REMINDERS).await?.context("the plan is registered")?;
        let (mut hit, mut told) = (false, Vec::new());
        for _ in 0..STEPS {
            let Some(attempt) = world.engine.tracking.open_of(id, user).await? else { return Ok(hit) };
            let stage = due(&attempt);
            let proxy = self.proxied.proxy(self.server);
            let armed = strike.take_if(|(at, _)| *at == stage);
            let strikes = armed.is_some();
            if let Some((_, strike)) = armed {
                proxy.arm(strike);
            }
            let job =
                Job { migration: REMINDERS.to_owned(), user: user.to_owned(), version: attempt.version };
            told.push((stage, Box::pin(run(&self.engine, stage, job)).await));
            hit |= strikes && !proxy.disarm();
            let moved = world.moved_reminders(user).await?;
            ensure!(moved == 0 || moved == ROWS, "{moved} rows are visible: {told:?}");
        }
        bail!("it does not end: {told:?}");
    }
}

fn due(attempt: &OpenAttempt) -> StageName {
    match (attempt.kind, attempt.state) {
        (Kind::Rollback, _) => StageName::Rollback,
        (_, OpenState::Copying) => StageName::Copy,
        (_, OpenState::Verifying) => StageName::Verify,
        (_, OpenState::Completing) => StageName::Complete,
        _ => StageName::Pause,
    }
}

async fn run(engine: &Engine, stage: StageName, job: Job) -> Vec<Outcome> {
    let (engine, jobs) = (engine.clone(), [job]);
    match stage {
        StageName::Pause => Pause(engine).run(&jobs).await,
        StageName::Copy => Copy(engine).run(&jobs).await,
        StageName::Verify => Verify(engine).run(&jobs).await,
        StageName::Complete => Complete(engine).run(&jobs).await,
        StageName::Rollback => Rollback(engine).run(&jobs).await,
    }
}

/// Cuts each query before the server sees it, and in another world each before its answer.
async fn sweep(server: Server, at_least: u64) -> Result<()> {
    let cut = async { Box::pin(Sweep::new(server)).await?.each(&StageName::ALL, Strike::before_query).await };
    let lost =
        async { Box::pin(Sweep::new(server)).await?.each(&StageName::ALL, Strike::before_answer).await };
    let (cut, lost) = tokio::try_join!(Box::pin(cut), Box::pin(lost))?;
    assert!(cut >= at_least && lost >= at_least, "only {cut} and {lost} queries struck");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_to_the_legacy_primary_cut_at_any_query_costs_nobody_anything() -> Result<()> {
    sweep(Server::Legacy, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_to_the_replica_cut_at_any_query_costs_nobody_anything() -> Result<()> {
    sweep(Server::Replica, 10).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_to_the_destination_cut_at_any_query_costs_nobody_anything() -> Result<()> {
    sweep(Server::Destination, 20).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_to_identitys_database_cut_at_any_query_costs_nobody_anything() -> Result<()> {
    sweep(Server::Identity, 4).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_to_redis_cut_at_any_command_costs_nobody_anything() -> Result<()> {
    sweep(Server::Redis, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_whose_answer_to_commit_is_lost_is_known_to_have_committed_and_loaded_once() -> Result<()> {
    let mut sweep = Box::pin(Sweep::new(Server::Destination)).await?;
    let commit = |nth| Strike::before_answer(nth).containing("COMMIT");
    let struck = sweep.each(&[StageName::Copy], commit).await?;
    assert_eq!(struck, 1, "the copy stage commits at the destination once");
    let attempts = "SELECT max(attempt) FROM handover.attempt";
    assert_eq!(sweep.proxied.world.number(Server::Destination, attempts).await?, 1);
    Ok(())
}
