//! The legacy pair: one system, one timeline, a replica that follows and lets reads finish.

use std::time::{Duration, Instant};

use anyhow::Result;
use handover_postgres::Connection;
use handover_settings::Server;

use super::Patient;
use super::finding::{Findings, Level};
use crate::output::seconds;

/// How long the replica gets to reach where the primary is.
const PATIENCE: Duration = Duration::from_secs(3);

const REPLICA: Server = Server::LegacyReplica;
const PRIMARY: Server = Server::LegacyPrimary;

pub(super) async fn examine(patient: &Patient<'_>, findings: &mut Findings) -> Result<()> {
    if let Some(replica) = patient.session(REPLICA) {
        conflicts(replica, patient.context.settings.postgres.statement_timeout, findings).await?;
        replay(replica, findings).await?;
    }
    if let Some(primary) = patient.session(PRIMARY) {
        prepared(primary, findings).await?;
        if let Some(replica) = patient.session(REPLICA) {
            one_system(primary, replica, findings).await?;
            lag(primary, replica, findings).await?;
        }
    }
    Ok(())
}

async fn one_system(primary: &Connection, replica: &Connection, findings: &mut Findings) -> Result<()> {
    let sql = "SELECT system_identifier::text FROM pg_control_system()";
    let (theirs, ours): (String, String) =
        (primary.query_one(sql, &[]).await?.get(0), replica.query_one(sql, &[]).await?.get(0));
    findings.holds(
        ("replica identity", REPLICA),
        theirs == ours,
        "is a copy of the legacy primary",
        (
            Level::Error,
            format!("is of system {ours}, the primary of {theirs}: it is another cluster's replica"),
            "let legacy.replica_url lead to a streaming replica of legacy.primary_url",
        ),
    );
    Ok(())
}

/// What recovery does to a read that is in its way: a stage is run again, again and again where that is often.
async fn conflicts(replica: &Connection, longest: Duration, findings: &mut Findings) -> Result<()> {
    let sql = "SELECT current_setting('hot_standby_feedback') = 'on',
                      (SELECT setting::int8 FROM pg_settings WHERE name = 'max_standby_streaming_delay')";
    let row = replica.query_one(sql, &[]).await?;
    let (feedback, delay): (bool, i64) = (row.get(0), row.get(1));
    let is_patient = delay < 0 || delay >= longest.as_millis() as i64;
    let shown = if delay < 0 { "no limit".to_owned() } else { format!("{delay} ms") };
    findings.holds(
        ("recovery conflicts", REPLICA),
        feedback || is_patient,
        format!("hot_standby_feedback is {feedback}, max_standby_streaming_delay {shown}"),
        (
            Level::Warning,
            format!("reads are cancelled after {shown} where recovery needs what they read"),
            "set hot_standby_feedback = on there, or max_standby_streaming_delay above postgres.statement_timeout",
        ),
    );
    Ok(())
}

async fn replay(replica: &Connection, findings: &mut Findings) -> Result<()> {
    let paused: bool =
        replica.query_one("SELECT pg_is_in_recovery() AND pg_is_wal_replay_paused()", &[]).await?.get(0);
    findings.holds(
        ("replay", REPLICA),
        !paused,
        "replays",
        (Level::Error, "its replay is paused: no copy can begin", "SELECT pg_wal_replay_resume();"),
    );
    Ok(())
}

/// How long the replica takes to be where the primary was.
async fn lag(primary: &Connection, replica: &Connection, findings: &mut Findings) -> Result<()> {
    let position: String = primary
        .query_one("SELECT CASE WHEN pg_is_in_recovery() THEN '0/0' ELSE pg_current_wal_lsn()::text END", &[])
        .await?
        .get(0);
    let sql = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn,
                      pg_wal_lsn_diff($1::text::pg_lsn, pg_last_wal_replay_lsn())::int8";
    let began = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    loop {
        ticks.tick().await;
        let row = replica.query_one(sql, &[&position]).await?;
        let waited = began.elapsed();
        if row.get::<_, Option<bool>>(0) == Some(true) {
            findings.ok("lag", REPLICA, format!("follows within {} ms", waited.as_millis()));
            return Ok(());
        }
        if waited >= PATIENCE {
            let behind = row.get::<_, Option<i64>>(1).unwrap_or(0);
            let found = format!("is {behind} bytes of WAL behind after {}", seconds(waited.as_secs_f64()));
            let remedy = "users stay paused for as long as it lags: find out what holds its replay up";
            findings.error("lag", REPLICA, found, remedy);
            return Ok(());
        }
    }
}

/// A prepared transaction commits whenever somebody says so, behind any pause.
async fn prepared(primary: &Connection, findings: &mut Findings) -> Result<()> {
    let sql = "SELECT count(*), coalesce(extract(epoch FROM now() - min(prepared))::float8, 0)
                 FROM pg_prepared_xacts WHERE database = current_database()";
    let row = primary.query_one(sql, &[]).await?;
    let (many, age): (i64, f64) = (row.get(0), row.get(1));
    findings.holds(
        ("prepared transactions", PRIMARY),
        many == 0,
        "there are none",
        (
            Level::Warning,
            format!("{many} wait to be committed, the oldest for {}", seconds(age)),
            "commit or roll them back: only the database fence waits for them (docs/fence.md)",
        ),
    );
    Ok(())
}
