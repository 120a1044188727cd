//! The command line on real servers: what it answers, with which exit code, to good and bad input. What it says
//! without servers is tested beside it.

use std::io::Write as _;

use anyhow::{Context, Result};
use handover_engine::Outcome;
use handover_sandbox::Server;
use handover_tests::{Ran, Setup, World};
use handover_tracking::Kind;

const REMINDERS: &str = "invoice-reminders";

async fn world() -> Result<World> {
    let world = World::new(Setup { rows_per_user: Some(2), ..Setup::default() }).await?;
    world.handover(&["cohort", "create", "pilot", "--migration", REMINDERS]).await?.exited(0)?;
    Ok(world)
}

/// Adds the users of a file with that content to the cohort `pilot`.
async fn add_file(world: &World, content: &[u8]) -> Result<Ran> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(content)?;
    let path = file.path().display().to_string();
    world.handover(&["--json", "cohort", "add", "pilot", "--file", &path]).await
}

async fn members(world: &World) -> Result<i64> {
    world.number(Server::Destination, "SELECT count(*) FROM handover.member").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_used_whole_adds_nobody_and_says_which_line() -> Result<()> {
    let world = world().await?;
    let endless = "9".repeat(100_000);
    let table: [(&str, Vec<u8>, &str); 8] = [
        ("a text for a number", b"1\n2\nx\n4\n".to_vec(), "line 3"),
        ("two users on a line", b"1 2\n".to_vec(), "line 1"),
        ("a number too large", b"1\n9223372036854775808\n".to_vec(), "line 2"),
        ("a fraction", b"1.0\n".to_vec(), "line 1"),
        ("not UTF-8", b"1\n\xff\xfe\n".to_vec(), "line 2"),
        ("UTF-16", b"\xff\xfe1\x002\x00".to_vec(), "line 1"),
        ("a NUL", b"1\n2\x003\n".to_vec(), "line 2"),
        ("a line without end", format!("1\n{endless}").into_bytes(), "line 2"),
    ];
    for (what, content, line) in table {
        let ran = add_file(&world, &content).await?.exited(2).with_context(|| what.to_owned())?;
        assert!(ran.err.contains(line) && ran.out.is_empty(), "{what}: {ran:?}");
        assert!(ran.err.len() < 2_000, "{what}: the input is not thrown back: {} bytes", ran.err.len());
        assert_eq!(members(&world).await?, 0, "{what}");
    }
    let missing = world.handover(&["cohort", "add", "pilot", "--file", "/no/such/file"]).await?.exited(2)?;
    assert!(missing.err.contains("/no/such/file"), "{missing:?}");
    let folder = world.handover(&["cohort", "add", "pilot", "--file", "/tmp"]).await?;
    assert!(folder.code == 2 || folder.code == 1, "{folder:?}");
    assert_eq!(members(&world).await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn users_come_from_parameters_a_file_or_standard_input_in_any_spelling() -> Result<()> {
    let world = world().await?;
    let added = add_file(&world, "\u{feff}# the pilot\r\n\r\n 007 \r\n+8\n\t9\n7\n# end".as_bytes()).await?;
    let added = added.exited(0)?.json()?;
    assert_eq!((&added["added"], &added["duplicates"]), (&3.into(), &1.into()), "{added}");
    assert_eq!(added["clashes"][0]["line"], 6, "{added}");
    let piped = ["--json", "cohort", "add", "pilot", "--file", "-"];
    let added = world.handover_with_input(&piped, b"9\n10\n-11\n").await?.exited(0)?.json()?;
    assert_eq!((&added["added"], &added["already_here"]), (&2.into(), &1.into()), "{added}");
    let named =
        world.handover(&["--json", "cohort", "add", "pilot", "12", "0012"]).await?.exited(0)?.json()?;
    assert_eq!((&named["added"], &named["duplicates"]), (&1.into(), &1.into()), "{named}");
    let empty = add_file(&world, b"# nobody\n\n").await?.exited(0)?.json()?;
    assert_eq!(empty["added"], 0);
    assert_eq!(members(&world).await?, 6);
    let listed = world.handover(&["--json", "cohort", "list"]).await?.exited(0)?.json()?;
    assert_eq!((&listed["name"], &listed["users"]), (&"pilot".into(), &6.into()), "{listed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_states_that_do_not_fit_have_their_exit_codes() -> Result<()> {
    let world = world().await?;
    world.handover(&["cohort", "add", "pilot", "1", "2"]).await?.exited(0)?;
    let table: [(&[&str], i32); 22] = [
        (&["cohort", "create", "pilot", "--migration", REMINDERS], 5),
        (&["cohort", "create", "other", "--migration", "no-such"], 4),
        (&["cohort", "create", "a b", "--migration", REMINDERS], 2),
        (&["cohort", "create", "", "--migration", REMINDERS], 2),
        (&["cohort", "create", "'; DROP TABLE handover.cohort; --", "--migration", REMINDERS], 2),
        (&["cohort", "create", "größe", "--migration", REMINDERS], 2),
        (&["cohort", "add", "nobody", "1"], 4),
        (&["cohort", "add", "pilot", "one"], 2),
        (&["cohort", "remove", "pilot", "99"], 4),
        (&["launch", "nobody"], 4),
        (&["launch", "pilot", "--limit", "-1"], 2),
        (&["status", "nobody"], 4),
        (&["hold", "nobody"], 4),
        (&["release", "nobody"], 4),
        (&["cancel", "pilot"], 0),
        (&["retry", "pilot", "1"], 4),
        (&["rollback", "pilot", "1", "--yes"], 4),
        (&["rollback", "pilot"], 2),
        (&["user", "show", "77"], 4),
        (&["user", "show", "seven"], 2),
        (&["identity", "enroll", "5", "--migration", "no-such"], 4),
        (&["dead", "retry", "nowhere"], 2),
    ];
    for (arguments, code) in table {
        let ran = world.handover(arguments).await?;
        assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
        assert!(code == 0 || ran.err.len() + ran.out.len() > 10, "{arguments:?} says nothing");
        assert!(!ran.err.contains("panicked"), "{ran:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_undone_is_done_only_with_yes() -> Result<()> {
    let world = world().await?;
    world.handover(&["cohort", "add", "pilot", "1", "2"]).await?.exited(0)?;
    world.handover(&["launch", "pilot"]).await?.exited(0)?;
    let refused = world.handover(&["cancel", "pilot"]).await?.exited(5)?;
    assert!(refused.err.contains("--yes"), "{refused:?}");
    let status = world.handover(&["--json", "status", "pilot"]).await?.exited(0)?.json()?;
    assert_eq!(status["users"]["queued"], 2);
    let cancelled = world.handover(&["--json", "--yes", "cancel", "pilot"]).await?.exited(0)?.json()?;
    assert_eq!(cancelled["withdrawn"], 2, "{cancelled}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn completed_failed_and_unknown_users_are_told_apart_by_a_rollback() -> Result<()> {
    let world = world().await?;
    let constraint = "ALTER TABLE reminders.reminder ADD CONSTRAINT nobody_is_two CHECK (owner_id <> 2)";
    world.sql(Server::Destination, constraint).await?;
    world.handover(&["cohort", "add", "pilot", "1", "2", "3"]).await?.exited(0)?;
    world.handover(&["launch", "pilot", "--limit", "2"]).await?.exited(0)?;
    world.drive(Kind::Move).await?;
    let asked =
        world.handover(&["--json", "--yes", "rollback", "pilot", "1", "2", "3", "77"]).await?.exited(4)?;
    let asked = asked.json()?;
    assert_eq!(asked["requested"], 1, "{asked}");
    let state = |user: &str| {
        let left_out = asked["left_out"].as_array()?;
        left_out.iter().find(|left| left["user"] == user)?["state"].as_str().map(str::to_owned)
    };
    assert_eq!(state("2").as_deref(), Some("failed"));
    assert_eq!(state("3").as_deref(), Some("not_started"), "{asked}");
    assert_eq!(state("77"), None, "{asked}");
    let back = world.drive(Kind::Rollback).await?;
    assert_eq!(
        back.iter().map(|(job, outcome)| (job.user.as_str(), outcome.clone())).collect::<Vec<_>>(),
        [("1", Outcome::Finished)]
    );
    let shown = world.handover(&["user", "show", "2"]).await?.exited(0)?;
    for told in ["failed", "23514", "table reminder", "constraint nobody_is_two"] {
        assert!(shown.out.contains(told), "{told} in {}", shown.out);
    }
    let status = world.handover(&["--json", "status", "pilot"]).await?.exited(0)?.json()?;
    let users = &status["users"];
    assert_eq!(
        (&users["rolled_back"], &users["failed"], &users["not_started"]),
        (&1.into(), &1.into(), &1.into())
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_in_json_is_an_object_a_line() -> Result<()> {
    let world = world().await?;
    world.handover(&["cohort", "add", "pilot", "1", "2", "3"]).await?.exited(0)?;
    world.handover(&["launch", "pilot", "--limit", "2"]).await?.exited(0)?;
    world.drive(Kind::Move).await?;
    world.caught_up().await?;
    let lines: [&[&str]; 18] = [
        &["init"],
        &["cohort", "create", "second", "--migration", "invoice-settings"],
        &["cohort", "add", "second", "4"],
        &["cohort", "remove", "second", "4"],
        &["cohort", "list"],
        &["launch", "pilot"],
        &["status", "pilot"],
        &["hold", "pilot", "--reason", "a \"test\""],
        &["release", "pilot"],
        &["retry", "pilot"],
        &["rollback", "pilot", "--all", "--yes"],
        &["user", "show", "1"],
        &["queues"],
        &["dead", "list"],
        &["dead", "drop", "copy", "--yes"],
        &["identity", "get", "1"],
        &["identity", "rebuild-mirror"],
        &["identity", "verify-mirror"],
    ];
    for line in lines {
        let arguments = [&["--json"], line].concat();
        let ran = world.handover(&arguments).await?.exited(0)?;
        for printed in ran.out.lines() {
            let value: serde_json::Value =
                serde_json::from_str(printed).with_context(|| format!("{line:?} prints {printed}"))?;
            assert!(value.is_object(), "{line:?} prints {printed}");
        }
        assert!(line[0] == "dead" || !ran.out.is_empty(), "{line:?} prints nothing");
    }
    let plan = world.plan("invoice-reminders");
    for verb in ["show", "check"] {
        world.handover(&["--json", "plan", verb, &plan]).await?.exited(0)?.json()?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_users_are_added_at_once_and_a_status_stays_quick() -> Result<()> {
    let world = world().await?;
    let lines: Vec<String> = (1..=100_000).map(|user| user.to_string()).collect();
    let lines = lines.join("\n");
    let begun = std::time::Instant::now();
    let added = add_file(&world, lines.as_bytes()).await?.exited(0)?.json()?;
    assert_eq!(added["added"], 100_000, "{added}");
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
    let launched = world.handover(&["--json", "launch", "pilot"]).await?.exited(0)?.json()?;
    assert_eq!(launched["queued"], 100_000);
    let cohort = world.engine.tracking.cohort("pilot").await?;
    world.engine.tracking.draw(Kind::Move, 2_000).await?;
    let begun = std::time::Instant::now();
    for _ in 0..20 {
        assert_eq!(world.engine.tracking.status(&cohort).await?.users.queued, 100_000);
    }
    assert!(begun.elapsed().as_secs() < 10, "20 looks took {:?}", begun.elapsed());
    let again = add_file(&world, lines.as_bytes()).await?.exited(0)?;
    let again = again.json()?;
    assert_eq!((&again["added"], &again["already_here"]), (&0.into(), &100_000.into()));
    assert_eq!(again["clashes"].as_array().map(Vec::len), Some(1_000), "the list is bounded");
    Ok(())
}
