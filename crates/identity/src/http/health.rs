//! Whether the service lives, whether it can answer, and its metrics.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::problem::Problem;
use super::{Site, guard};
use crate::service::Identity;

/// The content type of Prometheus' text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// How long what was found is kept, so that frequent probes are no load of their own.
const KEPT: Duration = Duration::from_secs(1);
/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) async fn metrics(State(site): State<Arc<Site>>, headers: HeaderMap) -> Result<Response, Problem> {
    guard::check(site.metrics_token.as_ref(), &headers)?;
    Ok(([(CONTENT_TYPE, PROMETHEUS)], (site.render)()).into_response())
}

/// What was found, and when.
#[derive(Clone, Default)]
pub(super) struct Readiness(Arc<Mutex<Option<(Instant, Found)>>>);

#[derive(Clone)]
struct Found {
    truth: Option<String>,
    mirror: Option<String>,
}

/// Ready while the truth answers: without the mirror everything still works, from the truth.
pub(super) async fn ready(State((site, readiness)): State<(Arc<Site>, Readiness)>) -> Response {
    let found = Box::pin(readiness.look(&site.identity)).await;
    let status = if found.truth.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let check = |name: &str, problem: &Option<String>| match problem {
        None => serde_json::json!({ "name": name }),
        Some(problem) => serde_json::json!({ "name": name, "problem": problem }),
    };
    let checks = [check("identity", &found.truth), check("redis", &found.mirror)];
    let body = serde_json::json!({ "ready": found.truth.is_none(), "checks": checks });
    (status, Json(body)).into_response()
}

impl Readiness {
    async fn look(&self, identity: &Identity) -> Found {
        let mut kept = self.0.lock().await;
        if let Some((at, found)) = kept.as_ref()
            && at.elapsed() < KEPT
        {
            return found.clone();
        }
        let truth = tokio::time::timeout(PATIENCE, identity.truth().members());
        let mirror = tokio::time::timeout(PATIENCE, identity.mirror().run_id());
        let (truth, mirror) = tokio::join!(truth, mirror);
        let found = Found { truth: problem(truth), mirror: problem(mirror) };
        *kept = Some((Instant::now(), found.clone()));
        found
    }
}

fn problem<T, E: std::fmt::Display>(
    answer: Result<Result<T, E>, tokio::time::error::Elapsed>,
) -> Option<String> {
    match answer {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no answer within {PATIENCE:?}")),
    }
}
