//! What the sidecar answers by itself, and how a decision is written in headers and in JSON. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use super::body::Body;
use super::path::encoded;
use crate::decision::Side;
use crate::pass::Decision;
use crate::token::PERMIT_HEADER;

/// The header that names the user whom a decision is about.
const USER: HeaderName = HeaderName::from_static("handover-user");
/// The header that says how many milliseconds the request may still take.
const REMAINING: HeaderName = HeaderName::from_static("handover-remaining");
/// The header that says until when, in milliseconds since 1970: whoever reads it late must see that he does.
const DEADLINE: HeaderName = HeaderName::from_static("handover-deadline");
/// What a request that is turned away may look at again after, in seconds.
const COME_AGAIN: u64 = 2;

/// A migration that is told of, with the header that tells its side.
#[derive(Clone, Debug)]
pub(crate) struct Migration {
    name: String,
    header: HeaderName,
}

impl Migration {
    /// A migration of that name, as plans name them.
    pub(crate) fn new(name: &str) -> Result<Self, String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || name.len() > 63 || !name.bytes().all(plain) {
            return Err(format!("`{name}` is no name of a migration"));
        }
        let header = HeaderName::try_from(format!("handover-side-{}", name.to_ascii_lowercase()));
        let header = header.map_err(|_| format!("`{name}` cannot stand in a header's name"))?;
        Ok(Self { name: name.to_owned(), header })
    }
}

const fn word(side: Side) -> &'static str {
    match side {
        Side::Legacy => "legacy",
        Side::New => "new",
    }
}

/// The moment in so long a time, in milliseconds since 1970. A clock before that gives a deadline that has passed.
fn since_1970(left: Duration) -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |wall| (wall + left).as_millis() as u64)
}

/// Writes a decision in headers.
pub(crate) fn write(decision: &Decision, migrations: &[Migration], headers: &mut HeaderMap) {
    for migration in migrations {
        let side = word(decision.side(&migration.name));
        headers.insert(migration.header.clone(), HeaderValue::from_static(side));
    }
    // Plain text but for what cannot stand in a header.
    let user = encoded(decision.user(), b" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~");
    if let Ok(user) = HeaderValue::from_str(&user) {
        headers.insert(USER, user);
    }
    let left = decision.remaining();
    headers.insert(REMAINING, HeaderValue::from(left.as_millis() as u64));
    headers.insert(DEADLINE, HeaderValue::from(since_1970(left)));
    if let Some(permit) = decision.permit_header() {
        headers.insert(HeaderName::from_static(PERMIT_HEADER), permit);
    }
}

/// A decision as JSON. `pass` is the name under which it is given back.
pub(crate) fn decision(decision: &Decision, migrations: &[Migration], pass: &str) -> Value {
    let side =
        |migration: &Migration| (migration.name.clone(), Value::from(word(decision.side(&migration.name))));
    let sides: serde_json::Map<String, Value> = migrations.iter().map(side).collect();
    let left = decision.remaining();
    json!({
        "user": decision.user(),
        "sides": sides,
        "remaining_ms": left.as_millis() as u64,
        "deadline": since_1970(left),
        "pass": pass,
    })
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = status;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An answer of JSON.
pub(crate) fn json_of(status: StatusCode, value: &Value) -> Response<Body> {
    typed(status, "application/json", value.to_string())
}

/// An answer of that content type.
pub(crate) fn typed(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    let mut response = empty(status);
    *response.body_mut() = full(text.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// A problem as RFC 9457 has it. `code` becomes a part of its type, and may be relied on.
pub(crate) fn problem(status: StatusCode, code: &str, detail: &str) -> Response<Body> {
    let body = json!({
        "type": format!("urn:handover:problem:{code}"),
        "title": status.canonical_reason().unwrap_or("error"),
        "status": status.as_u16(),
        "detail": detail,
    });
    let mut response = typed(status, "application/problem+json", body.to_string());
    match status {
        StatusCode::UNAUTHORIZED => {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(COME_AGAIN));
        }
        _ => {}
    }
    response
}

/// The gate's own answers, in the body's type of here.
pub(crate) fn boxed(response: Response<Full<Bytes>>) -> Response<Body> {
    response.map(|body| body.map_err(|never| match never {}).boxed_unsync())
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_has_a_header_of_its_own_name() {
        assert_eq!(Migration::new("Invoice_v2.1").unwrap().header, "handover-side-invoice_v2.1");
        for wrong in ["", "a b", "ü", "a:b", &"x".repeat(64)] {
            assert!(Migration::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_problem_says_its_status_in_the_body_too() {
        let response = problem(StatusCode::GATEWAY_TIMEOUT, "outcome-unknown", "x");
        assert!(response.headers().contains_key(RETRY_AFTER));
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    }
}
