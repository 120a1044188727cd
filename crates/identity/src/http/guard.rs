//! What stands before every handler: the token, the deadline, and the counting.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use super::Site;
use super::problem::Problem;

/// How long an answer may take, its body's reading included. Longer than any one server's time-out would help
/// nobody: the caller has a user waiting.
const ANSWER: Duration = Duration::from_secs(5);

/// Lets those through who have the service's token.
pub(super) async fn authorised(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    match check(site.token.as_ref(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Whether the headers hold that token; where none is asked for, always.
pub(super) fn check(token: Option<&SecretString>, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(token) = token else { return Ok(()) };
    let given = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).and_then(bearer);
    // In constant time: the time to the first wrong byte would tell how many were right.
    if given.is_some_and(|given| bool::from(given.ct_eq(token.expose_secret().as_bytes()))) {
        return Ok(());
    }
    Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorised", "a valid bearer token is needed"))
}

/// The scheme's name is written in any case.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

/// Bounds each request in time, counts it by what it matched, and forbids that its answer be kept: a state that
/// is kept is a state that nobody takes back.
pub(super) async fn observed(request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let begun = Instant::now();
    let answer = tokio::time::timeout(ANSWER, next.run(request)).await;
    let mut response = answer
        .unwrap_or_else(|_| Problem::unavailable(format!("no answer within {ANSWER:?}")).into_response());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    metrics::histogram!("handover_identity_request_seconds", "path" => path.clone())
        .record(begun.elapsed().as_secs_f64());
    let status = response.status().as_str().to_owned();
    metrics::counter!("handover_identity_requests_total", "path" => path, "status" => status).increment(1);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_opens() {
        let token = SecretString::from("s3cret");
        let with = |value: &str| HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
        assert!(check(None, &HeaderMap::new()).is_ok());
        assert!(check(Some(&token), &with("Bearer s3cret")).is_ok());
        assert!(check(Some(&token), &with("bearer s3cret")).is_ok());
        for wrong in ["Bearer s3cre", "Bearer s3cret2", "Bearer ", "Bearer", "s3cret", "Basic s3cret", ""] {
            assert!(check(Some(&token), &with(wrong)).is_err(), "{wrong}");
        }
        assert!(check(Some(&token), &HeaderMap::new()).is_err());
    }
}
