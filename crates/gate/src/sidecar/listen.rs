//! The listening side: a closure on a listener with bounds.

use std::convert::Infallible;
use std::net::SocketAddr;

use handover_listen::{Bounds, service_fn};
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::body::Body;

/// Serves until it is told to stop; then takes nothing new, and returns when what was under way is answered.
pub(crate) async fn serve<S, A>(listener: TcpListener, bounds: Bounds, stop: CancellationToken, answer: S)
where
    S: Fn(Request<Incoming>, SocketAddr) -> A + Clone + Send + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let service = |peer| {
        let answer = answer.clone();
        service_fn(move |request| {
            let answering = answer(request, peer);
            async move { Ok::<_, Infallible>(answering.await) }
        })
    };
    handover_listen::serve(listener, bounds, stop.cancelled(), service).await;
}
