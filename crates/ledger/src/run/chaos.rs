//! The chaos run: the ledger under random faults, several at once; then the faults end, everything must come to rest
//! within a stated time, and the ledger must balance.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use handover_identity::{Identity, Mirror, MirrorOptions, Truth};
use handover_postgres::Database;
use secrecy::SecretString;
use serde::Serialize;

use crate::traffic::Traffic;

use super::chaos_act::Chaos;
use super::chaos_faults::schedule;
use super::chaos_net::Net;
use super::churn::Churn;
use super::fleet::Fleet;
use super::kept::{Facts, Folder};
use super::operator::Operator;
use super::world::World;
use super::{Config, EVERY, Fence, WORKERS, digests, say};

/// How long everything may take to come to rest once the faults have ended: a pause's bound, a lost lease, the longest
/// time between two tries, and room for a busy machine.
pub const SETTLES_WITHIN: Duration = Duration::from_mins(2);

/// What a chaos run came to: one line of JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The fence.
    pub fence: Fence,
    /// Faults that struck.
    pub faults: usize,
    /// Kinds of faults that struck.
    pub kinds: usize,
    /// Writes that were acknowledged.
    pub acknowledged: usize,
    /// As in the ledger; all of these must be 0.
    pub lost: usize,
    /// See [`crate::check::Verdict`].
    pub doubled: usize,
    /// See [`crate::check::Verdict`].
    pub misrouted: usize,
    /// Users who were still in motion, paused, or wrong in the mirror when the time to settle was over.
    pub stuck: usize,
    /// Seconds from the end of the faults until nobody was in motion and the mirror was equal to the truth.
    pub unsettled_seconds: f64,
    /// Users' moves to the new system.
    pub handovers: usize,
    /// Users' ways back.
    pub rollbacks: usize,
    /// Of those, the ones that carried changes back.
    pub carried_back: usize,
    /// Reminders sent more than once.
    pub sent_twice: usize,
    /// Reminders that were due and not sent.
    pub unsent: usize,
    /// Writes that are there although nothing was done.
    pub phantom: usize,
    /// Answers that lacked what was acknowledged before.
    pub stale: usize,
    /// Rows that changed though nobody wrote them.
    pub altered: usize,
    /// Users who were never moved, or are paused still.
    pub unmoved: usize,
    /// Requests whose outcome is not known.
    pub indeterminate: usize,
    /// Requests that were refused, with nothing done.
    pub refused: usize,
    /// Digests that Postgres computed again.
    pub digests_compared: usize,
    /// Those that differ.
    pub digest_mismatches: usize,
    /// Processes that ended by themselves, and were started again.
    pub revived: usize,
    /// Faults that struck, by kind.
    pub struck: BTreeMap<String, usize>,
    /// Whether all is as it must be.
    pub balances: bool,
}

/// The fence under which a seed runs where none is named: each second one has the database fence.
pub fn fence_of(seed: u64) -> Fence {
    if seed.is_multiple_of(2) { Fence::Database } else { Fence::Cooperative }
}

/// Runs a seed, from empty servers to the verdict.
pub async fn run(config: &Config, fence: Fence) -> Result<Outcome> {
    let folder = Folder::create(&config.folder, fence)?;
    say(&format!("chaos, {fence:?} fence: starting; evidence in {}", folder.path().display()));
    let world = Box::pin(World::start(config, fence)).await?;
    let mut fleet = Fleet::new(&world.sandbox, &folder.path().join("logs"), fence)?;
    let net = Net::between(&world.sandbox, &mut fleet).await?;
    fleet.start(&world.sandbox, "handover-identity")?;
    fleet.service_answers().await?;
    for program in WORKERS {
        fleet.start(&world.sandbox, program)?;
    }
    Churn::begin(&mut fleet, &world.sandbox).await?;
    let mut operator = Operator::new(world.tracking.clone(), &world.users, config).await?;
    let traffic = Traffic::start_with(super::options(config, &fleet, &world, folder.history()))?;
    let mut chaos = Chaos::new(&world.sandbox, net, fence, schedule(config.seed, config.lasts()));
    Box::pin(under_traffic(config, &mut fleet, &traffic, &mut operator, &mut chaos)).await?;
    Box::pin(chaos.end_all(&mut fleet, &traffic.targets())).await?;
    let ended = Instant::now();
    let figures = traffic.stop().await;
    say(&format!("faults and traffic are over: {} requests; waiting for rest", figures.requests));
    let stuck = Box::pin(settle(&world, &mut operator, ended)).await?;
    let unsettled_seconds = ended.elapsed().as_secs_f64();
    let facts = Facts {
        config: config.into(),
        fence,
        moving: world.users.clone(),
        due: world.due.clone(),
        silent: Vec::new(),
    };
    super::all_sent(&world, &folder, &facts).await?;
    let (struck, revived) = (std::mem::take(&mut chaos.struck), chaos.revived);
    if let Err(error) = fleet.stop_all().await {
        say(&format!("not all ended in good order: {error:#}"));
    }
    drop(chaos);
    let outcome = judge(config.seed, &world, &folder, &facts, stuck).await?;
    world.sandbox.stop().await;
    let faults = struck.values().sum();
    Ok(Outcome { faults, kinds: struck.len(), struck, revived, unsettled_seconds, ..outcome })
}

