//! The fence position across a failover of legacy.

use anyhow::Result;
use handover_engine::{Outcome, StageName};
use handover_postgres::Database;
use handover_sandbox::{Options, Sandbox, Server};
use handover_tracking::Kind;

use crate::world::{Setup, World, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_primarys_position_is_never_taken_for_the_old_ones() -> Result<()> {
    // Servers of its own: one of them is promoted.
    let sandbox = Sandbox::start(Options::default()).await?;
    let world = World::on(&sandbox, Setup { users: 1, ..Setup::default() }).await?;
    world.launched(1).await?;
    let jobs = world.drawn(Kind::Move).await?;
    let session = world.client(Server::Replica).await?;
    // So long that the control file still speaks of the old timeline.
    session.batch_execute("ALTER SYSTEM SET checkpoint_timeout = '1d'").await?;
    session.batch_execute("SELECT pg_reload_conf(); SELECT pg_promote()").await?;

    let mut engine = world.another()?;
    let promoted = world.url(Server::Replica).into();
    engine.primary = Database::new("legacy primary", &promoted)?.pool(2);
    assert_eq!(run(&engine, StageName::Pause, &jobs).await, [Outcome::Advance(StageName::Copy)]);
    let fence = "SELECT fence_system FROM handover.open_attempt";
    let label: String = world.client(Server::Destination).await?.query_one(fence, &[]).await?.get(0);
    assert!(label.ends_with("/2"), "{label}");
    sandbox.stop().await;
    Ok(())
}
