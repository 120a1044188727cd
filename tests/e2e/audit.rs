//! An independent check of the engine: digests recomputed by Postgres itself, from the SQL that the command line
//! prints, on both sides.

use anyhow::{Context, Result};
use handover_sandbox::Server;
use handover_tests::{Setup, World};
use handover_tracking::Kind;
use tokio_postgres::SimpleQueryMessage;

/// Runs a script as psql would, and returns the digest and the row count of its one row.
async fn recomputed(world: &World, server: Server, script: &str) -> Result<(String, String)> {
    let client = world.client(server).await?;
    let last = client.simple_query(script).await?.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let row = last.last().context("the script returns a row")?;
    let value = |name| row.get(name).map(str::to_owned).with_context(|| format!("no {name}"));
    Ok((value("digest")?, value("row_count")?))
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_itself_computes_the_engines_digests_on_both_sides_for_both_examples() -> Result<()> {
    let world = World::new(Setup { users: 12, ..Setup::default() }).await?;
    let users: Vec<String> = (1..=12).map(|user| user.to_string()).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    let mut rows = 0;
    for migration in ["invoice-reminders", "invoice-settings"] {
        world.launched(migration, migration, &users).await?;
        world.drive(Kind::Move).await?;
        for user in &users {
            let record = world.engine.tracking.user(user).await?;
            let record =
                record.into_iter().find(|record| record.migration == migration).context("a record")?;
            let attempt = &record.attempts[0];
            let (digest, counted) =
                (attempt.digest.clone().context("a digest")?, attempt.rows.context("rows")?);
            for (side, server) in [("source", Server::Replica), ("destination", Server::Destination)] {
                let printed =
                    world.handover(&["audit-sql", migration, user, "--side", side]).await?.exited(0)?;
                let (again, count) = recomputed(&world, server, &printed.out).await?;
                assert_eq!(
                    (again, count),
                    (digest.clone(), counted.to_string()),
                    "{migration}, {user}, {side}"
                );
            }
            rows += counted;
        }
    }
    assert!(rows > 100, "{rows} rows prove little");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_altered_after_the_move_alters_what_postgres_computes() -> Result<()> {
    let world = World::new(Setup { rows_per_user: Some(2), ..Setup::default() }).await?;
    world.launched("invoice-reminders", "c", &["1"]).await?;
    world.drive(Kind::Move).await?;
    let arguments = ["audit-sql", "invoice-reminders", "1", "--side", "destination"];
    let script = world.handover(&arguments).await?.exited(0)?.out;
    let before = recomputed(&world, Server::Destination, &script).await?;
    let alter = "UPDATE reminders.reminder SET enabled = NOT enabled WHERE legacy_id =
                 (SELECT min(legacy_id) FROM reminders.reminder WHERE owner_id = 1)";
    world.sql(Server::Destination, alter).await?;
    let after = recomputed(&world, Server::Destination, &script).await?;
    assert_ne!(before.0, after.0);
    assert_eq!(before.1, after.1);
    world.handover(&["audit-sql", "invoice-reminders", "2", "--side", "source"]).await?.exited(4)?;
    Ok(())
}
