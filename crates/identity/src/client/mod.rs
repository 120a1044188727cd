//! The client of Identity's service: bounded in time, with a few tries that keep apart from one another.
//!
//! Every request can be repeated without harm, so a try that may have been carried out is made again. A state is
//! never made up: what cannot be had is an error.

mod connector;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::http::answer::{AskEnrol, AskGate, AskUsers, Enrolled, Gate, MOST_USERS, SignedOff, Users};
use crate::source::{Answer, IdentitySource, Registration, SourceError, Trust, UserStates};
use connector::Connector;

/// The longest answer that is read.
const LARGEST: usize = 4 * 1024 * 1024;
/// For how long an idle connection is kept: less than the service keeps it.
const IDLE: Duration = Duration::from_secs(5);
/// Idle connections that are kept.
const IDLE_CONNECTIONS: usize = 32;

/// Where the service is, and how long to try.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// `http://host:port` or `https://host:port`, with a path before `/v1` if there is one.
    pub url: String,
    /// The service's bearer token.
    pub token: Option<SecretString>,
    /// PEM file with the authority of an `https://` service, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// How long one try may take, a connection included.
    pub patience: Duration,
    /// How often a request is tried, at least once.
    pub tries: u32,
    /// The longest pause before the second try; it doubles with each. Each pause is drawn between nothing and
    /// that, so that callers who failed together do not come back together.
    pub backoff: Duration,
}

impl ClientOptions {
    /// The service at that address, with three tries of a second each.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            token: None,
            ca_file: None,
            patience: Duration::from_secs(1),
            tries: 3,
            backoff: Duration::from_millis(50),
        }
    }
}

/// Why a client cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("identity's client: {0}")]
pub struct ClientError(pub(crate) String);

/// A client of Identity's service. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct IdentityClient {
    client: Client<Connector, Full<Bytes>>,
    base: String,
    authorisation: Option<HeaderValue>,
    patience: Duration,
    tries: u32,
    backoff: Duration,
}

/// One request, which may be sent several times.
struct Call {
    method: Method,
    path: String,
    body: Bytes,
}

/// How a try failed.
enum Failure {
    /// Another may not.
    Passing(String),
    Lasting(SourceError),
}

#[derive(Deserialize)]
struct Refusal {
    detail: String,
}

impl IdentityClient {
    /// A client of the service there. Connects when it is first used.
    pub fn new(options: &ClientOptions) -> Result<Self, ClientError> {
        let base = options.url.trim_end_matches('/').to_owned();
        let uri = base.parse::<hyper::Uri>().ok();
        let scheme = uri.as_ref().and_then(hyper::Uri::scheme_str).filter(|_| !base.contains(['?', '#']));
        if !matches!(scheme, Some("http" | "https")) {
            return Err(ClientError("the URL must be http://host:port or https://host:port".to_owned()));
        }
        let connector = connector::connector(scheme == Some("https"), options)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build(connector);
        Ok(Self {
            client,
            base,
            authorisation: options.token.as_ref().map(authorisation).transpose()?,
            patience: options.patience,
            tries: options.tries.max(1),
            backoff: options.backoff,
        })
    }

    /// The states of at most 1,000 users, in the order of the input.
    pub async fn look_up_all(&self, users: &[String], trust: Trust) -> Result<Vec<UserStates>, SourceError> {
        if users.len() > MOST_USERS {
            let text = format!("at most {MOST_USERS} users can be asked for at once");
            return Err(SourceError::Refused { status: 422, text });
        }
        let body = json(&AskUsers { users: users.to_vec(), trust })?;
        let found: Users = self.ask(Method::POST, "/v1/users".to_owned(), body).await?;
        if found.users.len() != users.len() {
            return Err(SourceError::Garbled("another number of users than was asked for".to_owned()));
        }
        Ok(found.users)
    }

    /// Enters a sign-up that is born on the new system in these migrations. To be acknowledged before the user's
    /// first request is served.
    pub async fn enrol(&self, user: &str, migrations: &[String]) -> Result<Enrolled, SourceError> {
        let body = json(&AskEnrol { user: user.to_owned(), migrations: migrations.to_vec() })?;
        self.ask(Method::POST, "/v1/enrol".to_owned(), body).await
    }

