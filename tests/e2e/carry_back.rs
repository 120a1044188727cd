//! The way back with changes: by the plan's reverse load, once, proven by digest, and never by a worker that is late.

use std::time::Duration;

use anyhow::{Context as _, Result};
use handover_engine::{Job, Outcome, StageName};
use handover_fault::Scope;
use handover_identity::State;
use handover_plan::Plan;
use handover_sandbox::Server;
use handover_tests::{Fleet, Setup, World, plan_dir};
use handover_tracking::{CohortInfo, Kind, RetryOf};

const REMINDERS: &str = "invoice-reminders";

/// User 1 changes one reminder of three, loses one and makes one, with a recipient, on the new system.
const CHANGES: &str = "
    UPDATE reminders.reminder SET subject = 'changed', enabled = false, modified_at = now()
     WHERE legacy_id = (SELECT min(legacy_id) FROM reminders.reminder WHERE owner_id = 1);
    DELETE FROM reminders.recipient x USING reminders.reminder r WHERE r.id = x.reminder_id
       AND r.legacy_id = (SELECT max(legacy_id) FROM reminders.reminder WHERE owner_id = 1);
    DELETE FROM reminders.reminder WHERE legacy_id = (SELECT max(legacy_id) FROM reminders.reminder WHERE owner_id = 1);
    WITH born AS (INSERT INTO reminders.reminder (owner_id, invoice_id, kind, channel, schedule, subject, body)
        SELECT 1, min(invoice_id), 'on_due', 'email', '{\"days\": 3, \"at\": null, \"zone\": \"UTC\"}', 'born', ''
          FROM reminders.reminder WHERE owner_id = 1 RETURNING id)
    INSERT INTO reminders.recipient (reminder_id, email) SELECT id, 'a@example.org' FROM born";

/// What legacy shows of user 1's reminders.
const SHOWN: &str = "SELECT string_agg(r.subject || ' ' || coalesce(r.enabled, true), ',' ORDER BY r.id)
    FROM shop.invoice_reminder r JOIN shop.invoice i ON i.id = r.invoice_id
    WHERE i.owner_id = 1 AND r.deleted_at IS NULL";

async fn moved(setup: Setup) -> Result<(World, CohortInfo)> {
    let world = Box::pin(World::new(Setup { rows_per_user: Some(3), ..setup })).await?;
    let cohort = world.launched(REMINDERS, "c", &["1", "2"]).await?;
    let moved = Box::pin(world.drive(Kind::Move)).await?;
    assert!(moved.iter().all(|(_, outcome)| *outcome == Outcome::Finished), "{moved:?}");
    handover_engine::install_carry_back(&mut world.client(Server::Legacy).await?).await?;
    Ok((world, cohort))
}

async fn job(world: &World) -> Result<Job> {
    let drawn =
        world.engine.tracking.draw(Kind::Rollback, 1).await?.pop().context("a rollback was asked for")?;
    Ok(Job { migration: drawn.migration, user: drawn.user, version: drawn.version })
}

async fn carry_back(world: &World, cohort: &CohortInfo) -> Result<Vec<(Job, Outcome)>> {
    assert_eq!(world.engine.tracking.request_carry_back(cohort, Some(&["1".to_owned()])).await?, 1);
    Box::pin(world.drive(Kind::Rollback)).await
}

async fn shown(world: &World) -> Result<String> {
    let row = world.client(Server::Legacy).await?.query_one(SHOWN, &[]).await?;
    Ok(row.get::<_, Option<String>>(0).unwrap_or_default())
}

async fn is_back_with_changes(world: &World) -> Result<()> {
    assert_eq!(world.home(REMINDERS, "1").await?, State::Legacy);
    assert_eq!(world.state(REMINDERS, "1").await?, "rolled_back");
    assert_eq!(world.moved_reminders("1").await?, 0);
    let shown = shown(world).await?;
    assert_eq!(shown.split(',').count(), 3, "{shown}");
    assert!(shown.starts_with("changed false,") && shown.ends_with(",born true"), "{shown}");
    let recipients =
        "SELECT count(*) FROM shop.reminder_recipient x JOIN shop.invoice_reminder r ON r.id = x.reminder_id
                      WHERE r.subject = 'born' AND x.email = 'a@example.org'";
    assert_eq!(world.number(Server::Legacy, recipients).await?, 1);
    Ok(())
}

