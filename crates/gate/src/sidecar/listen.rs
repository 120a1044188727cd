//! The listening side: how many connections, how long their headers may take, and how large those may be.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::body::Body;

/// How long a connection may take to send a request's headers, the wait for its first byte included.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// The largest request line and headers, in bytes, and how many headers.
const HEADERS_BYTES: usize = 64 * 1024;
const HEADERS_COUNT: usize = 128;
/// How long to wait after a connection could not be accepted: most often the process has no file left.
const REST: Duration = Duration::from_millis(100);

/// Bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Connections at a time; the next one waits to be accepted.
    pub(crate) connections: usize,
    /// How long requests under way may take once it stops.
    pub(crate) last_requests: Duration,
}

/// Serves until it is told to stop; then takes nothing new, and returns when what was under way is answered.
pub(crate) async fn serve<S, A>(listener: TcpListener, bounds: Bounds, stop: CancellationToken, answer: S)
where
    S: Fn(Request<Incoming>, SocketAddr) -> A + Clone + Send + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let mut builder = Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(HEADERS_BYTES)
        .max_headers(HEADERS_COUNT);
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(bounds.connections));
    let mut stopped = pin!(stop.cancelled());
    loop {
        let (stream, peer, slot) = tokio::select! {
            () = &mut stopped => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let answer = answer.clone();
        let service = service_fn(move |request| {
            let answering = answer(request, peer);
            async move { Ok::<_, std::convert::Infallible>(answering.await) }
        });
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
            drop(slot);
        });
    }
    drop(listener);
    if tokio::time::timeout(bounds.last_requests, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were cut off: they did not end in time");
    }
}

/// The next connection, once there is a place for it.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    // Never closed, so there is always a permit in the end.
    let slot = Arc::clone(slots).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection is slower than it could be");
                }
                return (stream, peer, slot);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(REST).await;
            }
        }
    }
}
