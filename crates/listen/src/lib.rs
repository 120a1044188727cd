//! The listening side of every service: how many connections, how long their headers may take and how large those
//! may be, and how long a client may leave an answer unread.
//!
//! The framework's own loop bounds none of these. What a request's body may be, and how long an answer may take, is
//! each service's own affair. It terminates no TLS.

mod stall;

use std::error::Error;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::HttpService;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use hyper::service::service_fn;
pub use hyper_util::service::TowerToHyperService as Tower;

use stall::Impatient;

/// How long to wait after a connection could not be accepted: most often the process has no file left.
const REST: Duration = Duration::from_millis(100);

/// Bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at a time; the next one waits to be accepted.
    pub connections: usize,
    /// How long a connection may take to send a request's headers, the wait for its first byte included. Clients
    /// that keep connections should let go of idle ones sooner.
    pub headers_within: Duration,
    /// The largest request line and headers, in bytes.
    pub headers_bytes: usize,
    /// The most headers.
    pub headers_count: usize,
    /// How long a client may leave an answer unread once no more of it can be sent.
    pub unread: Duration,
    /// How long requests under way may take once it stops.
    pub last_requests: Duration,
}

impl Bounds {
    /// The bounds of a service that few programs talk to, in short questions.
    pub const SERVICE: Self = Self {
        connections: 1024,
        headers_within: Duration::from_secs(10),
        headers_bytes: 16 * 1024,
        headers_count: 64,
        unread: Duration::from_secs(10),
        last_requests: Duration::from_secs(6),
    };
    /// The bounds of an address for health, readiness and metrics.
    pub const PROBES: Self = Self {
        connections: 64,
        headers_within: Duration::from_secs(5),
        unread: Duration::from_secs(5),
        last_requests: Duration::from_millis(100),
        ..Self::SERVICE
    };
    /// The bounds of what stands before browsers, whose headers are larger and whose connections are kept longer.
    pub const TRAFFIC: Self = Self {
        connections: 4096,
        headers_within: Duration::from_secs(10),
        headers_bytes: 64 * 1024,
        headers_count: 128,
        unread: Duration::from_secs(30),
        ..Self::SERVICE
    };
}

/// Serves until `stop`; then takes nothing new, and returns when what was under way is answered. `service` makes the
/// service of one connection, whose other end is at that address.
pub async fn serve<M, S, B>(listener: TcpListener, bounds: Bounds, stop: impl Future<Output = ()>, service: M)
where
    M: Fn(SocketAddr) -> S,
    S: HttpService<Incoming, ResBody = B> + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let builder = builder(bounds);
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(bounds.connections));
    let mut stop = pin!(stop);
    loop {
        let (stream, peer, slot) = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let stream = TokioIo::new(Impatient::new(stream, bounds.unread));
        let connection = graceful.watch(builder.serve_connection(stream, service(peer)));
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

fn builder(bounds: Bounds) -> Builder {
    let mut builder = Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.headers_within)
        .max_buf_size(bounds.headers_bytes)
        .max_headers(bounds.headers_count);
    builder
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
