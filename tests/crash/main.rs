//! Crash points: at every point of every stage a process fails, is killed, or is stopped until its lease has passed and
//! somebody else has gone on with its work. After each, all that is known of the users on every server is what it would
//! be had nothing happened.
//!
//! Worker processes are real, and armed by their environment. Points that one process cannot pass after another has
//! struck are struck side by side, by several processes of one program; users of different waves share a world.

mod image;
mod lane;
mod shipped;
mod waves;

use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use handover_engine::Outcome;
use handover_sandbox::Server;
use handover_tests::{Setup, World};
use handover_tracking::Kind;
use tokio::sync::OnceCell;

use image::{Eyes, Image};
use lane::Lane;
use waves::{WAVES, Wave, Way, unstruck};

const MIGRATION: &str = "invoice-reminders";

/// Users of a world: enough for any wave, and mostly for several.
const USERS: u64 = 288;

/// The destination alters the rows of those who are to fail as they are loaded; see [`Way::of`].
const TAMPER: &str = "CREATE FUNCTION reminders.tamper() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN IF NEW.owner_id % 16 IN (7, 8) THEN NEW.subject := NEW.subject || '!'; END IF; RETURN NEW; END $$;
    CREATE TRIGGER tamper BEFORE INSERT ON reminders.reminder FOR EACH ROW EXECUTE FUNCTION reminders.tamper()";

/// What users do on the new system who are to be carried back, or refused.
const CHANGE: &str = "UPDATE reminders.reminder SET subject = 'changed', enabled = false, modified_at = '2024-02-03'
    WHERE legacy_id IN (SELECT min(legacy_id) FROM reminders.reminder WHERE owner_id::text = ANY ($1) GROUP BY owner_id)";

/// What happens at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    /// It answers an error.
    Error,
    /// Its process is killed.
    Kill,
    /// Its process stands still for longer than its lease.
    Stop,
}

impl Blow {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Kill => "kill",
            Self::Stop => "stop",
        }
    }
}

/// Every world holds the same, user by user.
async fn world() -> Result<World> {
    let setup = Setup {
        users: USERS,
        rows_per_user: Some(3),
        max_paused: 500,
        // Far beyond what a busy machine needs: here nobody is to be given up.
        max_pause: Duration::from_mins(10),
        fence: Some(Duration::from_secs(5)),
        ..Setup::default()
    };
    let world = World::new(setup).await?;
    world.sql(Server::Destination, TAMPER).await?;
    handover_engine::install_carry_back(&mut world.client(Server::Legacy).await?).await?;
    Ok(world)
}

/// What is known of every user after an undisturbed run, each on the way that the number says.
async fn undisturbed() -> Result<&'static Image> {
    static UNDISTURBED: OnceCell<Image> = OnceCell::const_new();
    UNDISTURBED.get_or_try_init(|| Box::pin(run_undisturbed())).await
}

async fn run_undisturbed() -> Result<Image> {
    let world = world().await?;
    let users: Vec<String> = (1..=USERS).map(|user| user.to_string()).collect();
    let names: Vec<&str> = users.iter().map(String::as_str).collect();
    let cohort = world.launched(MIGRATION, "all", &names).await?;
    for (job, outcome) in Box::pin(world.drive(Kind::Move)).await? {
        let is_failure = matches!(outcome, Outcome::Park { .. });
        let way = Way::of(job.user.parse()?);
        ensure!(is_failure == (way == Way::Fails), "{job:?} {way:?}: {outcome:?}");
    }
    let of = |way: &Way| -> Vec<String> {
        (1..=USERS).filter(|user| Way::of(*user) == *way).map(|user| user.to_string()).collect()
    };
    for way in Way::BACK {
        if way.is_changed() {
            world.client(Server::Destination).await?.execute(CHANGE, &[&of(&way)]).await?;
        }
        let tracking = &world.engine.tracking;
        let asked = match way {
            Way::IsCarried => tracking.request_carry_back(&cohort, Some(&of(&way))).await?,
            _ => tracking.request_rollback(&cohort, Some(&of(&way))).await?,
        };
        ensure!(asked as usize == of(&way).len(), "{way:?}: {asked}");
        Box::pin(world.drive(Kind::Rollback)).await?;
    }
    world.engine.mend_fences().await?;
    let image = Eyes::open(&world).await?.image(&users).await?;
    // Else all that follows would compare nothing with nothing.
    for (user, must) in
        [("1", "completed"), ("7", "failed"), ("9", "rolled_back"), ("13", "rolled_back"), ("14", "refused")]
    {
        let known = image.get(user).context("every user is known")?;
        ensure!(known.contains(must) && known.contains("legacy: "), "user {user}: {known}");
    }
    Ok(image)
}

/// Sends every wave by that blow, several worlds at a time. `HANDOVER_CRASH_POINT` picks waves by a part of a point's name.
async fn strike_everywhere(blow: Blow) -> Result<()> {
    let only = std::env::var("HANDOVER_CRASH_POINT").unwrap_or_default();
    let of_interest = |wave: &&Wave| wave.points.iter().any(|point| point.contains(&only));
    let waves: Mutex<Vec<&Wave>> = Mutex::new(WAVES.iter().filter(of_interest).rev().collect());
    let expected = undisturbed().await?;
    let one = || Box::pin(lane(&waves, expected, blow));
    let (a, b, c, d) = tokio::join!(one(), one(), one(), one());
    let failed: Vec<String> = [a, b, c, d].concat();
    ensure!(failed.is_empty(), "{} failures:\n{}", failed.len(), failed.join("\n\n"));
    Ok(())
}

/// Sends waves until none is left, in a fresh world after one that failed or is used up; tells of the failures.
async fn lane(waves: &Mutex<Vec<&Wave>>, expected: &Image, blow: Blow) -> Vec<String> {
    let mut failed = Vec::new();
    let next = || waves.lock().map(|mut waves| waves.pop()).unwrap_or_default();
    let mut wave = next();
    while let Some(first) = wave.take() {
        match Box::pin(through_a_world(first, next, expected, blow)).await {
            Ok(left) => wave = left,
            Err(error) => {
                failed.push(format!("{error:#}"));
                wave = next();
            }
        }
    }
    failed
}

/// Returns the wave for which no users are left in this world.
async fn through_a_world<'w>(
    first: &'w Wave,
    next: impl Fn() -> Option<&'w Wave>,
    expected: &Image,
    blow: Blow,
) -> Result<Option<&'w Wave>> {
    let world = world().await?;
    let mut lane = Lane::new(&world, expected).await?;
    let mut wave = Some(first);
    while let Some(sent) = wave.filter(|wave| lane.has_room(wave)) {
        lane.send(sent, blow).await?;
        wave = next();
    }
    lane.end().await?;
    Ok(wave)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_at_any_point_leaves_what_an_undisturbed_run_leaves() -> Result<()> {
    strike_everywhere(Blow::Error).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_point_leaves_what_an_undisturbed_run_leaves() -> Result<()> {
    strike_everywhere(Blow::Kill).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_sleeps_past_its_lease_at_any_point_and_wakes_leaves_what_an_undisturbed_run_leaves()
-> Result<()> {
    strike_everywhere(Blow::Stop).await
}

#[test]
fn every_listed_point_is_struck() {
    assert!(unstruck().is_empty(), "in POINTS and in no wave of tests/crash/waves.rs: {:?}", unstruck());
}
