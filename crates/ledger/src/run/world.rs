//! The installation of a run: private servers, the example's schemas and data, handover's tables, and the trigger that
//! observes who owns whom.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use handover_fence::{Scope, Side};
use handover_plan::Plan;
use handover_postgres::{Database, Timeouts};
use handover_sandbox::example::{self, Shape};
use handover_sandbox::{Options, Sandbox, Server};
use handover_tracking::Tracking;
use secrecy::SecretString;
use tokio_postgres::Client;

use crate::ownership;
use crate::rows::{self, Rows};
use crate::traffic::Temper;

use super::{Config, Fence};

/// Of so many reminders of users who write, one comes due during the run.
const ONE_DUE_OF: usize = 12;

/// The servers, and what stands in them before the first request.
pub(super) struct World {
    /// The servers.
    pub(super) sandbox: Sandbox,
    /// Handover's tracking.
    pub(super) tracking: Tracking,
    /// The users, all of whom are to be moved.
    pub(super) users: Vec<i64>,
    /// The rows from before the first request.
    pub(super) before: Rows,
    /// Reminders that come due by themselves.
    pub(super) due: BTreeSet<i64>,
}

impl World {
    /// Starts the servers and fills them.
    pub(super) async fn start(config: &Config, fence: Fence) -> Result<Self> {
        only_private_servers()?;
        let commits = (Server::Identity, "track_commit_timestamp".to_owned(), "on".to_owned());
        let options = Options { settings: vec![commits], ..Options::default() };
        let sandbox = Sandbox::start(options).await.context("the servers did not start")?;
        example::install(&sandbox.legacy_url(), &sandbox.destination_url()).await?;
        example::generate(&sandbox.legacy_url(), config.users, config.seed, Shape::default()).await?;
        let users: Vec<i64> = (1..=config.users as i64).collect();
        let mut legacy = rows::connect(&sandbox.legacy_url()).await?;
        let due = some_come_due(&legacy, config).await?;
        let destination = Database::new("destination", &SecretString::from(sandbox.destination_url()))?;
        let tracking = Tracking::new(destination.pool(4));
        prepare(&sandbox, &tracking, fence).await?;
        let mut new = rows::connect(&sandbox.destination_url()).await?;
        let before = rows::read(&mut legacy, &mut new).await?;
        Ok(Self { sandbox, tracking, users, before, due })
    }

    /// What both sides hold now.
    pub(super) async fn rows(&self) -> Result<Rows> {
        let mut legacy = rows::connect(&self.sandbox.legacy_url()).await?;
        let mut new = rows::connect(&self.sandbox.destination_url()).await?;
        Ok(rows::read(&mut legacy, &mut new).await?)
    }

    /// Who has owned whom so far.
    pub(super) async fn ownership(&self) -> Result<Vec<ownership::Change>> {
        let identity = rows::connect(&self.sandbox.identity_url()).await?;
        Ok(ownership::read(&identity).await?)
    }
}

/// The ledger writes into the servers' first databases, and removes nothing: such of somebody else are not for it.
fn only_private_servers() -> Result<()> {
    let given = Server::ALL.map(Server::variable).into_iter().find(|name| std::env::var_os(name).is_some());
    match given {
        Some(name) => anyhow::bail!("{name} is set, but the ledger runs on private servers only: unset it"),
        None => Ok(()),
    }
}

/// Handover's tables, its plans, the markers of what is carried back, the fence, and our own trigger.
async fn prepare(sandbox: &Sandbox, tracking: &Tracking, fence: Fence) -> Result<()> {
    let mut session = tracking.pool().get().await?;
    handover_tracking::install(&mut session).await?;
    let identity = SecretString::from(sandbox.identity_url());
    let truth = handover_identity::Truth::new(Database::new("identity", &identity)?.pool(1));
    truth.migrate().await?;
    ownership::install(&rows::connect(&sandbox.identity_url()).await?).await?;
    let primary = Database::new("legacy primary", &SecretString::from(sandbox.legacy_url()))?;
    handover_engine::install_carry_back(&mut primary.connect().await?).await?;
    for files in example::plans() {
        let plan = Plan::from_files(files)?;
        tracking.fix_key_type(plan.user_key().sql()).await?;
        tracking.register(plan.name(), &plan.hash(), plan.files()).await?;
        if fence == Fence::Database {
            for (url, side) in
                [(sandbox.legacy_url(), Side::Legacy), (sandbox.destination_url(), Side::Destination)]
            {
                let database = Database::new("fence", &SecretString::from(url))?;
                let mut session = database.with_timeouts(Timeouts::default()).connect().await?;
                handover_fence::install(&mut session, Scope::new(&plan, side)).await?;
            }
        }
    }
    Ok(())
}

/// Has some of the older reminders come due while the run goes on: of users who write, so that those who only read
/// stay as they are.
async fn some_come_due(legacy: &Client, config: &Config) -> Result<BTreeSet<i64>> {
    let sql =
        "SELECT r.id, i.owner_id FROM shop.invoice_reminder r JOIN shop.invoice i ON i.id = r.invoice_id
                WHERE r.deleted_at IS NULL ORDER BY r.id";
    let mut rng = fastrand::Rng::with_seed(config.seed);
    let last = config.lasts().mul_f64(0.8).as_millis() as i64;
    let mut chosen: (Vec<i64>, Vec<i64>) = (Vec::new(), Vec::new());
    for row in legacy.query(sql, &[]).await? {
        let drawn = (rng.usize(..ONE_DUE_OF), rng.i64(2_000..last.max(2_001)));
        if drawn.0 == 0 && Temper::of(row.get(1), config.seed) != Temper::Reader {
            chosen.0.push(row.get(0));
            chosen.1.push(drawn.1);
        }
    }
    let update = "UPDATE shop.invoice_reminder r
         SET send_at = now() AT TIME ZONE 'UTC' + d.after * interval '1 ms', zone = 'UTC', enabled = true
        FROM unnest($1::int8[], $2::int8[]) AS d (id, after) WHERE r.id = d.id";
    legacy.execute(update, &[&chosen.0, &chosen.1]).await?;
    Ok(chosen.0.into_iter().collect())
}
