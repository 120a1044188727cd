//! Who asks. It stands outside of the gate, which has to know whose request it is.
//!
//! This example signs nobody in: the caller is who the path says, and a token `demo-USER` may say it too. A real
//! application reads its session here. The cookie is for the one address that names nobody: the gate's own, where the
//! splash page asks whether the pause is over.

use axum::extract::{FromRequestParts, Request};
use axum::http::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use handover_gate::{Decision, Subject};

use crate::failure::Failure;
use crate::home::Leave;

const COOKIE_NAME: &str = "invoicing-user";
/// Where the gate tells whether the caller's pause is over.
const STATUS: &str = "/.well-known/handover";

/// Whoever the request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Session {
    user: i64,
}

/// Finds out who asks, and notes it where the gate and the handlers find it.
pub(crate) async fn recognise(mut request: Request, next: Next) -> Result<Response, Failure> {
    let (path, headers) = (request.uri().path(), request.headers());
    let named = user_in_path(path);
    let token = bearer(headers);
    if let (Some(named), Some(token)) = (named, token)
        && named != token
    {
        return Err(Failure::Forbidden);
    }
    let asks_the_gate = path == STATUS;
    let user = if asks_the_gate { token.or_else(|| cookie(headers)) } else { named };
    let visits = named.filter(|_| path.starts_with("/users/"));
    if let Some(user) = user {
        request.extensions_mut().insert(Session { user });
    }
    let mut response = next.run(request).await;
    if let Some(cookie) = visits.and_then(set_cookie) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Whose data a request is about, for the gate.
pub(crate) fn subject(request: &Request) -> Subject {
    match request.extensions().get::<Session>() {
        Some(session) => Subject::User(session.user.to_string()),
        None => Subject::Nobody,
    }
}

/// `/users/42` and all below it, `/api/users/42` likewise. Handlers do not read the path's user again: a spelling
/// that this does not understand reaches none of them, since there is no decision for it.
fn user_in_path(path: &str) -> Option<i64> {
    let rest = path.strip_prefix("/api").unwrap_or(path).strip_prefix("/users/")?;
    rest.split('/').next()?.parse().ok().filter(|user| *user > 0)
}

fn bearer(headers: &HeaderMap) -> Option<i64> {
    headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer demo-")?.parse().ok()
}

fn cookie(headers: &HeaderMap) -> Option<i64> {
    let cookies = headers.get(COOKIE)?.to_str().ok()?;
    let pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.into_iter().find(|(name, _)| *name == COOKIE_NAME)?.1.parse().ok()
}

fn set_cookie(user: i64) -> Option<HeaderValue> {
    format!("{COOKIE_NAME}={user}; Path=/; HttpOnly; SameSite=Lax").parse().ok()
}

/// The user whose request a handler serves, with the gate's decision.
pub(crate) struct Caller {
    pub(crate) user: i64,
    pub(crate) decision: Decision,
}

impl Leave for Caller {
    fn side(&self, migration: &str) -> handover_gate::Side {
        self.decision.side(migration)
    }

    fn remaining(&self) -> std::time::Duration {
        self.decision.remaining()
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let decision = parts.extensions.get::<Decision>().ok_or(Failure::NotFound("user"))?;
        let user = decision.user().parse().map_err(|_| Failure::NotFound("user"))?;
        Ok(Self { user, decision: decision.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_names_the_user_and_nothing_else_does() {
        assert_eq!(user_in_path("/users/42"), Some(42));
        assert_eq!(user_in_path("/api/users/042/reminders/7/notes"), Some(42));
        for nobody in
            ["/", "/users", "/users/", "/users/%34%32", "/users/-1", "/api/users", "/other/users/42"]
        {
            assert_eq!(user_in_path(nobody), None, "{nobody}");
        }
    }

    #[test]
    fn a_token_or_a_cookie_names_the_user_to_the_gate() {
        let mut headers = HeaderMap::new();
        assert_eq!((bearer(&headers), cookie(&headers)), (None, None));
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer demo-42"));
        headers.insert(COOKIE, HeaderValue::from_static("a=b; invoicing-user=43"));
        assert_eq!((bearer(&headers), cookie(&headers)), (Some(42), Some(43)));
    }
}
