//! Proves a plan against live databases, and changes nothing: everything happens in one transaction on each
//! server, which is rolled back.
//!
//! The source is the legacy *primary*. Which columns a query uses is asked of the server itself, by a temporary
//! view and `pg_depend`, and a standby can make no view. EXPLAIN would work there, and would lie: its scans
//! output columns that nobody uses. The view is never run, reads no row, and takes only the lock that a SELECT
//! takes.

mod catalogue;
mod coverage;
mod destination;
mod index;
mod load;
mod reach;
mod session;
mod source;
mod staging;
mod statements;
mod targets;
mod uses;

use handover_postgres::Error;
use handover_transform::Registry;
use tokio_postgres::Client;

use self::session::Session;
pub use self::targets::{DescribeError, describe_targets};
use crate::finding::{Finding, Findings};
use crate::plan::Plan;

/// All that is wrong with the plan on these databases, in the order of its files; none if all is well.
///
/// The sessions must be in no transaction. Rust transforms are not known here, and are warnings; use
/// [`check_with`] where they are. The error is a server that could not be asked.
pub async fn check(plan: &Plan, source: &Client, destination: &Client) -> Result<Vec<Finding>, Error> {
    run(plan, source, destination, None).await
}

/// As [`check()`], with the transforms of a worker of one's own.
pub async fn check_with(
    plan: &Plan,
    source: &Client,
    destination: &Client,
    registry: &Registry,
) -> Result<Vec<Finding>, Error> {
    run(plan, source, destination, Some(registry)).await
}

async fn run(
    plan: &Plan,
    source: &Client,
    destination: &Client,
    registry: Option<&Registry>,
) -> Result<Vec<Finding>, Error> {
    let mut findings = Findings::default();
    let result = check_source(plan, source, &mut findings).await;
    let ended = Session::end(source).await;
    result.and(ended).map_err(|error| error.of("legacy primary"))?;
    let result = check_destination(plan, destination, registry, &mut findings).await;
    let ended = Session::end(destination).await;
    result.and(ended).map_err(|error| error.of("destination"))?;
    Ok(findings.into_sorted())
}

async fn check_source(plan: &Plan, client: &Client, findings: &mut Findings) -> Result<(), Error> {
    let session = Session::begin(client, plan.user_key()).await?;
    source::check(plan, &session, findings).await
}

async fn check_destination(
    plan: &Plan,
    client: &Client,
    registry: Option<&Registry>,
    findings: &mut Findings,
) -> Result<(), Error> {
    let session = Session::begin(client, plan.user_key()).await?;
    destination::check(plan, &session, registry, findings).await
}
