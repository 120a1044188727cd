//! Least privilege: all of handover's work under the roles that it prints, which may do nothing else.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use handover_sandbox::Server;
use handover_sandbox::example::{self, Shape};
use handover_tests::{Fleet, PROGRAMS, Setup, World, plan_dir};
use serde_json::Value;

const REMINDERS: &str = "invoice-reminders";

/// A world whose tables handover has not made yet, and the role that it shall work as.
struct Unprivileged {
    world: World,
    role: String,
}

impl Unprivileged {
    async fn new() -> Result<Self> {
        Box::pin(Self::with_role()).await
    }

    async fn with_role() -> Result<Self> {
        let plans = plan_dir(REMINDERS);
        let plans = plans.parent().context("plans lie in a folder")?;
        let world = World::bare(Setup::default(), plans).await?;
        let legacy = world.url(Server::Legacy)?;
        example::install(&legacy, &world.url(Server::Destination)?).await?;
        example::generate(&legacy, 6, 7, Shape { rows_per_user: Some(3) }).await?;
        world.caught_up().await?;
        let role = format!("r_{}", world.database);
        let made = Self { world, role };
        made.make_role().await?;
        Ok(made)
    }

    /// Runs what `init --print-roles` prints, each block on its server.
    async fn make_role(&self) -> Result<()> {
        let printed = self
            .world
            .handover(&["--json", "init", "--print-roles", "--role", &self.role])
            .await?
            .exited(0)?;
        for line in printed.out.lines() {
            let block: Value = serde_json::from_str(line)?;
            let server = match block["server"].as_str() {
                Some("legacy.primary_url") => Server::Legacy,
                Some("destination.url") => Server::Destination,
                Some("identity.url") => Server::Identity,
                other => anyhow::bail!("roles for {other:?}"),
            };
            self.world.sql(server, block["sql"].as_str().context("SQL")?).await?;
        }
        self.world.caught_up().await
    }

    /// The settings that let a program connect as the role.
    fn settings(&self) -> Result<Vec<(&'static str, String)>> {
        let servers = [
            ("LEGACY__PRIMARY_URL", Server::Legacy),
            ("LEGACY__REPLICA_URL", Server::Replica),
            ("DESTINATION__URL", Server::Destination),
            ("IDENTITY__URL", Server::Identity),
        ];
        let url = |(name, server)| {
            let url = self.world.url(server)?;
            let (_, place) = url.rsplit_once('@').context("an address with a user")?;
            Ok((name, format!("postgres://{}@{place}", self.role)))
        };
        servers.into_iter().map(url).collect()
    }

    async fn handover(&self, arguments: &[&str]) -> Result<(i32, String)> {
        let mut command = self.world.command("handover")?;
        let settings = self.settings()?;
        command.envs(settings.iter().map(|(name, value)| (format!("HANDOVER_{name}"), value)));
        let output = command.args(arguments).stdin(Stdio::null()).output().await?;
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        Ok((output.status.code().unwrap_or(-1), text.into_owned()))
    }

    async fn done(&self, arguments: &[&str]) -> Result<String> {
        let (code, text) = self.handover(arguments).await?;
        ensure!(code == 0, "{arguments:?} exited with {code}: {text}");
        Ok(text)
    }

    async fn client(&self, server: Server) -> Result<handover_postgres::Connection> {
        let session = self.world.client(server).await?;
        session.batch_execute(&format!("SET ROLE \"{}\"", self.role)).await?;
        Ok(session)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_move_and_go_back_under_the_printed_roles_alone() -> Result<()> {
    let unprivileged = Unprivileged::new().await?;
    unprivileged.done(&["init"]).await?;
    let settings = unprivileged.settings()?;
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut fleet = Fleet::new(&unprivileged.world)?;
    for program in PROGRAMS {
        fleet.start_with(program, &settings)?;
    }
    unprivileged.done(&["cohort", "create", "c", "--migration", REMINDERS]).await?;
    unprivileged.done(&["cohort", "add", "c", "1", "2", "3", "4", "5"]).await?;
    unprivileged.done(&["launch", "c"]).await?;
    let world = &unprivileged.world;
    fleet
        .until("all are completed", || async { Ok(world.state(REMINDERS, "5").await? == "completed") })
        .await?;
    unprivileged.done(&["rollback", "c", "2", "--yes", "--watch"]).await?;
    assert_eq!(world.state(REMINDERS, "2").await?, "rolled_back");
    assert_eq!(world.moved_reminders("2").await?, 0);
    assert_eq!(world.moved_reminders("3").await?, 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_role_can_change_nothing_in_legacy_nor_beyond_the_plan() -> Result<()> {
    let unprivileged = Unprivileged::new().await?;
    let refused = [
        (Server::Legacy, "DELETE FROM shop.invoice_reminder"),
        (Server::Legacy, "SELECT password FROM shop.auth_user"),
        (Server::Legacy, "CREATE SCHEMA mine"),
        (Server::Destination, "TRUNCATE reminders.reminder"),
        (Server::Destination, "DROP TABLE reminders.reminder"),
    ];
    for (server, sql) in refused {
        let error = unprivileged.client(server).await?.batch_execute(sql).await.expect_err(sql);
        let code = error.code().map(tokio_postgres::error::SqlState::code);
        assert_eq!(code, Some("42501"), "{sql}: {error}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_each_missing_privilege_and_what_grants_it() -> Result<()> {
    let unprivileged = Unprivileged::new().await?;
    unprivileged.done(&["init"]).await?;
    let (code, healthy) = unprivileged.handover(&["--json", "doctor"]).await?;
    assert!(!healthy.contains("missing:"), "{code}: {healthy}");
    let role = &unprivileged.role;
    let world = &unprivileged.world;
    world.sql(Server::Legacy, &format!("REVOKE SELECT ON shop.invoice_reminder FROM \"{role}\"")).await?;
    world.sql(Server::Destination, &format!("REVOKE DELETE ON reminders.reminder FROM \"{role}\"")).await?;
    world.caught_up().await?;
    let (code, ill) = unprivileged.handover(&["doctor"]).await?;
    assert_eq!(code, 3, "{ill}");
    for expected in
        ["SELECT on shop.invoice_reminder", "DELETE on reminders.reminder", "handover init --print-roles"]
    {
        assert!(ill.contains(expected), "no `{expected}` in {ill}");
    }
    Ok(())
}
