//! What a gate answers by itself: a page for browsers, an RFC 9457 problem for everybody else. Pure.

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderName, RETRY_AFTER, VARY};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;

use crate::gate::Refusal;

/// Seconds after which a client is asked to come again.
const COME_AGAIN: u64 = 2;
const PAGE: &str = include_str!("splash.html");

/// Why a request is not answered by the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It was not let through, and nothing was done.
    Refused(Refusal),
    /// It was let through and took too long: it may have been done, or not.
    TooLate,
}

/// What of a request decides how it is answered.
pub(crate) struct Asker {
    html: bool,
    safe: bool,
}

impl Asker {
    pub(crate) fn of(method: &Method, headers: &HeaderMap) -> Self {
        Self { html: wants_html(headers), safe: method.is_safe() }
    }

    /// Whether the client would rather have a page.
    #[cfg(feature = "sidecar")]
    pub(crate) fn html(&self) -> bool {
        self.html
    }
}

/// Whether the client would rather have a page: it names HTML, and JSON no more than that. Scripts in pages and
/// other clients, which say `*/*` or nothing, get a problem.
fn wants_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (mut html, mut json) = (0.0_f32, 0.0_f32);
    for range in accepted.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality =
            parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |q| q.parse().unwrap_or(0.0));
        if kind == "text/html" || kind == "application/xhtml+xml" {
            html = html.max(quality);
        } else if kind == "application/json" || kind.ends_with("+json") {
            json = json.max(quality);
        }
    }
    html > 0.0 && html >= json
}

/// The answer in place of the handler's: always 503.
pub(crate) fn refusal(
    reason: Reason,
    asker: &Asker,
    status_path: &str,
    splash: Option<&str>,
) -> Response<Full<Bytes>> {
    let (kind, body) = if asker.html {
        ("text/html; charset=utf-8", page(reason, asker.safe, status_path, splash))
    } else {
        ("application/problem+json", problem(reason, status_path))
    };
    let mut response = answer(StatusCode::SERVICE_UNAVAILABLE, kind, body);
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from(COME_AGAIN));
    headers.insert(VARY, HeaderValue::from_static("accept"));
    if asker.html {
        headers.insert(
            HeaderName::from_static("content-security-policy"),
            HeaderValue::from_static(
                "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'",
            ),
        );
    }
    response
}

/// The answer at the address to poll.
pub(crate) fn status(open: bool) -> Response<Full<Bytes>> {
    let body = serde_json::json!({ "paused": !open, "retry_after": if open { 0 } else { COME_AGAIN } });
    let mut response = answer(StatusCode::OK, "application/json", body.to_string());
    if !open {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(COME_AGAIN));
    }
    response
}

fn answer(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn problem(reason: Reason, status_path: &str) -> String {
    let (kind, title, detail) = match reason {
        Reason::Refused(Refusal::Paused) => (
            "urn:handover:problem:user-paused",
            "The account is being moved",
            "Nothing was done. Ask at `poll` until `paused` is false, then send the request again.",
        ),
        Reason::Refused(Refusal::Unknown | Refusal::Crowded) => (
            "urn:handover:problem:user-unknown",
            "The account cannot be served at the moment",
            "Nothing was done. Send the request again after `retry_after` seconds.",
        ),
        Reason::TooLate => (
            "urn:handover:problem:outcome-unknown",
            "The request took too long",
            "It may have been done, or not. Look before it is sent again, or send it with its idempotency key.",
        ),
    };
    serde_json::json!({
        "type": kind,
        "title": title,
        "status": 503,
        "detail": detail,
        "retry_after": COME_AGAIN,
        "poll": status_path,
    })
    .to_string()
}

fn page(reason: Reason, safe: bool, status_path: &str, own: Option<&str>) -> String {
    let (lead, text) = match reason {
        Reason::TooLate => {
            ("That took too long", "It may have been done, or not: please look before you send it again.")
        }
        Reason::Refused(_) if safe => (
            "Your account is being moved",
            "We are moving your data to a new system. It takes a few seconds, nothing is lost, and this page goes on by itself.",
        ),
        Reason::Refused(_) => (
            "Your account is being moved",
            "We are moving your data to a new system. What you sent was not saved: please send it again in a few seconds.",
        ),
    };
    // A form must not be sent a second time by itself.
    let reload = safe && matches!(reason, Reason::Refused(_));
    own.unwrap_or(PAGE)
        .replace("{{lead}}", lead)
        .replace("{{text}}", text)
        .replace(
            "{{refresh}}",
            if reload { r#"<noscript><meta http-equiv="refresh" content="3"></noscript>"# } else { "" },
        )
        .replace("{{reload}}", if reload { "true" } else { "false" })
        .replace("{{status}}", &in_script(status_path))
}

/// A JSON string that can stand in a script in a page.
fn in_script(text: &str) -> String {
    serde_json::Value::from(text)
        .to_string()
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(accept: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        wants_html(&headers)
    }

    #[test]
    fn browsers_get_a_page_and_everybody_else_a_problem() {
        assert!(html("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"));
        assert!(html("TEXT/HTML"));
        assert!(!html("application/json"));
        assert!(!html("application/json, text/html;q=0.5"));
        assert!(!html("application/vnd.api+json, text/html;q=0.9"));
        assert!(!html("*/*"));
        assert!(!html("text/html;q=0"));
        assert!(!wants_html(&HeaderMap::new()));
    }

    #[test]
    fn the_page_needs_nothing_from_outside_and_reloads_only_what_is_safe_to_repeat() {
        let safe = page(Reason::Refused(Refusal::Paused), true, "/</script>", None);
        assert!(!safe.contains("{{") && !safe.contains("http://") && !safe.contains("https://"));
        assert!(!safe.contains("/</script>\""), "the address cannot end the script");
        assert!(safe.contains("const reload = true") && safe.contains("http-equiv=\"refresh\""));
        for (reason, safe) in [(Reason::Refused(Refusal::Paused), false), (Reason::TooLate, true)] {
            let page = page(reason, safe, "/s", None);
            assert!(page.contains("const reload = false") && !page.contains("http-equiv=\"refresh\""));
        }
    }

    #[test]
    fn a_problem_says_whether_anything_was_done_and_where_to_ask() {
        let refused: serde_json::Value =
            serde_json::from_str(&problem(Reason::Refused(Refusal::Paused), "/s")).unwrap();
        assert_eq!(refused["type"], "urn:handover:problem:user-paused");
        assert_eq!((refused["status"].as_u64(), refused["poll"].as_str()), (Some(503), Some("/s")));
        let late: serde_json::Value = serde_json::from_str(&problem(Reason::TooLate, "/s")).unwrap();
        assert_eq!(late["type"], "urn:handover:problem:outcome-unknown");
    }
}
