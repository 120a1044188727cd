//! Emptied queues of very many open users: refilled in seconds, in calls that are short for Redis.
//!
//! In its full form, `HANDOVER_TEST_OPEN_USERS=1000000`, it takes its time to fill the tables; as a part of the suite it
//! has a twentieth of them. Times are asserted in proportion, with room for a busy machine.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use handover_sandbox::Server;
use handover_tests::{Fleet, Setup, World};

const REMINDERS: &str = "invoice-reminders";

/// In which a million users' jobs are to be queued again.
const MILLION_IN: Duration = Duration::from_secs(10);
/// How much slower unoptimised code may be.
const UNOPTIMISED: u32 = if cfg!(debug_assertions) { 4 } else { 1 };
/// What no call may take from Redis, which does one thing at a time.
const LONGEST_CALL_US: u64 = 50_000;

fn many() -> Result<u32> {
    Ok(std::env::var("HANDOVER_TEST_OPEN_USERS").map_or(Ok(50_000), |many| many.parse())?)
}

/// Users who were drawn an hour ago, and whose jobs are in no queue; as many wait, launched and not drawn.
async fn fill(world: &World, many: u32) -> Result<()> {
    world.cohort(REMINDERS, "c", &["0"]).await?;
    let sql = format!(
        "INSERT INTO handover.member (migration_id, user_key, cohort_id, seq)
            SELECT c.migration_id, n::text, c.id, n + 1 FROM handover.cohort c, generate_series(1, 2 * {many}) n;
         UPDATE handover.cohort SET last_seq = 2 * {many} + 1, launched_seq = 2 * {many} + 1, drawn_seq = {many} + 1;
         INSERT INTO handover.open_attempt (migration_id, user_key, cohort_id, kind, version, attempt, plan_id, key_block,
                queued_at, state_at)
            SELECT m.migration_id, m.user_key, m.cohort_id, 'move', 1, 1, g.plan_id, decode(repeat('ab', 64), 'hex'),
                   now() - interval '1 hour', now() - interval '1 hour'
              FROM handover.member m JOIN handover.migration g ON g.id = m.migration_id
             WHERE m.seq BETWEEN 2 AND {many} + 1;
         INSERT INTO handover.counter SELECT id, 'queued', {many} FROM handover.cohort;
         ANALYZE handover.member; ANALYZE handover.open_attempt"
    );
    world.sql(Server::Destination, &sql).await
}

/// Calls of Redis that took longer than the bound, since the log was emptied.
async fn slow_calls(redis: &mut redis::aio::MultiplexedConnection) -> Result<Vec<redis::Value>> {
    Ok(redis::cmd("SLOWLOG").arg("GET").arg(-1).query_async(redis).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn very_many_open_users_are_queued_again_in_proportion_to_a_million_in_ten_seconds() -> Result<()> {
    let many = many()?;
    let world = World::new(Setup { own_servers: true, ..Setup::default() }).await?;
    fill(&world, many).await?;
    let mut fleet = Fleet::new(&world)?;
    // The window is as large as they are many, so that nobody else is drawn.
    let window = many.to_string();
    let own = [("PAUSE__WINDOW", window.as_str()), ("RECONCILE__REQUEUE_AFTER", "5s")];
    fleet.start_with("handover-reconcile", &own)?;
    let mut redis = world.redis().await?;
    let key = world.key("queue:pause");
    let asked = redis.clone();
    let full = || {
        let (mut redis, key) = (asked.clone(), key.clone());
        async move { Ok(redis::cmd("LLEN").arg(key).query_async::<u32>(&mut redis).await? == many) }
    };
    fleet.until("all are queued at first", full).await?;

    let mut configure = redis::cmd("CONFIG");
    configure.arg("SET").arg("slowlog-log-slower-than").arg(LONGEST_CALL_US);
    configure.exec_async(&mut redis).await?;
    redis::cmd("UNLINK").arg(&key).exec_async(&mut redis).await?;
    redis::cmd("SLOWLOG").arg("RESET").exec_async(&mut redis).await?;
    let fault = Instant::now();
    fleet.until("all are queued again", full).await?;
    let took = fault.elapsed();
    // A round begins each half of `reconcile.requeue_after`; the attempts have stood for longer than it.
    let allowed = Duration::from_millis(2_500)
        + (MILLION_IN * UNOPTIMISED).mul_f64(f64::from(many) / 1e6).max(Duration::from_secs(8));
    eprintln!("{many} jobs were queued again {took:.2?} after their queue was deleted; {allowed:?} allowed");
    ensure!(took <= allowed, "{many} jobs took {took:?}");
    let slow = slow_calls(&mut redis).await?;
    ensure!(slow.is_empty(), "calls that took Redis longer than 50 ms: {slow:?}");
    Ok(())
}