    async fn put_gate(&self, gate: &Registration) -> Result<Gate, SourceError> {
        let (lease_ms, max_request_ms) = (gate.lease.as_millis() as u64, gate.max_request.as_millis() as u64);
        let body = json(&AskGate { kind: gate.kind.clone(), lease_ms, max_request_ms })?;
        self.ask(Method::PUT, format!("/v1/gates/{}", encoded(&gate.id)), body).await
    }

    /// Sends a request until it is answered, refused, or all tries are used.
    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: String,
        body: Bytes,
    ) -> Result<T, SourceError> {
        let call = Call { method, path, body };
        let mut backoff = self.backoff;
        let mut tried = 0;
        loop {
            tried += 1;
            let once = tokio::time::timeout(self.patience, self.once(&call)).await;
            let failure = once
                .unwrap_or_else(|_| Err(Failure::Passing(format!("no answer within {:?}", self.patience))));
            match failure {
                Ok(bytes) => {
                    let garbled = |error: serde_json::Error| SourceError::Garbled(error.to_string());
                    return serde_json::from_slice(&bytes).map_err(garbled);
                }
                Err(Failure::Lasting(error)) => return Err(error),
                Err(Failure::Passing(text)) if tried >= self.tries => {
                    return Err(SourceError::Unreachable(text));
                }
                Err(Failure::Passing(_)) => {
                    tokio::time::sleep(backoff.mul_f64(fastrand::f64())).await;
                    backoff *= 2;
                }
            }
        }
    }

    async fn once(&self, call: &Call) -> Result<Bytes, Failure> {
        let mut request = Request::builder()
            .method(&call.method)
            .uri(format!("{}{}", self.base, call.path))
            .header(ACCEPT, "application/json");
        if !call.body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(authorisation) = &self.authorisation {
            request = request.header(AUTHORIZATION, authorisation);
        }
        let request = request.body(Full::new(call.body.clone())).map_err(|_| {
            Failure::Lasting(SourceError::Refused { status: 400, text: "the address cannot be built".into() })
        })?;
        let response = self.client.request(request).await.map_err(|error| Failure::Passing(chain(&error)))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST).collect().await;
        let bytes = body.map_err(|error| Failure::Passing(error.to_string()))?.to_bytes();
        if status == StatusCode::OK { Ok(bytes) } else { Err(failure(status, &bytes)) }
    }
}

impl IdentitySource for IdentityClient {
    fn look_up<'a>(&'a self, user: &'a str, trust: Trust) -> Answer<'a, UserStates> {
        let path = format!("/v1/users/{}?trust={}", encoded(user), trust.as_str());
        Box::pin(self.ask(Method::GET, path, Bytes::new()))
    }

    fn register<'a>(&'a self, gate: &'a Registration) -> Answer<'a, ()> {
        Box::pin(async move { self.put_gate(gate).await.map(|_| ()) })
    }

    fn seen<'a>(&'a self, gate: &'a Registration) -> Answer<'a, bool> {
        Box::pin(async move { self.put_gate(gate).await.map(|gate| !gate.registered) })
    }

    fn sign_off<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        let path = format!("/v1/gates/{}", encoded(id));
        Box::pin(async move { self.ask::<SignedOff>(Method::DELETE, path, Bytes::new()).await.map(|_| ()) })
    }
}

impl std::fmt::Debug for IdentityClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdentityClient").field("base", &self.base).finish_non_exhaustive()
    }
}

/// What a status other than 200 means.
fn failure(status: StatusCode, bytes: &[u8]) -> Failure {
    let text = serde_json::from_slice::<Refusal>(bytes)
        .map_or_else(|_| "no reason was given".to_owned(), |refusal| refusal.detail);
    // Those that say "not now": the service's own, and those of a proxy before it.
    let passing = matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504);
    if passing {
        Failure::Passing(format!("{}: {text}", status.as_u16()))
    } else {
        Failure::Lasting(SourceError::Refused { status: status.as_u16(), text })
    }
}

fn json(value: &impl Serialize) -> Result<Bytes, SourceError> {
    let text = serde_json::to_vec(value).map_err(|error| SourceError::Garbled(error.to_string()))?;
    Ok(text.into())
}

fn authorisation(token: &SecretString) -> Result<HeaderValue, ClientError> {
    let value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()));
    let mut value = value.map_err(|_| ClientError("the token holds what no header can hold".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A segment of a path: all but the unreserved characters percent-encoded.
fn encoded(segment: &str) -> String {
    let mut text = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// An error with its causes: the library's own text only says in which part it happened.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
