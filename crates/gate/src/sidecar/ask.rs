//! Native mode: the application asks for a decision and may say when it has let go of it.

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::answer;
use super::body::Body;
use super::site::{Site, field, text, unclear};
use super::subject::Found;
use crate::decision::Kind;
use crate::respond::{Asker, Reason};
use crate::token::PERMIT_HEADER;

const DECISION: &str = "/v1/decision";
const PASSES: &str = "/v1/passes/";

/// Answers one question.
pub(crate) async fn serve(site: &Site, request: Request<Incoming>) -> Response<Body> {
    if let Some(refused) = site.unauthorised(request.headers()) {
        return refused;
    }
    let (method, uri) = (request.method(), request.uri());
    let path = uri.path();
    if site.is_poll(method, path) {
        return poll(site, &request).await;
    }
    match (method, path.strip_prefix(PASSES)) {
        (&Method::GET, None) if path == DECISION => decide(site, &request).await,
        (&Method::DELETE, Some(name)) => give_back(site, name),
        (_, None) if path != DECISION => {
            answer::problem(StatusCode::NOT_FOUND, "not-found", "there is no such endpoint")
        }
        _ => answer::problem(StatusCode::METHOD_NOT_ALLOWED, "bad-method", "not by this method"),
    }
}

async fn decide(site: &Site, request: &Request<Incoming>) -> Response<Body> {
    let key = match subject(site, request) {
        Found::User { key, .. } => key,
        Found::Nobody => return unclear("the question names no user"),
        Found::Unclear(why) => return unclear(why),
    };
    let kind = match field(request.uri().query(), "kind").as_deref() {
        None | Some("request") => Kind::Holdable,
        Some("job") => Kind::Deferrable,
        Some(_) => {
            return answer::problem(StatusCode::BAD_REQUEST, "bad-kind", "`kind` is `request` or `job`");
        }
    };
    let headers = request.headers();
    match site.admit(&key, text(headers, PERMIT_HEADER), kind).await {
        Ok(pass) => {
            let decision = pass.decision(&key, &site.gate);
            let name = site.counted.keep(pass);
            let value = answer::decision(&decision, &site.migrations, &name);
            let mut response = answer::json_of(StatusCode::OK, &value);
            answer::write(&decision, &site.migrations, response.headers_mut());
            response
        }
        Err(refusal) => {
            let method = asked_method(request);
            site.turn_away(Reason::Refused(refusal), &Asker::of(&method, headers), None)
        }
    }
}

/// The user that the query names, else whoever the request itself would be found to be about.
fn subject(site: &Site, request: &Request<Incoming>) -> Found {
    match field(request.uri().query(), "user") {
        Some(key) if key.is_empty() => Found::Nobody,
        Some(key) if key.len() > 255 || key.chars().any(char::is_control) => {
            Found::Unclear("this cannot be a user's key")
        }
        Some(key) => Found::User { key, by_path: false },
        None => site.finder.find(request.headers(), text(request.headers(), "x-original-uri").unwrap_or("*")),
    }
}

/// The method of the application's own request, which decides what a page says.
fn asked_method(request: &Request<Incoming>) -> Method {
    text(request.headers(), "x-original-method").and_then(|name| name.parse().ok()).unwrap_or(Method::GET)
}

async fn poll(site: &Site, request: &Request<Incoming>) -> Response<Body> {
    match subject(site, request) {
        Found::User { key, .. } => answer::boxed(crate::respond::status(site.gate.is_open(&key).await)),
        Found::Nobody | Found::Unclear(_) => unclear("the question names no user"),
    }
}

fn give_back(site: &Site, name: &str) -> Response<Body> {
    if site.counted.give_back(name) {
        answer::empty(StatusCode::NO_CONTENT)
    } else {
        let text =
            "there is no such pass, or its time has run out: what was done under it may have come late";
        answer::problem(StatusCode::GONE, "too-late", text)
    }
}
