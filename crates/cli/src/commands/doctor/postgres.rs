//! What is asked of every Postgres server: role, durability, sessions, clock, encryption.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use handover_settings::Server;
use tokio_postgres::Row;

use super::finding::{Findings, Level};
use super::{Patient, examine_clock, is_local};
use crate::context::Context;

/// The oldest server that is tested.
const OLDEST: i32 = 150_000;

/// Sessions of one worker process on one server, beside one pair for each of its batches.
const SPARE: usize = 2;

const FACTS: &str = "SELECT current_setting('server_version_num')::int4, pg_is_in_recovery(), r.rolsuper, r.rolconnlimit,
        current_setting('fsync'), current_setting('full_page_writes'), current_setting('max_connections')::int4,
        current_setting('superuser_reserved_connections')::int4,
        (SELECT sum(numbackends)::int4 FROM pg_stat_database), extract(epoch FROM clock_timestamp())::float8,
        (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), r.rolname::text, current_setting('server_version')
   FROM pg_roles r WHERE r.rolname = current_user";

pub(super) async fn examine(patient: &Patient<'_>, server: Server, findings: &mut Findings) -> Result<()> {
    let Some(session) = patient.session(server) else { return Ok(()) };
    let before = SystemTime::now();
    let row = session.query_one(FACTS, &[]).await?;
    let after = SystemTime::now();
    version(&row, server, findings);
    role(&row, server, findings);
    recovery(row.get(1), server, findings);
    durability(&row, server, findings);
    sessions(&row, patient.context, server, findings);
    examine_clock(patient, server, (before, Duration::from_secs_f64(row.get(9)), after), findings);
    encryption(row.get::<_, Option<bool>>(10).unwrap_or(false), patient.context, server, findings);
    Ok(())
}

fn version(row: &Row, server: Server, findings: &mut Findings) {
    let (number, text): (i32, String) = (row.get(0), row.get(12));
    let bad = format!("Postgres {text} is older than any that handover is tested with");
    findings.holds(
        ("version", server),
        number >= OLDEST,
        format!("Postgres {text}"),
        (Level::Warning, bad, "use Postgres 15 or newer"),
    );
}

fn role(row: &Row, server: Server, findings: &mut Findings) {
    let name: String = row.get(11);
    findings.holds(
        ("role", server),
        !row.get::<_, bool>(2),
        format!("{name} is no superuser"),
        (
            Level::Warning,
            format!("{name} is a superuser: a mistake in a plan's SQL could do anything"),
            "make a role by `handover init --print-roles`, and connect as it",
        ),
    );
}

fn recovery(in_recovery: bool, server: Server, findings: &mut Findings) {
    let is_right = in_recovery == (server == Server::LegacyReplica);
    let (good, bad) = if in_recovery {
        ("is a standby", "is a standby: it takes no writes, and answers may be old")
    } else {
        ("is a primary", "is no standby: it is the primary, or was promoted")
    };
    let remedy = format!("let {} lead to the right server", server.field());
    findings.holds(("kind", server), is_right, good, (Level::Error, bad, remedy));
}

/// A replica's own durability loses nothing: it can be made again.
fn durability(row: &Row, server: Server, findings: &mut Findings) {
    if server == Server::LegacyReplica {
        return;
    }
    let (fsync, pages): (String, String) = (row.get(4), row.get(5));
    findings.holds(
        ("durability", server),
        fsync == "on" && pages == "on",
        "commits are durable",
        (
            Level::Error,
            format!("fsync is {fsync}, full_page_writes is {pages}: a crash loses what was acknowledged"),
            "set both to on",
        ),
    );
}

/// One process of each stage, a reconciler and a service of Identity are the least that an installation runs.
fn sessions(row: &Row, context: &Context, server: Server, findings: &mut Findings) {
    let worker = 2 * context.settings.worker.concurrency + SPARE;
    let stages = match server {
        Server::LegacyPrimary | Server::LegacyReplica => 3,
        _ => 6,
    };
    let service = if server == Server::Identity { context.settings.identity.sessions } else { 0 };
    let needed = stages * worker + service;
    let limit: i32 = row.get(3);
    let server_wide = row.get::<_, i32>(6) - row.get::<_, i32>(7) - row.get::<_, Option<i32>>(8).unwrap_or(0);
    let free = if limit >= 0 { server_wide.min(limit) } else { server_wide }.max(0) as usize;
    findings.holds(
        ("sessions", server),
        free >= needed,
        format!("{free} sessions are free, one process of each stage opens up to {needed}"),
        (
            Level::Warning,
            format!("only {free} sessions are free, but one process of each stage opens up to {needed}"),
            "raise max_connections or the role's CONNECTION LIMIT, lower worker.concurrency, or pool",
        ),
    );
}

fn encryption(is_encrypted: bool, context: &Context, server: Server, findings: &mut Findings) {
    let hosts = context.hosts(server);
    let verifies = context.settings.postgres.ca_file.is_some();
    let level = Level::Warning;
    if hosts.iter().all(|host| is_local(host)) {
        findings.ok("encryption", server, "is on this machine");
    } else if !is_encrypted {
        let remedy =
            "set postgres.ca_file (and ssl on the server): the certificate is then demanded and verified";
        findings.warning("encryption", server, "users' rows cross the network in clear text", remedy);
    } else {
        let bad = "is encrypted, but its certificate is verified against the system's authorities only if sslmode says so";
        findings.holds(
            ("encryption", server),
            verifies,
            "is encrypted, and its certificate verified",
            (level, bad, "set postgres.ca_file"),
        );
    }
}
