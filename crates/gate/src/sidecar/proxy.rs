//! Reverse proxy mode: a request counts from its look-up until the application's answer has gone out, or until its
//! deadline where that is earlier or where nobody can say what became of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, UPGRADE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy::Error;

use super::answer;
use super::body::{Answering, Body, Held, limited};
use super::site::{Site, unclear};
use super::subject::Found;
use super::upstream::Upstream;
use crate::clock::Moment;
use crate::decision::Kind;
use crate::pass::Decision;
use crate::respond::{Asker, Reason};
use crate::token::PERMIT_HEADER;

/// Why the application's answer cannot be given.
enum Trouble {
    /// It was not reached: nothing was done.
    Unreachable,
    /// It broke off: it may have been done.
    Broken,
    /// It did not answer in time.
    Silent,
    /// The request's body is too long.
    TooLarge,
    /// The deadline has passed.
    TooLate,
}

/// Passes one request on, or answers it.
pub(crate) async fn serve(
    site: &Site,
    upstream: &Upstream,
    mut request: Request<Incoming>,
    peer: SocketAddr,
) -> Response<Body> {
    let target = request.uri().path_and_query().map_or_else(|| "*".to_owned(), ToString::to_string);
    if site.is_poll(request.method(), request.uri().path()) {
        return site.poll(request.headers(), &target, request.uri().query()).await;
    }
    if let Some(refused) = impassable(&request, upstream.options.max_body) {
        site.count("refused");
        return refused;
    }
    let found = site.finder.find(request.headers(), &target);
    let permit = request.headers_mut().remove(PERMIT_HEADER);
    let asker = Asker::of(request.method(), request.headers());
    upstream.address(&mut request, peer.ip());
    let (key, by_path) = match found {
        Found::User { key, by_path } => (key, by_path),
        Found::Nobody => {
            site.count("nobody");
            return nobodys(site, upstream, request, &asker).await;
        }
        Found::Unclear(why) => {
            site.count("unclear");
            return unclear(why);
        }
    };
    let at = by_path.then_some(target.as_str());
    let permit = permit.as_ref().and_then(|permit| permit.to_str().ok());
    let pass = match site.admit(&key, permit, Kind::Holdable).await {
        Ok(pass) => pass,
        Err(refusal) => return site.turn_away(Reason::Refused(refusal), &asker, at),
    };
    let decision = pass.decision(&key, &site.gate);
    let held = Held::new(pass, Arc::clone(&site.counted));
    match users(site, upstream, request, &decision, held).await {
        Ok(response) => response,
        Err(trouble) => troubled(site, &trouble, &asker),
    }
}

/// The refusal of what cannot be passed on.
fn impassable(request: &Request<Incoming>, max_body: usize) -> Option<Response<Body>> {
    let headers = request.headers();
    if request.method() == Method::CONNECT || switches(headers) {
        let text = "Nothing was done: connections that change their protocol, such as WebSockets, are not passed on.";
        return Some(answer::problem(StatusCode::NOT_IMPLEMENTED, "no-upgrade", text));
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    length.is_some_and(|length| length > max_body as u64).then(|| too_large(max_body))
}

/// Whether the client wants another protocol. Some ask for HTTP/2 by the way, and can do without.
fn switches(headers: &HeaderMap) -> bool {
    let wanted = headers.get_all(UPGRADE).iter().filter_map(|value| value.to_str().ok());
    wanted.flat_map(|value| value.split(',')).any(|name| {
        let name = name.trim();
        !name.is_empty()
            && !name.eq_ignore_ascii_case("h2c")
            && !name.to_ascii_lowercase().starts_with("tls/")
    })
}

/// A request without a user: passed on without a decision, and not counted.
async fn nobodys(
    site: &Site,
    upstream: &Upstream,
    request: Request<Incoming>,
    asker: &Asker,
) -> Response<Body> {
    match forward(upstream, request, upstream.options.timeout).await {
        Ok(response) => response.map(|body| body.map_err(Into::into).boxed_unsync()),
        Err(trouble) => troubled(site, &trouble, asker),
    }
}

/// A user's request, which has been let through.
async fn users(
    site: &Site,
    upstream: &Upstream,
    mut request: Request<Incoming>,
    decision: &Decision,
    held: Held,
) -> Result<Response<Body>, Trouble> {
    answer::write(decision, &site.migrations, request.headers_mut());
    let deadline = held.deadline();
    let patience = upstream.options.timeout.min(deadline.since(Moment::now()));
    let response = match forward(upstream, request, patience).await {
        Ok(response) => response,
        Err(Trouble::Unreachable) => {
            held.end();
            return Err(Trouble::Unreachable);
        }
        // Dropped, the pass counts until its deadline: the application may still be at work.
        Err(trouble) => return Err(trouble),
    };
    // Looked at again: this process may have been stopped since.
    if Moment::now() >= deadline {
        metrics::counter!("handover_gate_overruns_total").increment(1);
        return Err(Trouble::TooLate);
    }
    Ok(response.map(|body| Answering::new(body, held).boxed_unsync()))
}

async fn forward(
    upstream: &Upstream,
    request: Request<Incoming>,
    patience: Duration,
) -> Result<Response<Incoming>, Trouble> {
    let exceeded = Arc::new(AtomicBool::new(false));
    let request = request.map(|body| limited(body, upstream.options.max_body, Arc::clone(&exceeded)));
    match tokio::time::timeout(patience, upstream.send(request)).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(_)) if exceeded.load(Ordering::SeqCst) => Err(Trouble::TooLarge),
        Ok(Err(error)) => Err(broken(&error)),
        Err(_) => Err(Trouble::Silent),
    }
}

fn broken(error: &Error) -> Trouble {
    tracing::warn!(%error, reached = !error.is_connect(), "the application did not answer");
    if error.is_connect() { Trouble::Unreachable } else { Trouble::Broken }
}

fn too_large(max_body: usize) -> Response<Body> {
    let text = format!("The body is longer than {max_body} bytes.");
    answer::problem(StatusCode::PAYLOAD_TOO_LARGE, "too-large", &text)
}

fn troubled(site: &Site, trouble: &Trouble, asker: &Asker) -> Response<Body> {
    const UNKNOWN: &str =
        "It may have been done, or not. Look before it is sent again, or send it with its idempotency key.";
    let (status, outcome) = match trouble {
        Trouble::Unreachable => (StatusCode::BAD_GATEWAY, "unreachable"),
        Trouble::Broken => (StatusCode::BAD_GATEWAY, "broken"),
        Trouble::Silent => (StatusCode::GATEWAY_TIMEOUT, "silent"),
        Trouble::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
        Trouble::TooLate => (StatusCode::SERVICE_UNAVAILABLE, "too_late"),
    };
    site.count(outcome);
    match trouble {
        Trouble::Unreachable => {
            answer::problem(status, "unreachable", "Nothing was done: the application cannot be reached.")
        }
        Trouble::TooLarge => {
            answer::problem(status, "too-large", "The body is too long. A part of it may have been taken in.")
        }
        Trouble::Broken | Trouble::Silent | Trouble::TooLate if asker.html() => {
            let mut page = site.turn_away(Reason::TooLate, asker, None);
            *page.status_mut() = status;
            page
        }
        Trouble::Broken | Trouble::Silent | Trouble::TooLate => {
            answer::problem(status, "outcome-unknown", UNKNOWN)
        }
    }
}
