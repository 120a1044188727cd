//! What an operator or a stray program may have put on the queues: it is set aside or found stale, and the users who
//! move meanwhile arrive.

use anyhow::{Context, Result, ensure};
use handover_sandbox::Server;
use handover_tests::{Fleet, PROGRAMS, Setup, World};
use serde_json::Value;

use crate::row::{Row, Section, row};

const MIGRATION: &str = "invoice-reminders";
const STAGES: [&str; 5] = ["pause", "copy", "verify", "complete", "rollback"];

/// A good job's text with other fields.
fn job(fields: &str) -> Vec<u8> {
    format!("{{\"migration\":\"{MIGRATION}\",{fields}}}").into_bytes()
}

/// 1: set aside among the dead; 0: gone, since nobody's attempt is meant by it.
fn rows() -> Vec<Row<Vec<u8>>> {
    let of = |text: &str| text.as_bytes().to_vec();
    let long = format!("\"user\":\"{}\",\"version\":1", "9".repeat(1_000_000));
    vec![
        row("nothing", Vec::new(), 1, "not a json object"),
        row("no JSON", of("no json"), 1, "not a json object"),
        row("not UTF-8", b"\xff\xfe\x00".to_vec(), 1, "not a json object"),
        row("a NUL", of("\0"), 1, "not a json object"),
        row("null", of("null"), 1, "not a json object"),
        row("an array", of(r#"["invoice-reminders","1",1]"#), 1, "not a json object"),
        row("an empty object", of("{}"), 1, "not a job"),
        row("half an object", of(r#"{"user":"1""#), 1, "not valid json"),
        row("an object and more", job("\"user\":\"1\",\"version\":1}{"), 1, "not valid json"),
        row(
            "10 000 arrays in each other",
            [b"{\"a\":".as_slice(), &b"[".repeat(10_000)].concat(),
            1,
            "not valid json",
        ),
        row("a number for a key", job("\"user\":1,\"version\":1"), 1, "not a job"),
        row("no version", job("\"user\":\"1\""), 1, "not a job"),
        row("a version that is a text", job("\"user\":\"1\",\"version\":\"1\""), 1, "not a job"),
        row("a version beyond 64 bits", job("\"user\":\"1\",\"version\":1e30"), 1, "not a job"),
        row("a field twice", job("\"user\":\"1\",\"user\":\"2\",\"version\":1"), 1, "not a job"),
        row("tries below zero", job("\"user\":\"1\",\"version\":1,\"tries\":-1"), 1, "not a job"),
        row("tries beyond 32 bits", job("\"user\":\"1\",\"version\":1,\"tries\":4294967296"), 1, "not a job"),
        row("half a surrogate pair", job("\"user\":\"\\ud800\",\"version\":1"), 1, "not valid json"),
        row("a version that nobody has", job("\"user\":\"1\",\"version\":999"), 0, ""),
        row("a version below zero", job("\"user\":\"1\",\"version\":-9223372036854775808"), 0, ""),
        row("a user who is in no cohort", job("\"user\":\"77\",\"version\":1"), 0, ""),
        row("a user's key with a NUL", job("\"user\":\"1\\u0000\",\"version\":1"), 1, "not a job"),
        row("a user's key with a right-to-left override", job("\"user\":\"\\u202e1\",\"version\":1"), 0, ""),
        row(
            "a user's key that is SQL",
            job("\"user\":\"1'); DROP TABLE handover.attempt; --\",\"version\":1"),
            0,
            "",
        ),
        row("a user's key of 1 000 000 digits", job(&long), 1, "not a job"),
        row(
            "a migration that does not exist",
            of(r#"{"migration":"no-such","user":"1","version":1}"#),
            0,
            "",
        ),
        row(
            "a migration's name with a NUL",
            of(r#"{"migration":"a\u0000","user":"1","version":1}"#),
            1,
            "not a job",
        ),
    ]
}

pub(crate) fn section() -> Section {
    let about = "Put on each of the five queues by `LPUSH`, while a cohort moves. 1: set aside among the dead of that queue, with \
                 this reason and as it was found; 0: well formed, but nobody's attempt, and dropped. Every user of the cohort \
                 arrives, nobody else is touched, and no worker ends.";
    Section::of("Queues", about, "set aside", &rows())
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_lies_on_a_queue_no_worker_ends_and_the_users_arrive() -> Result<()> {
    let world = World::new(Setup { users: 6, ..Setup::default() }).await?;
    for stage in STAGES {
        for row in rows() {
            world.push_raw(stage, &row.input).await?;
        }
    }
    let users = ["1", "2", "3", "4", "5"];
    world.launched(MIGRATION, "pilot", &users).await?;
    let mut fleet = Fleet::of_all(&world)?;
    let queues = world.queues()?;
    let arrived = || async {
        for user in users {
            if world.state(MIGRATION, user).await? != "completed" {
                return Ok(false);
            }
        }
        for stage in STAGES {
            let depth = queues.depth(stage).await?;
            if depth.waiting + depth.inflight + depth.delayed > 0 {
                return Ok(false);
            }
        }
        Ok(true)
    };
    fleet.until("the users arrive and the queues are empty", arrived).await?;
    for stage in STAGES {
        let dead = queues.dead_list::<Value>(stage, 0, 200).await?;
        let aside = rows().into_iter().filter(|row| row.code == 1).collect::<Vec<_>>();
        for row in &aside {
            let as_found = |record: &str| -> bool {
                let record: Value = serde_json::from_str(record).unwrap_or_default();
                let text = String::from_utf8_lossy(&row.input);
                record["entry"] == text.as_ref()
                    || record["entry_hex"] == hex::encode(&row.input)
                    || serde_json::from_slice::<Value>(&row.input).is_ok_and(|value| value == record["entry"])
            };
            let found = dead.iter().find(|dead| as_found(&dead.record()));
            let found =
                found.with_context(|| format!("{}, on {stage}: it is not among the dead", row.what))?;
            ensure!(found.error.contains(row.says), "{}, on {stage}: {}", row.what, found.error);
        }
        let errors: Vec<&str> = dead.iter().map(|dead| dead.error.as_str()).collect();
        ensure!(dead.len() == aside.len(), "{stage}: {} are set aside: {errors:?}", dead.len());
    }
    ensure!(world.number(Server::Identity, "SELECT count(*) FROM identity.users").await? == 5, "strangers");
    ensure!(
        world.number(Server::Destination, "SELECT count(*) FROM handover.member").await? == 5,
        "strangers"
    );
    for number in 0..PROGRAMS.len() {
        fleet.stop(number).await?;
        ensure!(!fleet.log(number).contains("panicked"), "{}", fleet.log(number));
    }
    Ok(())
}
