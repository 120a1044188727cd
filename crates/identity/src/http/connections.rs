//! The listening side, with the bounds that the framework's own loop leaves out: how many connections, how long
//! their headers may take, and how large those may be.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Site, routes};

/// Connections at a time; the next one waits to be accepted.
const CONNECTIONS: usize = 1024;
/// How long a connection may take to send a request's headers, the wait for its first byte included. Clients that
/// keep connections should let go of idle ones sooner.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// The largest request line and headers, in bytes, and how many headers.
const HEADERS_BYTES: usize = 16 * 1024;
const HEADERS_COUNT: usize = 64;
/// How long to wait after a connection could not be accepted: most often the process has no file left.
const REST: Duration = Duration::from_millis(100);
/// How long requests under way may take once the service stops.
const LAST_REQUESTS: Duration = Duration::from_secs(6);

/// Serves until `stop`; then takes nothing new, and returns when what was under way is answered.
pub async fn serve(listener: TcpListener, site: Site, stop: impl Future<Output = ()> + Send) {
    let service = TowerToHyperService::new(routes::router(site));
    let mut builder = Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(HEADERS_BYTES)
        .max_headers(HEADERS_COUNT);
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut stop = pin!(stop);
    loop {
        let (stream, slot) = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let connection = builder.serve_connection(TokioIo::new(stream), service.clone());
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
            drop(slot);
        });
    }
    drop(listener);
    if tokio::time::timeout(LAST_REQUESTS, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were cut off: they did not end in time");
    }
}

/// The next connection, once there is a place for it.
async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // Never closed, so there is always a permit in the end.
    let slot = Arc::clone(slots).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection is slower than it could be");
                }
                return (stream, slot);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(REST).await;
            }
        }
    }
}
