//! The mode for nginx' `auth_request`, which knows three answers: 2xx lets pass, 401 and 403 refuse, and all else is
//! an error. It drops the body of a refusal, so the refusal's own answer is asked for a second time.

use http::header::HeaderName;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::answer;
use super::body::Body;
use super::site::{Site, text, unclear};
use super::subject::Found;
use crate::decision::Kind;
use crate::gate::Refusal;
use crate::respond::{Asker, Reason};
use crate::token::PERMIT_HEADER;

const AUTH: &str = "/v1/auth";
const REFUSAL: &str = "/v1/refusal";
/// Why a request was refused: what `/v1/refusal` is to be told.
const REFUSED: HeaderName = HeaderName::from_static("handover-refused");
const UNCLEAR: &str = "unclear";

/// Answers one question of nginx'.
pub(crate) async fn serve(site: &Site, request: Request<Incoming>) -> Response<Body> {
    if let Some(refused) = site.unauthorised(request.headers()) {
        return refused;
    }
    let (headers, uri) = (request.headers(), request.uri());
    if site.is_poll(request.method(), uri.path()) {
        return site.poll(headers, "*", uri.query()).await;
    }
    let (Some(target), Some(method)) = (text(headers, "x-original-uri"), text(headers, "x-original-method"))
    else {
        let text = "nginx must send X-Original-URI and X-Original-Method";
        return answer::problem(StatusCode::BAD_REQUEST, "not-configured", text);
    };
    match uri.path() {
        AUTH => auth(site, &request, target).await,
        REFUSAL => refusal(site, &request, target, method),
        _ => answer::problem(StatusCode::NOT_FOUND, "not-found", "there is no such endpoint"),
    }
}

async fn auth(site: &Site, request: &Request<Incoming>, target: &str) -> Response<Body> {
    let key = match site.finder.find(request.headers(), target) {
        Found::User { key, .. } => key,
        Found::Nobody => {
            site.count("nobody");
            return answer::empty(StatusCode::NO_CONTENT);
        }
        Found::Unclear(_) => {
            site.count("unclear");
            return refused(UNCLEAR);
        }
    };
    match site.admit(&key, text(request.headers(), PERMIT_HEADER), Kind::Holdable).await {
        Ok(pass) => {
            let mut response = answer::empty(StatusCode::NO_CONTENT);
            answer::write(&pass.decision(&key, &site.gate), &site.migrations, response.headers_mut());
            // Nobody tells when the request has ended.
            site.counted.keep(pass);
            response
        }
        Err(refusal) => refused(refusal.word()),
    }
}

fn refused(why: &'static str) -> Response<Body> {
    let mut response = answer::empty(StatusCode::FORBIDDEN);
    response.headers_mut().insert(REFUSED, HeaderValue::from_static(why));
    response
}

/// What the client of a refused request gets.
fn refusal(site: &Site, request: &Request<Incoming>, target: &str, method: &str) -> Response<Body> {
    let headers = request.headers();
    let refusal = match text(headers, REFUSED.as_str()) {
        Some("paused") => Refusal::Paused,
        Some(UNCLEAR) => return unclear("it cannot be told whose data the request is about"),
        Some("crowded") => Refusal::Crowded,
        _ => Refusal::Unknown,
    };
    // A method that cannot be read is not one that a page may repeat by itself.
    let method = method.parse().unwrap_or(Method::POST);
    let by_path = matches!(site.finder.find(headers, target), Found::User { by_path: true, .. });
    site.turn_away(Reason::Refused(refusal), &Asker::of(&method, headers), by_path.then_some(target))
}
