//! What is answered when a request is refused or fails: a problem as RFC 9457 has it, with a word that programs
//! can rely on.

use axum::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::error::Error;

/// A refusal or a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    /// Stable, unlike the texts.
    pub(super) code: &'static str,
    pub(super) detail: String,
}

#[derive(Serialize)]
struct Shown<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    code: &'static str,
    detail: &'a str,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into() }
    }

    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
    }

    pub(super) fn invalid(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match &error {
            Error::UserKey(_) => Self::invalid("bad_user", error.to_string()),
            Error::Migration(_) => Self::invalid("bad_migration", error.to_string()),
            Error::Gate(_) => Self::invalid("bad_gate", error.to_string()),
            Error::Paused { .. } => Self::new(StatusCode::CONFLICT, "paused", error.to_string()),
            Error::KnownOnLegacy { .. } => {
                Self::new(StatusCode::CONFLICT, "known_on_legacy", error.to_string())
            }
            Error::Postgres(_)
            | Error::Redis(_)
            | Error::MirrorTimeout(_)
            | Error::MirrorChanged
            | Error::MirrorElsewhere
            | Error::Injected(_) => {
                // What the servers say is for the operator, not for whoever calls.
                tracing::warn!(%error, "a request failed");
                Self::unavailable("identity's database did not answer")
            }
            Error::MirrorConfig(_) | Error::Version | Error::Row(_) | Error::Disagreement(_) => {
                tracing::error!(%error, "a request failed");
                let text = "the service has failed; its log says more";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", text)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("error");
        let status = self.status.as_u16();
        let shown = Shown { r#type: "about:blank", title, status, code: self.code, detail: &self.detail };
        let text = serde_json::to_string(&shown).unwrap_or_default();
        let mut response = (self.status, text).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            // The rest of such a body would be read as the next request.
            StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}
