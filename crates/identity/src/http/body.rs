//! Reads a request's JSON, bounded in size and time.

use std::error::Error as _;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use http_body_util::LengthLimitError;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// The longest body: a thousand users of the longest keys, each byte escaped.
const LARGEST: usize = 512 * 1024;
/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(3);

/// The request's body as a `T`.
pub(super) async fn read<T: DeserializeOwned>(request: Request) -> Result<T, Problem> {
    let named = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = named.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        let text = "the body must be of the content type application/json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", text));
    }
    let bytes = collect(request.into_body()).await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "bad_json", format!("the body: {error}")))
}

async fn collect(body: Body) -> Result<bytes::Bytes, Problem> {
    match tokio::time::timeout(PATIENCE, to_bytes(body, LARGEST)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if error.source().is_some_and(<dyn std::error::Error>::is::<LengthLimitError>) => {
            let text = format!("the body is longer than {LARGEST} bytes");
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text))
        }
        Ok(Err(_)) => {
            let text = "the body broke off, or is not what its headers say";
            Err(Problem::new(StatusCode::BAD_REQUEST, "bad_body", text))
        }
        Err(_) => {
            let text = format!("the body did not arrive within {PATIENCE:?}");
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "too_slow", text))
        }
    }
}
