//! Health, readiness and metrics over plain HTTP. Nothing here changes anything.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use handover_listen::{Bounds, Tower};
use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::readiness::Readiness;

/// The content type of Prometheus' text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is served.
pub(crate) struct Site {
    pub(crate) metrics: PrometheusHandle,
    pub(crate) token: Option<SecretString>,
    pub(crate) readiness: Readiness,
}

/// Serves until the set is dropped; returns the address that was bound.
pub(crate) async fn serve(tasks: &mut JoinSet<()>, site: Site, bind: SocketAddr) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(bind).await?;
    let address = listener.local_addr()?;
    let service = Tower::new(router(site));
    tasks.spawn(async move {
        handover_listen::serve(listener, Bounds::PROBES, std::future::pending(), |_| service.clone()).await;
    });
    Ok(address)
}

fn router(site: Site) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(site))
}

async fn ready(State(site): State<Arc<Site>>) -> Response {
    let checks = site.readiness.checks().await;
    let ready = checks.iter().all(|check| check.problem.is_none());
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(serde_json::json!({ "ready": ready, "checks": checks }))).into_response()
}

async fn metrics(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    if !may_read(site.token.as_ref(), &headers) {
        let challenge = [(WWW_AUTHENTICATE, "Bearer")];
        return (StatusCode::UNAUTHORIZED, challenge, "a bearer token is needed\n").into_response();
    }
    ([(CONTENT_TYPE, PROMETHEUS)], site.metrics.render()).into_response()
}

fn may_read(token: Option<&SecretString>, headers: &HeaderMap) -> bool {
    let Some(token) = token else { return true };
    let given = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    // In constant time: the time to the first wrong byte would tell how many were right.
    given.is_some_and(|given| bool::from(given.ct_eq(token.expose_secret().as_bytes())))
}

#[cfg(test)]
mod tests {
    use handover_queue::RedisTarget;
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::line::Line;
    use crate::vitals::Vitals;

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        headers
    }

    #[test]
    fn metrics_are_open_without_a_token_and_closed_with_one() {
        let token = SecretString::from("s3cret");
        assert!(may_read(None, &HeaderMap::new()));
        assert!(may_read(Some(&token), &headers("Bearer s3cret")));
        for wrong in ["Bearer s3cre", "Bearer s3cret2", "Bearer ", "s3cret", "Basic s3cret"] {
            assert!(!may_read(Some(&token), &headers(wrong)), "{wrong}");
        }
        assert!(!may_read(Some(&token), &HeaderMap::new()));
    }

    async fn ask(address: SocketAddr, path: &str, token: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_process_without_redis_is_alive_and_not_ready_and_its_metrics_are_guarded() {
        // Nobody listens on port 1.
        let line = Arc::new(Line::new(RedisTarget::new("redis://127.0.0.1:1/".into())).unwrap());
        let vitals = Arc::new(Vitals::new());
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || metrics::counter!("handover_test_total").increment(1));
        let site = Site {
            metrics: recorder.handle(),
            token: Some("s3cret".into()),
            readiness: Readiness::new(line, &[], Some(vitals)),
        };
        let mut tasks = JoinSet::new();
        let address = serve(&mut tasks, site, "127.0.0.1:0".parse().unwrap()).await.unwrap();

        assert!(ask(address, "/healthz", "").await.starts_with("HTTP/1.1 200"));
        let ready = ask(address, "/readyz", "").await;
        assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
        assert!(ready.contains(r#""name":"redis","problem":"redis is unreachable"#), "{ready}");
        assert!(ready.contains("no claim has been answered yet"), "{ready}");
        assert!(ask(address, "/metrics", "wrong").await.starts_with("HTTP/1.1 401"));
        let metrics = ask(address, "/metrics", "s3cret").await;
        assert!(
            metrics.starts_with("HTTP/1.1 200") && metrics.contains("handover_test_total 1"),
            "{metrics}"
        );
    }
}
