//! Whether the sidecar lives, whether it may serve, its metrics; and the command that asks it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::answer;
use super::body::Body;
use super::site::Site;
use crate::clock::Moment;

/// The content type of Prometheus' text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// How long a sidecar may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(2);
const LONGEST: usize = 64 * 1024;

/// What the health listener answers from.
#[derive(Clone)]
pub(crate) struct Health {
    pub(crate) site: Arc<Site>,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) stop: CancellationToken,
}

impl Health {
    /// Answers one request.
    pub(crate) fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/healthz") => answer::typed(StatusCode::OK, "text/plain", "alive\n".to_owned()),
            (&Method::GET, "/readyz") => self.ready(),
            (&Method::GET, "/metrics") => {
                let refused = self.site.unauthorised(request.headers());
                refused.unwrap_or_else(|| answer::typed(StatusCode::OK, PROMETHEUS, self.metrics.render()))
            }
            _ => answer::problem(StatusCode::NOT_FOUND, "not-found", "there is no such endpoint"),
        }
    }

    /// Ready while the gate is a member: without that every user is treated as paused. Without the lease alone it
    /// serves, and asks Identity for each request.
    fn ready(&self) -> Response<Body> {
        let core = &self.site.gate.shared.core;
        let now = Moment::now();
        let (member, stopping) = (core.member_holds(now), self.stop.is_cancelled());
        let ready = member && !stopping;
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        answer::json_of(
            status,
            &json!({
                "ready": ready,
                "mode": self.site.mode.word(),
                "gate": self.site.gate.id(),
                "member": member,
                "lease": core.cache_holds(now),
                "in_flight": core.in_flight(),
                "stopping": stopping,
            }),
        )
    }
}

/// Asks a sidecar how it is. An error says why there was no answer.
pub(crate) async fn ask(address: SocketAddr) -> Result<(bool, Value), String> {
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let uri =
        format!("http://{address}/readyz").parse().map_err(|_| "the address cannot be used".to_owned())?;
    let asking = async {
        let response = client.get(uri).await.map_err(|error| error.to_string())?;
        let ready = response.status() == StatusCode::OK;
        let body = Limited::new(response.into_body(), LONGEST).collect().await;
        let bytes = body.map_err(|error| error.to_string())?.to_bytes();
        let value = serde_json::from_slice(&bytes).map_err(|_| "another program answers there".to_owned())?;
        Ok((ready, value))
    };
    tokio::time::timeout(PATIENCE, asking).await.map_err(|_| format!("no answer within {PATIENCE:?}"))?
}
