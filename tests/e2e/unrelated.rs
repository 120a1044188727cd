//! Plans for schemas that have nothing to do with the worked example: a forum with UUID users and SQL of its own
//! for loading, and notes of users who are known by a text of any characters.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use handover_engine::Outcome;
use handover_identity::State;
use handover_sandbox::Server;
use handover_tests::{Setup, World};
use handover_tracking::{CohortInfo, Kind};

/// The folder of a test schema.
fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("plans").join(name)
}

/// Fresh databases with that schema, initialised by the command line, which checks the plan first.
async fn world(name: &str) -> Result<World> {
    let folder = folder(name);
    let world = World::bare(Setup::default(), &folder.join("plans")).await?;
    world.sql(Server::Legacy, &std::fs::read_to_string(folder.join("legacy.sql"))?).await?;
    world.sql(Server::Destination, &std::fs::read_to_string(folder.join("destination.sql"))?).await?;
    world.sql(Server::Legacy, "ANALYZE").await?;
    world.caught_up().await?;
    world.handover(&["init"]).await?.exited(0)?;
    Ok(world)
}

async fn move_all(world: &World, migration: &str, users: &[&str]) -> Result<CohortInfo> {
    let cohort = world.launched(migration, "all", users).await?;
    let moved = world.drive(Kind::Move).await?;
    assert!(moved.iter().all(|(_, outcome)| *outcome == Outcome::Finished), "{moved:?}");
    assert_eq!(world.engine.tracking.status(&cohort).await?.users.completed, users.len() as i64);
    Ok(cohort)
}

async fn take_all_back(world: &World, cohort: &CohortInfo, users: usize) -> Result<()> {
    assert_eq!(world.engine.tracking.request_rollback(cohort, None).await?, users as i64);
    let back = world.drive(Kind::Rollback).await?;
    assert!(back.iter().all(|(_, outcome)| *outcome == Outcome::Finished), "{back:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forum_with_uuid_users_and_a_load_of_its_own_moves_and_goes_back() -> Result<()> {
    let world = world("forum").await?;
    let users: Vec<String> = (1..=8).map(|n| format!("00000000-0000-4000-8000-{n:012x}")).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    let counts = [("post", "entry"), ("comment", "remark"), ("tag", "entry_label")];
    let cohort = move_all(&world, "forum-posts", &users).await?;
    for (legacy, new) in counts {
        let there = world.number(Server::Legacy, &format!("SELECT count(*) FROM forum.{legacy}")).await?;
        assert_eq!(
            world.number(Server::Destination, &format!("SELECT count(*) FROM board.{new}")).await?,
            there
        );
        assert!(there > 20, "{there} rows of {legacy} prove little");
    }
    assert_eq!(world.number(Server::Destination, "SELECT count(*) FROM board.label").await?, 3);
    let weights = "SELECT count(*) FROM board.entry_label WHERE weight::text = '1.50'";
    assert!(world.number(Server::Destination, weights).await? > 10, "scales are kept");

    take_all_back(&world, &cohort, users.len()).await?;
    for (_, new) in counts {
        assert_eq!(world.number(Server::Destination, &format!("SELECT count(*) FROM board.{new}")).await?, 0);
    }
    assert_eq!(
        world.number(Server::Destination, "SELECT count(*) FROM board.label").await?,
        3,
        "shared rows stay"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_load_of_ones_own_leaves_out_or_alters_is_caught() -> Result<()> {
    let world = world("forum").await?;
    // Tags of user 8 are not weighed; the label table swallows nothing, so that only the read-back can tell.
    let meddle = "CREATE FUNCTION board.meddle() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN IF (SELECT owner FROM board.entry WHERE id = NEW.entry_id)::text LIKE '%8' THEN NEW.weight := 2; END IF;
        RETURN NEW; END $$;
        CREATE TRIGGER meddle BEFORE INSERT ON board.entry_label FOR EACH ROW EXECUTE FUNCTION board.meddle()";
    world.sql(Server::Destination, meddle).await?;
    let users = ["00000000-0000-4000-8000-000000000007", "00000000-0000-4000-8000-000000000008"];
    world.launched("forum-posts", "c", &users).await?;
    world.drive(Kind::Move).await?;
    assert_eq!(world.state("forum-posts", users[0]).await?, "completed");
    assert_eq!(world.state("forum-posts", users[1]).await?, "failed");
    let reason = world.reason("forum-posts", users[1]).await?;
    let first = &reason["differences"]["rows"][0];
    assert_eq!((&first["entity"], &first["fields"][0]), (&"tag".into(), &"weight".into()), "{reason}");
    let key = first["key"].as_str().context("a key")?;
    assert!(key.contains("post=") && key.contains("label=sha256:"), "a text is not told: {key}");
    let left = format!("SELECT count(*) FROM board.entry WHERE owner = '{}'", users[1]);
    assert_eq!(world.number(Server::Destination, &left).await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn users_known_by_texts_of_any_characters_move_alone_and_together() -> Result<()> {
    let world = world("notes").await?;
    let long = "ß".repeat(127);
    let odd = [
        "o'brien",
        "a\"b",
        "{1,2}",
        "back\\slash",
        "%s $1",
        "NULL",
        "comma,blank",
        "тест",
        "\u{1f4a9}",
        "a b",
        "a!",
        "-",
        "--yes",
        &long,
    ];
    let legacy = world.client(Server::Legacy).await?;
    for user in odd {
        let insert =
            "INSERT INTO pad.note (login, text) SELECT $1, 'note ' || n FROM generate_series(1, 3) n";
        legacy.execute(insert, &[&user]).await?;
    }
    world.caught_up().await?;
    // Such a key could be taken for a field of the mirror's own.
    world.handover(&["cohort", "create", "reserved", "--migration", "notes"]).await?.exited(0)?;
    let reserved = world.handover(&["cohort", "add", "reserved", "!ready"]).await?.exited(2)?;
    assert!(reserved.err.contains("reserved"), "{reserved:?}");
    let cohort = move_all(&world, "notes", &odd).await?;
    for user in odd {
        assert_eq!(world.home("notes", user).await?, State::Migrated, "{user:?}");
        let shown = world.handover(&["--json", "user", "show", "--", user]).await?.exited(0)?.json()?;
        assert_eq!(shown["migrations"][0]["attempts"][0]["rows"], 3, "{shown}");
    }
    let differing = world.handover(&["--json", "identity", "verify-mirror"]).await?.exited(0)?.json()?;
    assert_eq!((&differing["missing"], &differing["wrong"]), (&0.into(), &0.into()), "{differing}");
    take_all_back(&world, &cohort, odd.len()).await?;
    assert_eq!(world.number(Server::Destination, "SELECT count(*) FROM book.page").await?, 0);
    Ok(())
}
