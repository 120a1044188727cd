//! Follows the stream of changes on a connection of its own.
//!
//! A blocking XREAD only rings: it skips what was trimmed without a word, and misses what follows a flush. What
//! counts is the XRANGE after it, which begins *at* the entry last read: in one atomic step it shows whether that
//! entry is still there and what follows it. An older copy of the stream shows another entry, or none.

use std::sync::Arc;
use std::time::Duration;

use handover_fault::point;
use redis::Value;
use redis::aio::MultiplexedConnection;
use tokio_util::sync::CancellationToken;

use super::connect::{Address, Backoff, Broken, PATIENCE, bounded};
use super::read::{Raw, entry};
use crate::clock::Moment;
use crate::core::{Core, Place, Read};

/// How many entries are read at once.
const CHUNK: usize = 500;
/// How long one read blocks at most.
const BLOCK: Duration = Duration::from_secs(1);

/// Follows until it is told to stop; connects again whenever it must.
pub(crate) async fn follow(address: Arc<Address>, core: Arc<Core>, stop: CancellationToken) {
    let mut backoff = Backoff::new();
    loop {
        let ended = tokio::select! {
            ended = session(&address, &core, &mut backoff) => ended,
            () = stop.cancelled() => return,
        };
        let Err(error) = ended;
        metrics::counter!("handover_gate_feed_reconnects_total").increment(1);
        tracing::warn!(%error, "the stream of changes cannot be followed; connecting again");
        tokio::select! {
            () = backoff.pause() => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn session(
    address: &Address,
    core: &Core,
    backoff: &mut Backoff,
) -> Result<std::convert::Infallible, Broken> {
    let mut connection = address.connect().await?;
    core.connected();
    loop {
        // Held, a test's gate is deaf; an ordered failure is a connection that breaks.
        point("gate.reads").await?;
        let after = match core.place() {
            Some(place) => read_on(address, core, &mut connection, place).await?,
            None => begin(address, core, &mut connection).await?,
        };
        *backoff = Backoff::new();
        if let Some(id) = after {
            ring(address, &mut connection, &id).await?;
        }
    }
}

/// Finds the last entry, to follow the stream from there. Returns the id to wait after.
async fn begin(
    address: &Address,
    core: &Core,
    connection: &mut MultiplexedConnection,
) -> Result<Option<String>, Broken> {
    let sent = Moment::now();
    let mut command = redis::cmd("XREVRANGE");
    command.arg(&address.changes).arg("+").arg("-").arg("COUNT").arg(1);
    let found: Vec<Raw> = bounded(PATIENCE, command.query_async(connection)).await?;
    let Some(last) = found.into_iter().next() else { return Ok(Some("0-0".to_owned())) };
    let id = last.0.clone();
    if let Some(last) = entry(last) {
        core.positioned(last.place, sent);
    } else {
        tracing::warn!("the last entry of the stream of changes cannot be read; waiting for another");
    }
    Ok(Some(id))
}

/// Reads what follows the gate's place. Returns the id to wait after, if that was all.
async fn read_on(
    address: &Address,
    core: &Core,
    connection: &mut MultiplexedConnection,
    place: Place,
) -> Result<Option<String>, Broken> {
    let sent = Moment::now();
    let mut command = redis::cmd("XRANGE");
    command.arg(&address.changes).arg(&place.id).arg("+").arg("COUNT").arg(CHUNK);
    let found: Vec<Raw> = bounded(PATIENCE, command.query_async(connection)).await?;
    let complete = found.len() < CHUNK;
    let last = found.last().map_or(place.id, |(id, _)| id.clone());
    let read = Read { sent, entries: found.into_iter().map(entry).collect(), complete };
    if let Err(lost) = core.read(read) {
        metrics::counter!("handover_gate_resets_total").increment(1);
        tracing::warn!(reason = %lost, "changes may have been missed: everything cached is forgotten");
        return Ok(None);
    }
    Ok(complete.then_some(last))
}

/// Waits until there is an entry after that one, or for a while. What it brings is not looked at.
async fn ring(address: &Address, connection: &mut MultiplexedConnection, after: &str) -> Result<(), Broken> {
    let mut command = redis::cmd("XREAD");
    command.arg("COUNT").arg(1).arg("BLOCK").arg(BLOCK.as_millis() as u64);
    command.arg("STREAMS").arg(&address.changes).arg(after);
    bounded::<Value>(BLOCK + PATIENCE, command.query_async(connection)).await.map(|_| ())
}