/// The new system's subjects of user 1 become those that legacy has.
async fn undo(world: &World) -> Result<()> {
    let undo = "UPDATE reminders.reminder r SET subject = o.subject FROM jsonb_to_recordset($$SUBJECTS$$) AS
                o(id int8, subject text) WHERE o.id = r.legacy_id";
    let subjects = "SELECT jsonb_agg(jsonb_build_object('id', r.id, 'subject', r.subject))::text
                    FROM shop.invoice_reminder r JOIN shop.invoice i ON i.id = r.invoice_id WHERE i.owner_id = 1";
    let row = world.client(Server::Legacy).await?.query_one(subjects, &[]).await?;
    world.sql(Server::Destination, &undo.replace("SUBJECTS", row.get(0))).await
}

/// A change on the new system that [`undo`] undoes.
const SUBJECT: &str = "UPDATE reminders.reminder SET subject = 'old' WHERE owner_id = 1";

#[tokio::test(flavor = "multi_thread")]
async fn changes_go_back_only_where_that_was_ordered_and_the_user_can_move_again() -> Result<()> {
    let (world, cohort) = moved(Setup::default()).await?;
    world.sql(Server::Destination, CHANGES).await?;
    world.engine.tracking.request_rollback(&cohort, Some(&["1".to_owned()])).await?;
    world.drive(Kind::Rollback).await?;
    assert_eq!(world.reason(REMINDERS, "1").await?["kind"], "changed");
    assert_eq!(world.home(REMINDERS, "1").await?, State::Migrated);

    let back = carry_back(&world, &cohort).await?;
    assert_eq!(back[0].1, Outcome::Finished, "{back:?}");
    is_back_with_changes(&world).await?;
    world.caught_up().await?;
    assert_eq!(world.engine.tracking.retry(&cohort, RetryOf::RolledBack, None).await?, 1);
    let again = world.drive(Kind::Move).await?;
    assert_eq!((&again[0].1, world.moved_reminders("1").await?), (&Outcome::Finished, 3));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_fence_lets_the_reverse_load_through_and_nobody_else() -> Result<()> {
    let setup = Setup { fence: Some(Duration::from_secs(5)), ..Setup::default() };
    let (world, cohort) = moved(setup).await?;
    world.sql(Server::Destination, CHANGES).await?;
    let scope = Scope::enter().await;
    let hold = scope.hold("rollback.carrying");
    world.engine.tracking.request_carry_back(&cohort, Some(&["1".to_owned()])).await?;
    let jobs = [job(&world).await?];
    let schedule = async {
        hold.reached().await;
        let write = "UPDATE shop.invoice_reminder SET body = body WHERE invoice_id IN
                     (SELECT id FROM shop.invoice WHERE owner_id = 1)";
        let refused = world.client(Server::Legacy).await?.batch_execute(write).await.err();
        hold.release();
        anyhow::Ok(refused.and_then(|error| error.code().map(|code| code.code().to_owned())))
    };
    let (outcomes, refused) = tokio::join!(world.run(StageName::Rollback, &jobs), schedule);
    assert_eq!((outcomes, refused?.as_deref()), (vec![Outcome::Finished], Some("MV001")));
    is_back_with_changes(&world).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_whose_worker_died_before_the_removal_is_done_once() -> Result<()> {
    let (world, cohort) = moved(Setup::default()).await?;
    world.sql(Server::Destination, CHANGES).await?;
    let scope = Scope::enter().await;
    let hold = scope.hold("rollback.carried");
    world.engine.tracking.request_carry_back(&cohort, Some(&["1".to_owned()])).await?;
    let jobs = [job(&world).await?];
    tokio::select! {
        outcomes = world.run(StageName::Rollback, &jobs) => panic!("it was to be held: {outcomes:?}"),
        () = hold.reached() => {}
    }
    hold.release();
    assert_eq!(world.moved_reminders("1").await?, 3, "the removal has not begun");
    let loaded = "SELECT (extract(epoch FROM loaded_at) * 1000000)::int8 FROM handover_carry.marker";
    let first = world.number(Server::Legacy, loaded).await?;
    assert_eq!(world.run(StageName::Rollback, &jobs).await, [Outcome::Finished]);
    assert_eq!(world.number(Server::Legacy, loaded).await?, first);
    is_back_with_changes(&world).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_workers_load_is_shut_out_by_the_attempt_that_came_after_it() -> Result<()> {
    let (world, cohort) = moved(Setup::default()).await?;
    let before = shown(&world).await?;
    world.sql(Server::Destination, SUBJECT).await?;
    let scope = Scope::enter().await;
    let hold = scope.hold("rollback.carrying");
    world.engine.tracking.request_carry_back(&cohort, Some(&["1".to_owned()])).await?;
    let jobs = [job(&world).await?];
    let schedule = async {
        hold.reached().await;
        // The attempt is taken back while its worker sleeps; the user undoes the change and is rolled back plainly.
        let mut engine = world.engine.clone();
        engine.options.max_pause = Duration::ZERO;
        assert_eq!(engine.settle().await?.overdue, 1);
        assert_eq!(world.home(REMINDERS, "1").await?, State::Migrated);
        undo(&world).await?;
        world.engine.tracking.request_rollback(&cohort, Some(&["1".to_owned()])).await?;
        let back = world.drive(Kind::Rollback).await?;
        assert_eq!(back[0].1, Outcome::Finished, "{back:?}");
        // The user is at home on legacy; then the worker wakes, to load what the new system holds: nothing.
        hold.release();
        anyhow::Ok(())
    };
    let (late, scheduled) = tokio::join!(world.run(StageName::Rollback, &jobs), schedule);
    scheduled?;
    assert!(!matches!(late[0], Outcome::Finished), "{late:?}");
    assert_eq!(shown(&world).await?, before);
    assert_eq!(world.home(REMINDERS, "1").await?, State::Legacy);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_worker_that_stood_still_loads_nothing_once_the_user_has_gone_on() -> Result<()> {
    let (world, cohort) = moved(Setup::default()).await?;
    let before = shown(&world).await?;
    world.sql(Server::Destination, SUBJECT).await?;
    let scope = Scope::enter().await;
    let hold = scope.hold("rollback.carrying");
    world.engine.tracking.request_carry_back(&cohort, Some(&["1".to_owned()])).await?;
    let jobs = [job(&world).await?];
    let schedule = async {
        hold.reached().await;
        // Another worker on the same job finds nothing to carry; the user moves again, and writes on the new system.
        undo(&world).await?;
        assert_eq!(world.run(StageName::Rollback, &jobs).await, [Outcome::Finished]);
        assert_eq!(world.engine.tracking.retry(&cohort, RetryOf::RolledBack, None).await?, 1);
        assert_eq!(world.drive(Kind::Move).await?[0].1, Outcome::Finished);
        world.sql(Server::Destination, SUBJECT).await?;
        hold.release();
        anyhow::Ok(())
    };
    let (late, scheduled) = tokio::join!(world.run(StageName::Rollback, &jobs), schedule);
    scheduled?;
    assert!(!matches!(late[0], Outcome::Finished), "{late:?}");
    assert_eq!(shown(&world).await?, before);
    assert_eq!((world.home(REMINDERS, "1").await?, world.moved_reminders("1").await?), (State::Migrated, 3));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_wrote_to_legacy_is_not_written_over() -> Result<()> {
    let (world, cohort) = moved(Setup::default()).await?;
    world.sql(Server::Destination, CHANGES).await?;
    let escaped = "UPDATE shop.invoice_reminder SET body = 'escaped' WHERE invoice_id IN
                   (SELECT id FROM shop.invoice WHERE owner_id = 1)";
    world.sql(Server::Legacy, escaped).await?;
    carry_back(&world, &cohort).await?;
    assert_eq!(world.reason(REMINDERS, "1").await?["kind"], "legacy_changed");
    assert_eq!(world.home(REMINDERS, "1").await?, State::Migrated);
    let kept = "SELECT count(*) FROM shop.invoice_reminder WHERE body = 'escaped'";
    assert_eq!(world.number(Server::Legacy, kept).await?, 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_legacy_refuses_or_alters_leaves_the_user_on_the_new_system() -> Result<()> {
    let (world, cohort) = moved(Setup::default()).await?;
    world.sql(Server::Destination, CHANGES).await?;
    let before = shown(&world).await?;
    // Legacy's column is shorter than the new system's; and then a trigger of legacy's makes something else of a row.
    let long = "UPDATE reminders.reminder SET subject = repeat('x', 201) WHERE subject = 'born'";
    let alters = "CREATE FUNCTION shop.shout() RETURNS trigger LANGUAGE plpgsql AS
                  'BEGIN NEW.subject := upper(NEW.subject); RETURN NEW; END';
                  CREATE TRIGGER shout BEFORE INSERT OR UPDATE ON shop.invoice_reminder
                  FOR EACH ROW EXECUTE FUNCTION shop.shout()";
    let short = "UPDATE reminders.reminder SET subject = 'born' WHERE length(subject) > 200";
    for (on, sql, kind) in [
        (Server::Destination, long, "constraint"),
        (Server::Destination, short, ""),
        (Server::Legacy, alters, "mismatch"),
    ] {
        world.sql(on, sql).await?;
        if kind.is_empty() {
            continue;
        }
        let back = carry_back(&world, &cohort).await?;
        assert!(matches!(back[0].1, Outcome::Park { .. }), "{back:?}");
        assert_eq!(world.reason(REMINDERS, "1").await?["kind"], kind);
        assert_eq!(world.home(REMINDERS, "1").await?, State::Migrated);
        assert_eq!((world.moved_reminders("1").await?, shown(&world).await?), (3, before.clone()));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_carries_changes_back_through_a_fleet_where_the_plan_can() -> Result<()> {
    let setup = Setup { rows_per_user: Some(3), fence: Some(Duration::from_secs(5)), ..Setup::default() };
    let world = Box::pin(World::new(setup)).await?;
    let fleet = Fleet::of_all(&world)?;
    let cohort = world.launched(REMINDERS, "pilot", &["1", "2"]).await?;
    fleet
        .until("both have moved", || async {
            Ok(world.engine.tracking.status(&cohort).await?.users.completed == 2)
        })
        .await?;
    world.sql(Server::Destination, CHANGES).await?;
    let arguments = ["--json", "--yes", "rollback", "pilot", "1", "--carry-back", "--watch"];
    let back = world.handover(&arguments).await?.exited(0)?.json()?;
    assert_eq!((&back["rolled_back"], &back["refused"]), (&1.into(), &0.into()), "{back}");
    is_back_with_changes(&world).await?;

    let mut files = Plan::load(&plan_dir(REMINDERS))?.files().clone();
    let text = files.get_mut("plan.toml").context("a plan has it")?;
    *text = text.lines().filter(|line| !line.starts_with("reverse")).collect::<Vec<_>>().join("\n");
    let one_way = Plan::from_files(files).map_err(|errors| anyhow::anyhow!("{errors}"))?;
    world.register(&one_way).await?;
    let refused = world.handover(&["--yes", "rollback", "pilot", "2", "--carry-back"]).await?.exited(5)?;
    assert!(refused.err.contains("has no `reverse` for reminder, recipient"), "{refused:?}");
    Ok(())
}
