//! What all modes share: who is asked for, whether the gate lets them through, and the answer where it does not.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::answer::{self, Migration};
use super::body::Body;
use super::counted::Counted;
use super::path::{decoded, encoded};
use super::subject::{Finder, Found};
use super::upstream::Upstream;
use super::{ask, nginx, proxy};
use crate::decision::Kind;
use crate::gate::{Gate, Refusal};
use crate::pass::Pass;
use crate::respond::{self, Asker, Reason};

/// The query's field by which the address to poll names the path that was asked for.
const AT: &str = "at";

/// How the sidecar is asked.
pub(crate) enum Mode {
    /// By the application itself.
    Native,
    /// By nginx' `auth_request`.
    Nginx,
    /// Not at all: it stands in the path.
    Proxy(Upstream),
}

/// One sidecar.
pub(crate) struct Site {
    pub(crate) gate: Gate,
    pub(crate) mode: Mode,
    pub(crate) finder: Finder,
    pub(crate) migrations: Vec<Migration>,
    pub(crate) token: Option<SecretString>,
    pub(crate) counted: Arc<Counted>,
}

impl Mode {
    /// Its word in metrics and on the command line.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Nginx => "nginx",
            Self::Proxy(_) => "proxy",
        }
    }
}

impl Site {
    /// Answers one request.
    pub(crate) async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Response<Body> {
        match &self.mode {
            Mode::Native => ask::serve(&self, request).await,
            Mode::Nginx => nginx::serve(&self, request).await,
            Mode::Proxy(upstream) => proxy::serve(&self, upstream, request, peer).await,
        }
    }

    /// The refusal of whoever does not have the token.
    pub(crate) fn unauthorised(&self, headers: &HeaderMap) -> Option<Response<Body>> {
        let text = "a valid bearer token is needed";
        let refused = || answer::problem(StatusCode::UNAUTHORIZED, "unauthorised", text);
        (!opens(self.token.as_ref(), headers)).then(refused)
    }

    /// Lets a request through, holds it, or refuses it. `permit` is what an outer request has handed on.
    pub(crate) async fn admit(&self, user: &str, permit: Option<&str>, kind: Kind) -> Result<Pass, Refusal> {
        let admitted = match permit.and_then(|permit| self.gate.admit_continued(user, permit)) {
            Some(pass) => Ok(pass),
            None => self.gate.admit(user, kind).await,
        };
        self.count(admitted.as_ref().map_or_else(|refusal| refusal.word(), |_| "admitted"));
        admitted
    }

    /// Counts a request by what became of it.
    pub(crate) fn count(&self, outcome: &'static str) {
        let mode = self.mode.word();
        metrics::counter!("handover_sidecar_requests_total", "mode" => mode, "outcome" => outcome)
            .increment(1);
    }

    /// The answer to a request that is not let through, or too late. `target` is given where nothing but the path
    /// names the user: whoever polls must name it again.
    pub(crate) fn turn_away(&self, reason: Reason, asker: &Asker, target: Option<&str>) -> Response<Body> {
        let settings = &self.gate.shared.settings;
        let poll = match target {
            Some(target) => format!("{}?{AT}={}", settings.status_path, encoded(target, b"-_.~/")),
            None => settings.status_path.clone(),
        };
        answer::boxed(respond::refusal(reason, asker, &poll, settings.splash.as_deref()))
    }

    /// Whether a request is a question whether its user is still paused.
    pub(crate) fn is_poll(&self, method: &Method, path: &str) -> bool {
        method == Method::GET && path == self.gate.shared.settings.status_path
    }

    /// The answer to such a question.
    pub(crate) async fn poll(
        &self,
        headers: &HeaderMap,
        target: &str,
        query: Option<&str>,
    ) -> Response<Body> {
        let at = field(query, AT);
        let found = match self.finder.find(headers, at.as_deref().unwrap_or(target)) {
            Found::Unclear(_) if at.is_none() => Found::Nobody,
            found => found,
        };
        match found {
            Found::User { key, .. } => answer::boxed(respond::status(self.gate.is_open(&key).await)),
            Found::Nobody => answer::boxed(respond::status(true)),
            Found::Unclear(why) => unclear(why),
        }
    }
}

/// Whether the headers hold that token; where there is none, always.
fn opens(token: Option<&SecretString>, headers: &HeaderMap) -> bool {
    let Some(token) = token else { return true };
    let given = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).and_then(bearer);
    // In constant time: the time to the first wrong byte would tell how many were right.
    given.is_some_and(|given| bool::from(given.ct_eq(token.expose_secret().as_bytes())))
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

/// The answer to a request of which it cannot be told whose it is.
pub(crate) fn unclear(why: &str) -> Response<Body> {
    answer::problem(StatusCode::BAD_REQUEST, "user-unclear", &format!("Nothing was done: {why}."))
}

/// A field of a query, decoded.
pub(crate) fn field(query: Option<&str>, name: &str) -> Option<String> {
    let pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.into_iter().find(|(key, _)| *key == name)?;
    decoded(&value.replace('+', "%20"))
}

/// The value of a header that is text.
pub(crate) fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_opens() {
        let token = SecretString::from("s3cret");
        let with = |value: &str| HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
        assert!(opens(None, &HeaderMap::new()));
        assert!(opens(Some(&token), &with("bearer s3cret")));
        for wrong in ["Bearer s3cre", "Bearer s3cret2", "Bearer ", "s3cret", "Basic s3cret", ""] {
            assert!(!opens(Some(&token), &with(wrong)), "{wrong}");
        }
        assert!(!opens(Some(&token), &HeaderMap::new()));
    }

    #[test]
    fn a_querys_field_is_decoded() {
        let query = Some("a=1&user=a%40b+c&user=2");
        assert_eq!(field(query, "user").as_deref(), Some("a@b c"));
        assert_eq!(field(query, "b"), None);
        assert_eq!(field(Some("user=%zz"), "user"), None);
    }
}
