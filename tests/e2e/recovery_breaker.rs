//! The circuit breaker: a cohort that runs into the same trouble again and again is held, and says why.

use anyhow::Result;
use handover_identity::State;
use handover_sandbox::Server;
use handover_tests::{Fleet, Setup, World};
use handover_tracking::Status;
use serde_json::Value;

const REMINDERS: &str = "invoice-reminders";
const USERS: i64 = 200;
/// A small window and few paused at once: what has begun before the breaker looks is bounded by them.
const SETTINGS: &[(&str, &str)] = &[("PAUSE__WINDOW", "16"), ("WORKER__BATCH", "8")];
const STAGES: [&str; 4] = ["pause", "copy", "verify", "complete"];

async fn world() -> Result<World> {
    let setup = Setup { users: USERS as u64, rows_per_user: Some(1), max_paused: 16, ..Setup::default() };
    let world = World::new(setup).await?;
    let users: Vec<String> = (1..=USERS).map(|user| user.to_string()).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    world.launched(REMINDERS, "poisoned", &users).await?;
    Ok(world)
}

fn start<'w>(world: &'w World, limits: &[(&str, &str)]) -> Result<Fleet<'w>> {
    let mut fleet = Fleet::new(world)?;
    fleet.start_with("handover-reconcile", &[SETTINGS, limits].concat())?;
    for stage in STAGES {
        fleet.start_with(&format!("handover-{stage}"), SETTINGS)?;
    }
    Ok(fleet)
}

async fn status(world: &World) -> Result<Status> {
    let tracking = &world.engine.tracking;
    tracking.status(&tracking.cohort("poisoned").await?).await.map_err(Into::into)
}

/// Waits until the cohort is held and nobody of it is paused any more.
async fn held(world: &World, fleet: &Fleet<'_>) -> Result<Status> {
    let still = || async {
        let status = status(world).await?;
        Ok(status.held && status.users.paused() == 0)
    };
    fleet.until("the breaker holds the cohort", still).await?;
    status(world).await
}

/// What `handover status` says of it, for programs and for people.
async fn shown(world: &World) -> Result<(Value, String)> {
    let json = world.handover(&["--json", "status", "poisoned"]).await?.exited(0)?.json()?;
    Ok((json, world.handover(&["status", "poisoned"]).await?.exited(0)?.out))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_destination_holds_its_cohort_with_the_reason_until_it_is_released() -> Result<()> {
    let world = world().await?;
    let poison = "ALTER TABLE reminders.reminder ADD CONSTRAINT poison CHECK (owner_id < 0) NOT VALID";
    world.sql(Server::Destination, poison).await?;
    let limits = [("BREAKER__MIN_ATTEMPTS", "10"), ("BREAKER__FAILURE_RATE", "0.5")];
    let fleet = start(&world, &limits)?;
    let stopped = held(&world, &fleet).await?;
    assert!(stopped.users.failed >= 10 && stopped.users.queued > 0, "{stopped:?}");
    assert!(stopped.users.failed <= USERS / 2, "it was held in time: {stopped:?}");
    let (json, text) = shown(&world).await?;
    let reason = json["held_reason"].as_str().unwrap_or_default();
    assert!(reason.contains("moves failed, mostly by constraint"), "{json}");
    assert!(text.contains(reason), "{text}");

    world.sql(Server::Destination, "ALTER TABLE reminders.reminder DROP CONSTRAINT poison").await?;
    let retried = world.handover(&["retry", "poisoned"]).await?.exited(0)?;
    assert!(retried.out.contains("it is held (circuit breaker"), "{retried:?}");
    world.handover(&["release", "poisoned"]).await?.exited(0)?;
    let done = || async { Ok(status(&world).await?.users.completed == USERS) };
    fleet.until("everybody has moved after the release", done).await?;
    assert!(!status(&world).await?.held);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_changes_what_it_is_given_holds_its_cohort_after_few_mismatches() -> Result<()> {
    let world = world().await?;
    let tamper = "CREATE FUNCTION reminders.tamper() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN IF NEW.owner_id % 5 = 0 THEN NEW.subject := NEW.subject || '!'; END IF; RETURN NEW; END $$;
         CREATE TRIGGER tamper BEFORE INSERT ON reminders.reminder FOR EACH ROW EXECUTE FUNCTION reminders.tamper()";
    world.sql(Server::Destination, tamper).await?;
    let fleet = start(&world, &[("BREAKER__MAX_MISMATCHES", "2"), ("BREAKER__FAILURE_RATE", "1")])?;
    let stopped = held(&world, &fleet).await?;
    assert!(stopped.users.failed > 2 && stopped.users.queued > 0, "{stopped:?}");
    assert!(stopped.users.completed > 0, "{stopped:?}");
    let (json, _) = shown(&world).await?;
    let reason = json["held_reason"].as_str().unwrap_or_default();
    assert!(reason.contains("more than 2 moves failed by a mismatch"), "{json}");
    assert_eq!(world.home(REMINDERS, "5").await?, State::Legacy);
    Ok(())
}
