//! Tells, in the gate's hash, up to which change the gate acts, and which paused users it still serves.

use std::convert::Infallible;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use handover_fault::point;
use redis::Script;
use redis::aio::MultiplexedConnection;
use tokio_util::sync::CancellationToken;

use super::connect::{Address, Backoff, Broken, PATIENCE, bounded};
use crate::clock::Moment;
use crate::core::{Acknowledgement, Core};

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("acknowledge.lua")));

/// How long the hash outlives its gate. Nobody relies on its end.
const KEPT: Duration = Duration::from_mins(10);

/// Tells whenever there may be news, and every `interval`; until it is told to stop.
pub(crate) async fn acknowledge(
    address: Arc<Address>,
    core: Arc<Core>,
    interval: Duration,
    stop: CancellationToken,
) {
    let mut backoff = Backoff::new();
    loop {
        let ended = tokio::select! {
            ended = session(&address, &core, interval, &mut backoff) => ended,
            () = stop.cancelled() => return,
        };
        let Err(error) = ended;
        tracing::warn!(%error, "pauses cannot be acknowledged; connecting again");
        tokio::select! {
            () = backoff.pause() => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn session(
    address: &Address,
    core: &Core,
    interval: Duration,
    backoff: &mut Backoff,
) -> Result<Infallible, Broken> {
    let mut connection = address.connect().await?;
    loop {
        point("gate.tells").await?;
        // What is told is worked out after everything that rang, and one after the other, so a later word never
        // says less than is true.
        if let Some(told) = core.acknowledgement(Moment::now()) {
            tell(address, &mut connection, &told).await?;
            *backoff = Backoff::new();
        }
        let _ = tokio::time::timeout(interval, core.bell().notified()).await;
    }
}

async fn tell(
    address: &Address,
    connection: &mut MultiplexedConnection,
    told: &Acknowledgement,
) -> Result<(), Broken> {
    let mut call = SCRIPT.prepare_invoke();
    call.key(&address.gate).key(&address.changes);
    call.arg(&told.place.id).arg(told.place.number).arg(&told.place.generation);
    call.arg(serde_json::Value::from(told.busy.clone()).to_string()).arg(KEPT.as_millis() as u64);
    let written: i64 = bounded(PATIENCE, call.invoke_async(connection)).await?;
    if written == 0 {
        tracing::debug!("an acknowledgement was not taken: the stream is another one");
    }
    metrics::counter!("handover_gate_acknowledgements_total").increment(1);
    Ok(())
}
