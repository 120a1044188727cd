//! `demo`: a worked example's users moved on private throw-away servers, by the real worker processes, while clients
//! use the hybrid application.

mod application;
pub(crate) mod bars;
mod held;
mod measure;
mod processes;
mod report;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use handover_plan::Plan;
use handover_sandbox::Sandbox;
use handover_sandbox::example::{self as data, Shape};
use handover_settings::Settings;
use handover_tracking::{CohortInfo, Status, Tracking};

use crate::context::Context;
use crate::exit::Exit;
use crate::output::{self, Output};

use self::application::{Application, Load};
use self::bars::Bars;
use self::measure::Watcher;
use self::processes::Processes;
use self::report::Report;

/// The migration that is shown.
const MIGRATION: &str = "invoice-reminders";

/// The cohort's name.
const COHORT: &str = "demo";

/// How many users are rolled back at the end.
const ROLLED_BACK: usize = 20;

/// For how long clients are at work before the launch, and after the last user has moved.
const BEFORE: Duration = Duration::from_secs(2);
const AFTER: Duration = Duration::from_secs(1);

/// How often the bars move.
const EVERY: Duration = Duration::from_millis(200);

/// Without anybody moving on for so long, the demonstration gives up.
const STALLED: Duration = Duration::from_mins(2);

#[derive(Args, Clone, Debug)]
pub(crate) struct DemoArgs {
    /// How many users
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=2_000_000))]
    users: u64,
    /// What the data is made from
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Exactly so many reminders a user, in place of a skewed number
    #[arg(long, value_name = "N")]
    rows_per_user: Option<u32>,
    /// Requests a second that clients make of the application meanwhile
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    traffic: u32,
    /// No clients
    #[arg(long, conflicts_with = "traffic")]
    no_traffic: bool,
    /// Leave servers, workers and the application running at the end
    #[arg(long)]
    keep: bool,
}

/// Runs the demonstration; anything that does not match is a failure.
pub(crate) async fn run(args: DemoArgs, output: Output) -> Result<Exit> {
    say("starting private servers: legacy primary and replica, destination, identity, redis");
    let sandbox = Sandbox::start(handover_sandbox::Options::default()).await?;
    let context = context(&sandbox, output)?;
    let tracking = context.tracking()?;
    prepare(&args, &sandbox, &context, &tracking).await?;
    let workers = Processes::workers(&sandbox)?;
    let application = Application::start(&sandbox).await?;
    let users = data::user_keys(&sandbox.legacy_url()).await?;
    let cohort = add_users(&users, &tracking).await?;
    let untouched = if args.no_traffic { users.len() } else { untouched(users.len()) };
    let (busy, quiet) = users.split_at(users.len() - untouched);
    let began = tokio::time::Instant::now();
    let mut load = (!args.no_traffic).then(|| application.load(busy.to_vec(), args.seed, args.traffic));
    if let Some(load) = &load {
        load.goes_on_for(BEFORE, args.traffic).await;
    }
    let watcher = Watcher::start(tracking.clone());
    say("launching");
    let launched = Instant::now();
    tracking.launch(&cohort, None).await?;
    let status = follow(&tracking, &cohort, load.as_mut(), output).await?;
    let mut report = Report::new(&args, &context, &cohort, &status, launched, watcher.stop().await).await?;
    output::table_of(&report.table());
    roll_back(&context, &tracking, &cohort, quiet, (load.as_mut(), &mut report), output).await?;
    if let Some(load) = load {
        load.goes_on_for(AFTER, args.traffic).await;
        report.take(load.stop(began).await);
        output::table_of(&report.traffic_table());
    }
    output::table_of(&report.rollback_table());
    if args.keep {
        keep(sandbox, workers, application)?;
    } else {
        say(&processes::look_around(&sandbox));
        application.stop().await;
        workers.stop().await;
        sandbox.stop().await;
    }
    if output.is_json() {
        output::line(&serde_json::to_string(&report)?)?;
    }
    Ok(verdict(&report))
}

/// How many users no client asks for: what a client has written on the new system would be lost by a plain rollback,
/// which therefore refuses such users. Those who are taken back at the end are of these.
fn untouched(users: usize) -> usize {
    (users / 10).max(ROLLED_BACK.min(users / 2))
}

fn verdict(report: &Report) -> Exit {
    let faults = report.faults();
    if faults.is_empty() {
        say("everything matched");
        return Exit::Done;
    }
    output::problem(&faults.join("; "));
    Exit::Findings
}

