//! What Redis may do: be emptied, restart empty, fail over to a stale copy that looks complete, stand still for longer
//! than every lease, be full, and lose keys and scripts by hand. Postgres is the truth: nobody is lost or doubled.

use anyhow::{Context as _, Result};
use handover_sandbox::{Server, Shutdown};
use handover_tests::{Fleet, Setup, World};
use handover_tracking::CohortInfo;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::moving::{self, all_move, at_most, launch, some};

/// A world with a Redis of its own, and users under way in it.
struct Moving<'w> {
    world: &'w World,
    cohort: CohortInfo,
    fleet: Fleet<'w>,
}

impl<'w> Moving<'w> {
    async fn begin(world: &'w World) -> Result<Self> {
        let cohort = launch(world).await?;
        let moving = Self { world, cohort, fleet: Fleet::of_all(world)? };
        moving.goes_on(5).await?;
        Ok(moving)
    }

    /// Waits until so many more have completed, if there are as many.
    async fn goes_on(&self, more: i64) -> Result<()> {
        let many = self.world.setup().users as i64;
        let done = moving::counts(self.world, &self.cohort).await?.completed;
        some(self.world, &self.fleet, &self.cohort, (done + more).min(many)).await
    }

    async fn ends_well(self) -> Result<()> {
        all_move(self.world, &self.fleet, &self.cohort).await?;
        Ok(())
    }

    async fn redis(&self, words: &[&str]) -> Result<redis::Value> {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        Ok(command.query_async(&mut self.world.redis().await?).await?)
    }
}

async fn world(users: u64) -> Result<World> {
    World::new(Setup { own_servers: true, ..moving::setup(users) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_restarted_empty_and_a_stale_copy_swapped_in_cost_nobody_anything() -> Result<()> {
    let world = world(160).await?;
    let moving = Moving::begin(&world).await?;
    world.sandbox().start_again(Server::Redis, Shutdown::Immediate).await?;
    moving.goes_on(10).await?;
    // A copy that holds everything, `!ready` too, as it was; and then everybody's state moves on.
    moving.redis(&["SAVE"]).await?;
    moving.goes_on(40).await?;
    world.sandbox().start_again(Server::Redis, Shutdown::Immediate).await?;
    let held: i64 =
        redis::cmd("HLEN").arg(world.key("identity")).query_async(&mut world.redis().await?).await?;
    assert!(held > 0, "the copy looks complete");
    moving.ends_well().await
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_stands_still_for_longer_than_every_lease_costs_nobody_anything() -> Result<()> {
    let world = world(100).await?;
    let moving = Moving::begin(&world).await?;
    let pid = Pid::from_raw(world.sandbox().pid(Server::Redis).context("Redis is ours")? as i32);
    kill(pid, Signal::SIGSTOP)?;
    // The workers' leases are of three seconds.
    at_most(4_000, std::future::pending()).await;
    kill(pid, Signal::SIGCONT)?;
    moving.ends_well().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_refuses_pushes_and_nothing_is_lost() -> Result<()> {
    let world = world(100).await?;
    let moving = Moving::begin(&world).await?;
    moving.redis(&["CONFIG", "SET", "maxmemory", "1", "maxmemory-policy", "noeviction"]).await?;
    at_most(1_500, std::future::pending()).await;
    moving.redis(&["CONFIG", "SET", "maxmemory", "0"]).await?;
    moving.ends_well().await
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_deleted_by_hand_and_a_flushed_script_cache_are_healed() -> Result<()> {
    let world = world(120).await?;
    let moving = Moving::begin(&world).await?;
    let keys = [
        "queue:pause",
        "queue:copy",
        "inflight:copy",
        "inflight:verify",
        "delayed:copy",
        "identity",
        "changes",
        "workers",
    ];
    for key in keys {
        moving.redis(&["SCRIPT", "FLUSH"]).await?;
        moving.redis(&["DEL", &world.key(key)]).await?;
        moving.goes_on(5).await?;
    }
    moving.redis(&["FLUSHALL"]).await?;
    moving.ends_well().await
}
