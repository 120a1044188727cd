//! One HTTP request to one of the application's processes, and what its answer means.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::record::{Outcome, Side};

/// After this an answer counts as never come: longer than a gate holds and a request lasts.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(2);
/// The longest answer that is read.
const LARGEST: usize = 64 * 1024 * 1024;

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Body,
    /// As a browser asks.
    pub(crate) web: bool,
}

/// What is sent along.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Nothing,
    Json(serde_json::Value),
    Form(Vec<(&'static str, String)>),
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) outcome: Outcome,
    pub(crate) status: Option<u16>,
    pub(crate) body: Bytes,
    headers: HeaderMap,
}

/// Connections to the application's processes.
#[derive(Clone, Debug)]
pub(crate) struct Http(Client<HttpConnector, Full<Bytes>>);

impl Http {
    pub(crate) fn new() -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT));
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(Duration::from_secs(5));
        // Whoever repeats a write by itself cannot know how often it was done.
        builder.retry_canceled_requests(false);
        Self(builder.build(tcp))
    }

    /// Asks; whatever happens, the outcome says what it means for a write.
    pub(crate) async fn ask(&self, url: &str, ask: &Ask) -> Told {
        let Ok(request) = ask.request(url) else { return Told::none(Outcome::NotSent) };
        let answering = async {
            let response = self.0.request(request).await.map_err(|error| error.is_connect())?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, LARGEST).collect().await.map_err(|_broken| false)?;
            Ok((parts, body.to_bytes()))
        };
        match tokio::time::timeout(PATIENCE, answering).await {
            Ok(Ok((parts, body))) => Told {
                outcome: outcome(parts.status, &body),
                status: Some(parts.status.as_u16()),
                body,
                headers: parts.headers,
            },
            Ok(Err(not_connected)) if not_connected => Told::none(Outcome::NotSent),
            Ok(Err(_)) | Err(_) => Told::none(Outcome::Indeterminate),
        }
    }
}

impl Ask {
    fn request(&self, url: &str) -> http::Result<Request<Full<Bytes>>> {
        let accept =
            if self.web { "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8" } else { "application/json" };
        let request = Request::builder()
            .method(self.method.clone())
            .uri(format!("{}{}", url.trim_end_matches('/'), self.path))
            .header(ACCEPT, accept);
        let (kind, body) = match &self.body {
            Body::Nothing => return request.body(Full::default()),
            Body::Json(value) => ("application/json", value.to_string()),
            Body::Form(fields) => ("application/x-www-form-urlencoded", form(fields)),
        };
        request.header(CONTENT_TYPE, kind).body(Full::new(Bytes::from(body)))
    }
}

impl Told {
    fn none(outcome: Outcome) -> Self {
        Self { outcome, status: None, body: Bytes::new(), headers: HeaderMap::new() }
    }

    /// The side that the header `served-by` names for this part of the data, such as `reminders`.
    pub(crate) fn served_by(&self, part: &str) -> Option<Side> {
        let header = self.headers.get("served-by")?.to_str().ok()?;
        let mut parts = header.split(',').filter_map(|each| each.trim().split_once('='));
        match parts.find(|(name, _)| *name == part)?.1 {
            "legacy" => Some(Side::Legacy),
            "new" => Some(Side::New),
            _ => None,
        }
    }
}

/// What an answer means. Only what says clearly that nothing was done is taken so.
fn outcome(status: StatusCode, body: &[u8]) -> Outcome {
    if status.is_success() || status.is_redirection() {
        return Outcome::Acknowledged;
    }
    if status.is_client_error() {
        return Outcome::Declined;
    }
    let text = String::from_utf8_lossy(body);
    let nothing = [
        "problem:user-paused",
        "problem:user-unknown",
        "problem:nothing-done",
        "was not saved",
        "is being moved",
    ];
    let clear = status == StatusCode::SERVICE_UNAVAILABLE && nothing.iter().any(|words| text.contains(words));
    if clear { Outcome::Refused } else { Outcome::Indeterminate }
}

/// Fields as a browser sends them.
fn form(fields: &[(&str, String)]) -> String {
    let pairs: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    pairs.join("&")
}

fn encoded(value: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
        b' ' => "+".to_owned(),
        other => format!("%{other:02X}"),
    };
    value.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_that_says_so_means_that_nothing_was_done() {
        let of = |status: u16, body: &str| outcome(StatusCode::from_u16(status).unwrap(), body.as_bytes());
        assert_eq!(of(201, ""), Outcome::Acknowledged);
        assert_eq!(of(303, ""), Outcome::Acknowledged);
        assert_eq!(of(404, ""), Outcome::Declined);
        assert_eq!(of(503, r#"{"type":"urn:handover:problem:user-paused"}"#), Outcome::Refused);
        assert_eq!(of(503, "What you sent was not saved: please"), Outcome::Refused);
        assert_eq!(of(503, r#"{"type":"urn:handover:problem:outcome-unknown"}"#), Outcome::Indeterminate);
        assert_eq!(of(503, "It may have been done, or not: please look"), Outcome::Indeterminate);
        assert_eq!(of(500, "problem:user-paused"), Outcome::Indeterminate);
        assert_eq!(of(502, ""), Outcome::Indeterminate);
    }

    #[test]
    fn a_form_keeps_its_bytes() {
        assert_eq!(
            form(&[("a", "x y&=<1>".to_owned()), ("b", "é".to_owned())]),
            "a=x+y%26%3D%3C1%3E&b=%C3%A9"
        );
    }

    #[test]
    fn the_side_of_each_part_is_read_from_the_header() {
        let mut told = Told::none(Outcome::Acknowledged);
        told.headers.insert("served-by", "reminders=legacy, settings=new".parse().unwrap());
        assert_eq!(
            (told.served_by("reminders"), told.served_by("settings")),
            (Some(Side::Legacy), Some(Side::New))
        );
        assert_eq!(told.served_by("other"), None);
    }

    #[tokio::test]
    async fn nobody_listening_means_not_sent_and_a_cut_answer_means_not_known() {
        let ask = Ask { method: Method::POST, path: "/x".into(), body: Body::Nothing, web: false };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let cut = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = [0; 64];
            let read = tokio::io::AsyncReadExt::read(&mut stream, &mut bytes).await.unwrap();
            assert!(read > 0, "the request was sent");
        });
        assert_eq!(Http::new().ask(&url, &ask).await.outcome, Outcome::Indeterminate);
        cut.await.unwrap();
        assert_eq!(Http::new().ask(&url, &ask).await.outcome, Outcome::NotSent);
    }
}