/// Progress is no result: it goes to standard error.
fn say(text: &str) {
    output::say(text);
}

/// The settings by which the tool and the workers reach the sandbox. What the environment says of anything else
/// holds for the demonstration too.
fn context(sandbox: &Sandbox, output: Output) -> Result<Context> {
    let variables = std::env::vars().chain(processes::environment(sandbox));
    let settings = Settings::load_from(None, variables)?;
    Ok(Context { settings, output, yes: true })
}

async fn prepare(args: &DemoArgs, sandbox: &Sandbox, context: &Context, tracking: &Tracking) -> Result<()> {
    let began = Instant::now();
    data::install(&sandbox.legacy_url(), &sandbox.destination_url()).await?;
    let shape = Shape { rows_per_user: args.rows_per_user };
    let counts = data::generate(&sandbox.legacy_url(), args.users, args.seed, shape).await?;
    let rows = counts.reminders + counts.recipients;
    say(&format!(
        "made {} users with {rows} rows in legacy ({:.1} s)",
        counts.users,
        began.elapsed().as_secs_f64()
    ));
    let mut session = tracking.pool().get().await?;
    handover_tracking::install(&mut session).await?;
    context.identity()?.truth().migrate().await?;
    for files in data::plans() {
        let plan = Plan::from_files(files)?;
        tracking.fix_key_type(plan.user_key().sql()).await?;
        tracking.register(plan.name(), &plan.hash(), plan.files()).await?;
    }
    Ok(())
}

async fn add_users(users: &[String], tracking: &Tracking) -> Result<CohortInfo> {
    let cohort = tracking.create_cohort(MIGRATION, COHORT).await?;
    let mut adding = tracking.add_users(&cohort).await?;
    for (line, user) in users.iter().enumerate() {
        adding.push(line as i64 + 1, user).await?;
    }
    let added = adding.finish().await?;
    say(&format!("added {} users to the cohort {COHORT}", added.added));
    Ok(cohort)
}

/// Shows the bars until nobody is queued or on the way.
async fn follow(
    tracking: &Tracking,
    cohort: &CohortInfo,
    mut load: Option<&mut Load>,
    output: Output,
) -> Result<Status> {
    let bars = Bars::new(output.is_json());
    let mut ticks = tokio::time::interval(EVERY);
    let mut moved = (Instant::now(), tracking.status(cohort).await?.users);
    loop {
        ticks.tick().await;
        let status = tracking.status(cohort).await?;
        if let Some(load) = load.as_deref_mut() {
            bars.below(load.line().await);
        }
        bars.show(std::slice::from_ref(&status));
        if super::status::is_settled(&status) {
            bars.clear();
            return Ok(status);
        }
        if status.users != moved.1 {
            moved = (Instant::now(), status.users);
        } else if moved.0.elapsed() > STALLED {
            anyhow::bail!("nobody has moved on for {} s: {:?}", STALLED.as_secs(), status.users);
        }
    }
}

async fn roll_back(
    context: &Context,
    tracking: &Tracking,
    cohort: &CohortInfo,
    quiet: &[String],
    (load, report): (Option<&mut Load>, &mut Report),
    output: Output,
) -> Result<()> {
    let users = measure::some_completed(tracking, cohort, quiet, ROLLED_BACK).await?;
    say(&format!("rolling {} users back", users.len()));
    tracking.request_rollback(cohort, Some(&users)).await?;
    let status = follow(tracking, cohort, load, output).await?;
    report.rolled_back = status.users.rolled_back;
    report.rollback_asked = users.len() as i64;
    report.rollback_unproven = measure::unproven(context, tracking, MIGRATION, &users).await?;
    Ok(())
}

fn keep(sandbox: Sandbox, workers: Processes, application: Application) -> Result<()> {
    let urls = application.urls();
    let file = processes::write_environment(&sandbox)?;
    say(&processes::look_around(&sandbox));
    say(&format!(
        "\nthe settings for `handover` and the workers, and URLs for psql and redis-cli:\n  . {}",
        file.display()
    ));
    workers.detach();
    application.detach();
    let kept = sandbox.keep().context("failed to leave the servers running")?;
    say(&format!("\nthe application, for a browser:\n  {}", urls.join("\n  ")));
    say(&format!("\nall of it goes on running; this ends it and removes all:\n  {}", kept.stop));
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn enough_users_are_left_alone_to_be_taken_back() {
        assert_eq!([1, 5, 40, 2_000].map(super::untouched), [0, 2, 20, 200]);
    }
}
