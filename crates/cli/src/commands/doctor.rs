//! `doctor`: what is unsafe in this installation, and how to mend it. It reads, and changes nothing.

mod fence;
mod finding;
mod gates;
mod postgres;
mod redis;
mod rights;
mod schemas;
mod source;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use console::style;
use handover_plan::Plan;
use handover_postgres::Connection;
use handover_settings::Server;
use serde_json::json;

use self::finding::{Findings, Level};
use crate::commands::plan::{folders, load};
use crate::context::Context;
use crate::exit::Exit;
use crate::users::count;

/// What the checks share.
struct Patient<'a> {
    context: &'a Context,
    plans: Vec<Plan>,
    /// Sessions on the servers that answer.
    sessions: BTreeMap<&'static str, Connection>,
}

impl Patient<'_> {
    fn session(&self, server: Server) -> Option<&Connection> {
        self.sessions.get(server.field())
    }
}

const DATABASES: [Server; 4] =
    [Server::LegacyPrimary, Server::LegacyReplica, Server::Destination, Server::Identity];

/// Examines everything that can be reached; one server's silence keeps no other from being examined.
pub(crate) async fn run(context: &Context) -> Result<Exit> {
    let plans =
        folders(&context.settings.plans.dir)?.iter().map(|folder| load(folder)).collect::<Result<_>>()?;
    let mut findings = Findings::default();
    let sessions = connect(context, &mut findings).await;
    let patient = Patient { context, plans, sessions };
    for server in DATABASES {
        postgres::examine(&patient, server, &mut findings).await?;
    }
    source::examine(&patient, &mut findings).await?;
    schemas::examine(&patient, &mut findings).await?;
    rights::examine(&patient, &mut findings).await?;
    gates::examine(&patient, &mut findings).await?;
    fence::examine(&patient, &mut findings).await?;
    redis::examine(&patient, &mut findings).await?;
    report(context, &findings)
}

async fn connect(context: &Context, findings: &mut Findings) -> BTreeMap<&'static str, Connection> {
    let mut sessions = BTreeMap::new();
    for server in DATABASES {
        let session = match context.database(server) {
            Ok(database) => database.connect().await.map_err(anyhow::Error::from),
            Err(error) => Err(error),
        };
        match session {
            Ok(session) => {
                findings.ok("connection", server, "answers");
                sessions.insert(server.field(), session);
            }
            Err(error) => {
                findings.error("connection", server, format!("{error:#}"), "start it, or mend its address");
            }
        }
    }
    sessions
}

fn report(context: &Context, findings: &Findings) -> Result<Exit> {
    let all = findings.all();
    let values: Vec<_> = all
        .iter()
        .map(|finding| {
            json!({ "check": finding.check, "server": finding.server, "level": finding.level.word(),
                    "found": finding.found, "remedy": finding.remedy })
        })
        .collect();
    context.output.list(&values, || text(findings))?;
    let (errors, warnings) = (findings.of(Level::Error), findings.of(Level::Warning));
    let verdict = format!(
        "{} passed, {}, {}",
        findings.of(Level::Ok),
        count(warnings, "warning"),
        count(errors, "error")
    );
    context.output.note(&verdict);
    Ok(if errors == 0 { Exit::Done } else { Exit::Findings })
}

/// What needs somebody first, the worst on top.
fn text(findings: &Findings) -> String {
    let mut all: Vec<_> = findings.all().iter().collect();
    all.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    let lines = all.into_iter().map(|finding| {
        let word = match finding.level {
            Level::Ok => style("ok     ").green(),
            Level::Warning => style("warning").yellow().bold(),
            Level::Error => style("error  ").red().bold(),
        };
        let remedy =
            finding.remedy.as_ref().map(|remedy| format!("\n          {remedy}")).unwrap_or_default();
        format!("{word}  {} ({}): {}{remedy}", finding.server, finding.check, finding.found)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// How far another clock is from this machine's, given what it showed between two looks at this one.
fn clock_difference(before: SystemTime, theirs: Duration, after: SystemTime) -> Duration {
    let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (before, after) = (since(before), since(after));
    // Anything between the two looks counts as no difference.
    if theirs < before { before.saturating_sub(theirs) } else { theirs.saturating_sub(after) }
}

fn examine_clock(
    patient: &Patient<'_>,
    server: Server,
    (before, theirs, after): (SystemTime, Duration, SystemTime),
    findings: &mut Findings,
) {
    let allowed = patient.context.settings.identity.max_clock_skew;
    let difference = clock_difference(before, theirs, after);
    let found = format!(
        "its clock is {} ms from this machine's, {} ms allowed",
        difference.as_millis(),
        allowed.as_millis()
    );
    if difference <= allowed {
        findings.ok("clock", server, found);
    } else {
        findings.error(
            "clock",
            server,
            found,
            "synchronise the clocks (chrony, NTP), or raise identity.max_clock_skew",
        );
    }
}

/// Whether a connection URL leads to this machine, where nobody listens in between.
fn is_local(host: &str) -> bool {
    let is_loopback = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    host.is_empty() || host.starts_with('/') || host == "localhost" || is_loopback
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_within_the_two_looks_does_not_differ() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let differs = |theirs| clock_difference(at(10), Duration::from_secs(theirs), at(12)).as_secs();
        assert_eq!((differs(9), differs(10), differs(12), differs(15)), (1, 0, 0, 3));
    }

    #[test]
    fn only_addresses_of_this_machine_are_local() {
        assert!(["", "/run/postgresql", "localhost", "127.0.0.1", "::1"].into_iter().all(is_local));
        assert!(!["db", "10.0.0.1", "127.evil.example"].into_iter().any(is_local));
    }
}