/// Operator and faults at work, until the time is over.
async fn under_traffic(
    config: &Config,
    fleet: &mut Fleet,
    traffic: &Traffic,
    operator: &mut Operator,
    chaos: &mut Chaos<'_>,
) -> Result<()> {
    let (began, lasts, targets) = (Instant::now(), config.lasts(), traffic.targets());
    let operating = async {
        let mut ticks = tokio::time::interval(EVERY);
        while began.elapsed() < lasts {
            ticks.tick().await;
            // The operator's own session may be struck; what was not done comes again.
            if let Err(error) = operator.act(began.elapsed()).await {
                say(&format!("the operator was struck: {error:#}"));
            }
            traffic.favour(operator.in_favour(began.elapsed()));
        }
    };
    let striking = async {
        let (mut ticks, mut said) = (tokio::time::interval(EVERY), Duration::ZERO);
        while began.elapsed() < lasts {
            ticks.tick().await;
            Box::pin(chaos.act(began.elapsed(), fleet, &targets)).await?;
            if began.elapsed() > said + Duration::from_secs(10) {
                said = began.elapsed();
                super::progress(said, &traffic.figures());
            }
        }
        anyhow::Ok(())
    };
    // An operator whose session stands still must not keep the faults from ending.
    let (_, struck) = tokio::join!(tokio::time::timeout(lasts + Duration::from_secs(5), operating), striking);
    struck
}

/// Waits until nobody is in motion and the mirror is equal to the truth; how many users are not, when the time is over.
async fn settle(world: &World, operator: &mut Operator, ended: Instant) -> Result<usize> {
    let identity = identity(world)?;
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    let mut last = String::new();
    while ended.elapsed() < SETTLES_WITHIN {
        ticks.tick().await;
        let rests = async {
            operator.rest().await?;
            anyhow::Ok(identity.verify_mirror().await?.is_equal())
        };
        match tokio::time::timeout(SETTLES_WITHIN.saturating_sub(ended.elapsed()), rests).await {
            Ok(Ok(true)) => return Ok(0),
            Ok(Ok(false)) => "the mirror differs from the truth".clone_into(&mut last),
            // A session that a fault has ended: the next look has another.
            Ok(Err(error)) => last = format!("{error:#}"),
            Err(_) => break,
        }
    }
    say(&format!("not settled within {} s: {last}; {}", SETTLES_WITHIN.as_secs(), operator.motion().await?));
    Ok((operator.in_motion().await? as usize).max(1))
}

fn identity(world: &World) -> Result<Identity> {
    let truth = Database::new("identity", &SecretString::from(world.sandbox.identity_url()))?;
    let mirror = Mirror::new(&MirrorOptions::new(SecretString::from(world.sandbox.redis_url())))?;
    Ok(Identity::new(Truth::new(truth.pool(1)), mirror))
}

async fn judge(seed: u64, world: &World, folder: &Folder, facts: &Facts, stuck: usize) -> Result<Outcome> {
    let verdict = folder.judge(world, facts).await?;
    let digests = digests::compare(world, &folder.records()?).await?;
    folder.tell(&verdict, &digests.mismatches)?;
    let balances = verdict.balances() && digests.mismatches.is_empty() && stuck == 0;
    Ok(Outcome {
        seed,
        fence: facts.fence,
        faults: 0,
        kinds: 0,
        acknowledged: verdict.acknowledged,
        lost: verdict.lost,
        doubled: verdict.doubled,
        misrouted: verdict.misrouted,
        stuck,
        unsettled_seconds: 0.0,
        handovers: verdict.handovers,
        rollbacks: verdict.rollbacks,
        carried_back: verdict.carried_back,
        sent_twice: verdict.sent_twice,
        unsent: verdict.unsent,
        phantom: verdict.phantom,
        stale: verdict.stale,
        altered: verdict.altered,
        unmoved: verdict.unmoved,
        indeterminate: verdict.indeterminate,
        refused: verdict.refused,
        digests_compared: digests.compared,
        digest_mismatches: digests.mismatches.len(),
        revived: 0,
        struck: BTreeMap::new(),
        balances,
    })
}

/// How to run it again, for whoever reads that it failed.
pub fn again(config: &Config, fence: Fence) -> String {
    format!(
        "evidence is kept in {}; again: cargo x chaos --seed {} --users {} --minutes {} --rate {} --fence {} --json --repeat 5",
        config.folder.display(),
        config.seed,
        config.users,
        config.minutes,
        config.rate,
        format!("{fence:?}").to_lowercase()
    )
}
