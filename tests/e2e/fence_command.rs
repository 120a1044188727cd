//! `handover fence` on servers, and that the roles it grants to need nothing else.

use std::time::Duration;

use anyhow::Result;
use handover_fence::{Lift, Raise, Scope, Settle, Side};
use handover_plan::Plan;
use handover_postgres::{Connection, Database};
use handover_sandbox::Server;
use handover_tests::{Setup, World, plan_dir};
use secrecy::SecretString;

const REMINDERS: &str = "invoice-reminders";
const PATIENCE: Duration = Duration::from_secs(20);

async fn world() -> Result<World> {
    World::new(Setup { rows_per_user: Some(2), ..Setup::default() }).await
}

/// A session under another role.
async fn session_as(world: &World, server: Server, role: &str) -> Result<Connection> {
    let url = world.url(server)?;
    let separator = if url.contains('?') { '&' } else { '?' };
    let url = SecretString::from(format!("{url}{separator}user={role}"));
    Ok(Database::new("test", &url)?.connect().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fence_is_installed_on_both_sides_shown_and_removed() -> Result<()> {
    let world = world().await?;
    let absent = world.handover(&["--json", "fence", "status", REMINDERS]).await?.exited(0)?.json()?;
    assert_eq!((&absent["used"], &absent["sides"][0]["fence"]), (&false.into(), &"absent".into()));
    let done = world.handover(&["--json", "fence", "install", REMINDERS]).await?.exited(0)?.json()?;
    let tables = |side: usize| done["sides"][side]["changed"].to_string();
    assert_eq!(tables(0), r#"["shop.invoice","shop.invoice_reminder","shop.reminder_recipient"]"#);
    assert_eq!(tables(1), r#"["reminders.reminder","reminders.recipient"]"#);
    let whole = world.handover(&["fence", "status", REMINDERS]).await?.exited(0)?.out;
    assert!(whole.contains("legacy: whole") && whole.contains("destination: whole"), "{whole}");
    let again = world.handover(&["fence", "install", REMINDERS]).await?.exited(0)?.out;
    assert!(again.contains("nothing to do"), "{again}");

    world.sql(Server::Destination, "ALTER TABLE reminders.reminder DISABLE TRIGGER USER").await?;
    let broken = world.handover(&["fence", "status", REMINDERS]).await?.exited(3)?.out;
    assert!(broken.contains("destination: incomplete") && broken.contains("missing or disabled"), "{broken}");

    world.handover(&["fence", "remove", REMINDERS]).await?.exited(5)?;
    let raise = "INSERT INTO handover_fence.fenced (user_key, migration, version, state) VALUES ('1', 'invoice-reminders', 1, 'paused')";
    world.sql(Server::Legacy, raise).await?;
    let paused = world.handover(&["fence", "remove", REMINDERS, "--yes"]).await?.exited(5)?;
    assert!(paused.err.contains("1 users of invoice-reminders are paused"), "{paused:?}");
    world.sql(Server::Legacy, "DELETE FROM handover_fence.fenced").await?;
    world.handover(&["fence", "remove", REMINDERS, "--yes"]).await?.exited(0)?;
    for server in [Server::Legacy, Server::Destination] {
        let left = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'handover_fence%'";
        assert_eq!(world.number(server, left).await?, 0);
    }
    world.handover(&["fence", "install", "no-such"]).await?.exited(4)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_only_what_install_grants_can_raise_settle_lift_and_look() -> Result<()> {
    let world = world().await?;
    let role = format!("workers_{}", world.database);
    for server in [Server::Legacy, Server::Destination] {
        world.sql(server, &format!("CREATE ROLE {role} LOGIN")).await?;
    }
    let done =
        world.handover(&["--json", "fence", "install", REMINDERS, "--workers", &role]).await?.exited(0)?;
    assert_eq!(done.json()?["sides"][0]["to_grant"].to_string(), "[]");
    let plan = Plan::load(&plan_dir(REMINDERS))?;
    let users = [("1".to_owned(), 1)];
    for (server, side) in [(Server::Legacy, Side::Legacy), (Server::Destination, Side::Destination)] {
        let mut session = session_as(&world, server, &role).await?;
        let who: String = session.query_one("SELECT current_user::text", &[]).await?.get(0);
        assert_eq!(who, role);
        let fence = side.fence(REMINDERS);
        let status = handover_fence::status(&mut session, Scope::new(&plan, side)).await?;
        assert_eq!(status.installed, handover_fence::Installed::Yes, "{side:?}");
        assert!(handover_fence::guards_any(&session, &fence).await?);
        let raised = handover_fence::raise(&mut session, &fence, &users, PATIENCE).await?;
        assert_eq!(raised, [Raise::Raised], "{side:?}");
        assert_eq!(handover_fence::settle(&mut session, &fence, &users).await?, [Settle::Settled]);
        assert_eq!(handover_fence::look(&session, &fence, &["1".to_owned()]).await?.len(), 1);
        assert_eq!(handover_fence::clear(&mut session, &fence, &users).await?, [Lift::Lifted]);
        assert!(handover_fence::holders(&session, &["1"]).await?.is_empty());
        assert!(session.batch_execute("SELECT count(*) FROM shop.invoice").await.is_err());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_that_reads_at_the_replica_sees_the_fence_by_what_is_granted_to_it() -> Result<()> {
    let world = world().await?;
    let role = format!("reader_{}", world.database);
    world.sql(Server::Legacy, &format!("CREATE ROLE {role} LOGIN")).await?;
    world.handover(&["fence", "install", REMINDERS]).await?.exited(0)?;
    world.caught_up().await?;
    let users = [("1".to_owned(), 1)];
    let before = session_as(&world, Server::Replica, &role).await?;
    assert!(handover_fence::visible_in(&*before, REMINDERS, &users).await.is_err());
    for statement in handover_fence::grants_to_read(&role) {
        world.sql(Server::Legacy, &statement).await?;
    }
    world.caught_up().await?;
    let reader = session_as(&world, Server::Replica, &role).await?;
    assert_eq!(handover_fence::visible_in(&*reader, REMINDERS, &users).await?, [false]);
    Ok(())
}
