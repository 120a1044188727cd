//! A request's body is there before anything is asked for its user: whoever sends one slowly holds nothing that a
//! pause would wait for.

use std::error::Error as _;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::LengthLimitError;

use crate::failure::Failure;

/// The longest body, in bytes.
const LARGEST: usize = 256 * 1024;
/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(3);

/// Goes on once the body has arrived.
pub(crate) async fn arrived(request: Request, next: Next) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let bytes = match tokio::time::timeout(PATIENCE, to_bytes(body, LARGEST)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) if error.source().is_some_and(<dyn std::error::Error>::is::<LengthLimitError>) => {
            return Err(Failure::TooLarge(LARGEST));
        }
        Ok(Err(_)) => return Err(Failure::BrokenOff),
        Err(_) => return Err(Failure::TooSlow(PATIENCE)),
    };
    Ok(next.run(Request::from_parts(parts, Body::from(bytes))).await)
}
