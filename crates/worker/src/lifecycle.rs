//! Stopping, in two verbs: *stop* begins nothing new, *abort* no longer waits for what runs.
//!
//! The first SIGTERM or SIGINT stops, and aborts once the deadline has passed; the second one ends the
//! process on the spot. What is cut off has lost nothing: its leases run out, and its jobs run again.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;

/// The two tokens of a process' end. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    stop: CancellationToken,
    abort: CancellationToken,
}

impl Lifecycle {
    /// A process that runs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the end: nothing new is begun.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Ends what still runs. Implies [`Lifecycle::stop`].
    pub fn abort(&self) {
        self.stop.cancel();
        self.abort.cancel();
    }

    /// Whether the end has begun.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Cancelled when the end begins.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Cancelled when what runs has had its time.
    pub(crate) fn aborting(&self) -> &CancellationToken {
        &self.abort
    }

    /// Waits that long, or until the end begins; true where the end has begun.
    pub(crate) async fn rest(&self, duration: Duration) -> bool {
        self.stop.run_until_cancelled(tokio::time::sleep(duration)).await.is_none()
    }

    /// Listens for signals from now on; what has begun by the first one gets `deadline` to finish.
    ///
    /// Called before anything is begun, so that no signal finds the default handler, which would kill.
    pub fn listen(&self, deadline: Duration) -> io::Result<()> {
        let signals =
            Signals { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? };
        tokio::spawn(self.clone().obey(signals, deadline));
        Ok(())
    }

    async fn obey(self, mut signals: Signals, deadline: Duration) {
        let first = signals.next().await;
        tracing::info!(
            signal = first.name,
            deadline_s = deadline.as_secs_f64(),
            "stopping: finishing what has begun"
        );
        self.stop.cancel();
        let second = tokio::select! {
            second = signals.next() => second,
            () = tokio::time::sleep(deadline) => {
                tracing::warn!("the deadline has passed: handing back what still runs");
                self.abort.cancel();
                signals.next().await
            }
        };
        tracing::warn!(signal = second.name, "stopped by a second signal");
        std::process::exit(i32::from(second.exit.code()));
    }
}

struct Signals {
    term: Signal,
    int: Signal,
}

struct Received {
    name: &'static str,
    exit: Exit,
}

impl Signals {
    async fn next(&mut self) -> Received {
        tokio::select! {
            _ = self.term.recv() => Received { name: "SIGTERM", exit: Exit::Terminated },
            _ = self.int.recv() => Received { name: "SIGINT", exit: Exit::Interrupted },
        }
    }
}
