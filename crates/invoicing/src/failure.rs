//! Why a request is not answered with what it asked for, and how that is said. No message holds a user's data.
//!
//! Whoever writes must be able to tell "nothing was done" from "it may have been done".

use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use handover_gate::Refusal;
use handover_identity::SourceError;
use handover_postgres::Error as Database;

/// Seconds after which a client is asked to come again.
const COME_AGAIN: u64 = 1;

/// Why.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is no such thing.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// It can be read, and not be done.
    #[error("{0}")]
    Invalid(&'static str),
    /// The body has more than so many bytes.
    #[error("the body is longer than {0} bytes")]
    TooLarge(usize),
    /// The body took longer than that.
    #[error("the body did not arrive within {0:?}")]
    TooSlow(Duration),
    /// The client went away, or the body is not what its headers say.
    #[error("the body broke off, or is not what its headers say")]
    BrokenOff,
    /// The caller is somebody else than the path says.
    #[error("this is another user's")]
    Forbidden,
    /// A database failed before anything was committed.
    #[error("{0}")]
    Database(#[from] Database),
    /// The permit's time was over before the commit: the database took it back.
    #[error("the request took too long, and was taken back")]
    TooLate,
    /// The commit's answer did not arrive: it may have been done, or not.
    #[error("whether it was done is not known: {0}")]
    Unknown(Database),
    /// Identity did not answer.
    #[error("{0}")]
    Identity(#[from] SourceError),
    /// The gate did not let it through.
    #[error("{0}")]
    Refused(#[from] Refusal),
}

impl Failure {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::BrokenOff => StatusCode::BAD_REQUEST,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::Database(error) if !passes(error) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Database(_) | Self::TooLate | Self::Unknown(_) | Self::Identity(_) | Self::Refused(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// The problem's type; the one of an unknown outcome is the gate's own.
    fn kind(&self) -> &'static str {
        match self {
            Self::NotFound(_)
            | Self::Invalid(_)
            | Self::TooLarge(_)
            | Self::TooSlow(_)
            | Self::BrokenOff
            | Self::Forbidden => "about:blank",
            Self::Unknown(_) => "urn:handover:problem:outcome-unknown",
            Self::Database(_) | Self::TooLate | Self::Identity(_) | Self::Refused(_) => {
                "urn:invoicing:problem:nothing-done"
            }
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Unknown(_) => "It may have been done, or not. Look before it is sent again.".to_owned(),
            Self::Database(_) | Self::Identity(_) => "Nothing was done. Send it again.".to_owned(),
            told => told.to_string(),
        }
    }
}

/// Whether the same request may succeed later: the database was away or busy, or its fence (class `MV`) says that
/// the user is being moved.
fn passes(error: &Database) -> bool {
    let fenced = error.sqlstate().is_some_and(|state| state.code().starts_with("MV"));
    fenced || error.is_transient()
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.status();
        if status.is_server_error() {
            tracing::warn!(error = %self, "a request failed");
        }
        let body = serde_json::json!({
            "type": self.kind(),
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": self.text(),
        });
        let mut response = (status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status.is_server_error() {
            headers.insert(RETRY_AFTER, HeaderValue::from(COME_AGAIN));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_can_tell_what_was_not_done_from_what_may_have_been() {
        let lost = Failure::Unknown(Database::connection("legacy", "gone"));
        assert_eq!(lost.kind(), "urn:handover:problem:outcome-unknown");
        assert_eq!(Failure::TooLate.kind(), "urn:invoicing:problem:nothing-done");
        let response = Failure::TooLate.into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers().contains_key(RETRY_AFTER));
    }
}
