//! The fence position: a WAL record emitted on the legacy primary after the drain, and the wait until the
//! replica has replayed past it.
//!
//! The record's own LSN is taken, since `pg_current_wal_lsn()` can lag behind an acknowledged commit or, at
//! a page boundary, lie ahead of all that replays. It is transactional, so that its commit flushes it.

use std::time::{Duration, Instant};

use handover_postgres::{Connection, Pool};

use crate::Error;

/// Which cluster a server is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The system identifier that initdb gave it, shared by all its replicas.
    pub system: String,
    /// The timeline that it writes, or replays; it grows with each promotion.
    pub timeline: i32,
}

impl Server {
    /// As it is kept beside a position.
    pub fn label(&self) -> String {
        format!("{}/{}", self.system, self.timeline)
    }
}

/// A position on the legacy primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The end of the WAL record.
    pub lsn: String,
    /// Whose WAL.
    pub server: String,
}

/// How often the replica is asked at first, and at most: nothing can be awaited before PostgreSQL 19.
const FIRST_POLL: Duration = Duration::from_millis(1);
const LAST_POLL: Duration = Duration::from_millis(20);

/// The control file's checkpoint may be minutes older than a promotion: a new primary would pass for the old one,
/// and the old one's replica for its own. A primary's timeline is therefore that of the WAL it writes now. A standby
/// tells it by nothing but what it has kept: its last restart point, its minimum recovery point, and, where the
/// role may see it, what it receives. Each of them it has followed, so that the highest counts.
const SERVER: &str = "SELECT s.system_identifier::text, pg_is_in_recovery(),
    CASE WHEN pg_is_in_recovery() THEN greatest(c.timeline_id, r.min_recovery_end_timeline,
                                                (SELECT max(received_tli) FROM pg_stat_wal_receiver))
         ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int4 END
    FROM pg_control_system() s, pg_control_checkpoint() c, pg_control_recovery() r";

async fn server(session: &mut Connection) -> Result<(Server, bool), Error> {
    let statement = session.prepared(SERVER).await?;
    let row = session.query_one(&statement, &[]).await.map_err(|error| session.explain(error))?;
    Ok((Server { system: row.get(0), timeline: row.get(2) }, row.get(1)))
}

/// Emits a record on the primary and returns its position.
pub(crate) async fn take(primary: &Pool) -> Result<Position, Error> {
    let mut session = primary.get().await?;
    let (server, in_recovery) = server(&mut session).await?;
    if in_recovery {
        return Err(Error::Replica("the address of the legacy primary leads to a standby".to_owned()));
    }
    // With synchronous_commit off nobody would flush the record for up to 200 ms. `local` is enough: what
    // matters is that the record is written and sent, not that a standby confirms.
    let emit = session.prepared("SELECT pg_logical_emit_message(true, 'handover', 'fence')::text").await?;
    let transaction = session.transaction().await?;
    transaction.batch_execute("SET LOCAL synchronous_commit = local").await?;
    let lsn = transaction.query_one(&emit, &[]).await?.get(0);
    transaction.commit().await?;
    Ok(Position { lsn, server: server.label() })
}

/// Waits until this very session's replica has replayed past the position, at most for `patience`.
pub(crate) async fn wait(
    replica: &mut Connection,
    position: &Position,
    patience: Duration,
) -> Result<(), Error> {
    let (server, in_recovery) = server(replica).await?;
    if !in_recovery {
        return Err(Error::Replica("its address leads to a server that is not a standby".to_owned()));
    }
    if server.label() != position.server {
        let text = format!("it is of system {}, the position of {}", server.label(), position.server);
        return Err(Error::Replica(text));
    }
    let passed = replica.prepared("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn").await?;
    let (began, mut pause) = (Instant::now(), FIRST_POLL);
    loop {
        let row =
            replica.query_one(&passed, &[&position.lsn]).await.map_err(|error| replica.explain(error))?;
        if row.get::<_, Option<bool>>(0) == Some(true) {
            return Ok(());
        }
        let waited = began.elapsed();
        if waited >= patience {
            return Err(Error::ReplicaBehind {
                position: position.lsn.clone(),
                waited_ms: waited.as_millis(),
            });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LAST_POLL);
    }
}

/// The last of several positions, by the primary's order.
pub(crate) fn latest<'a>(positions: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Position> {
    let latest = positions.max_by_key(|(lsn, _)| number(lsn))?;
    Some(Position { lsn: latest.0.to_owned(), server: latest.1.to_owned() })
}

/// An LSN as a number: `16/B374D848` is 0x16 × 2³² + 0xB374D848.
fn number(lsn: &str) -> u64 {
    let parse = |part: &str| u64::from_str_radix(part, 16).unwrap_or(0);
    lsn.split_once('/').map_or(0, |(high, low)| (parse(high) << 32) | parse(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_ordered_as_numbers_not_as_text() {
        let positions = [("9/FFFFFFFF", "s/1"), ("10/0", "s/1"), ("A/1", "s/1")];
        assert_eq!(latest(positions.into_iter()).unwrap().lsn, "10/0");
        assert!(latest(std::iter::empty()).is_none());
    }
}
