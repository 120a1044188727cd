//! The application behind the reverse proxy: its connections, and what of a message is passed on.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT, HOST, HeaderName, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::body::Body;

/// For how long an idle connection is kept: less than most applications' servers keep theirs.
const IDLE: Duration = Duration::from_millis(1_500);
const IDLE_CONNECTIONS: usize = 256;
/// Headers of one connection, beside those that `Connection` names.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authenticate"),
    HeaderName::from_static("proxy-authorization"),
];
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// What every header that handover sets begins with.
const OURS: &str = "handover-";

/// Where the application is, and how long it may take.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamOptions {
    /// Host and port.
    pub(crate) authority: Authority,
    /// For a connection.
    pub(crate) connect_timeout: Duration,
    /// From a request's admission to the head of its answer.
    pub(crate) timeout: Duration,
    /// The longest body of a request, in bytes.
    pub(crate) max_body: usize,
}

/// The application.
pub(crate) struct Upstream {
    client: Client<HttpConnector, Body>,
    pub(crate) options: UpstreamOptions,
}

impl Upstream {
    /// Connects when it is first used.
    pub(crate) fn new(options: UpstreamOptions) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(options.connect_timeout));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build(connector);
        Self { client, options }
    }

    /// Sends a request; returns the head of the answer, its body still to come.
    pub(crate) async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, Error> {
        let mut response = self.client.request(request).await?;
        strip_hop_by_hop(response.headers_mut());
        *response.version_mut() = Version::HTTP_11;
        Ok(response)
    }

    /// Makes a request from outside one to the application.
    pub(crate) fn address<B>(&self, request: &mut Request<B>, peer: std::net::IpAddr) {
        let target = request.uri().path_and_query().cloned();
        let target = target.unwrap_or_else(|| PathAndQuery::from_static("/"));
        if !request.headers().contains_key(HOST)
            && let Some(host) = request.uri().authority()
            && let Ok(host) = HeaderValue::from_str(host.as_str())
        {
            request.headers_mut().insert(HOST, host);
        }
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.options.authority.clone());
        parts.path_and_query = Some(target);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
        *request.version_mut() = Version::HTTP_11;
        let headers = request.headers_mut();
        strip_hop_by_hop(headers);
        headers.remove(EXPECT);
        strip_ours(headers);
        forwarded(headers, peer);
    }
}

/// Takes out what belongs to one connection only.
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Takes out what only the sidecar may say. An underscore counts as a hyphen: many applications see both as one.
fn strip_ours(headers: &mut HeaderMap) {
    let ours = |name: &&HeaderName| name.as_str().replace('_', "-").starts_with(OURS);
    let names: Vec<HeaderName> = headers.keys().filter(ours).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

fn forwarded(headers: &mut HeaderMap, peer: std::net::IpAddr) {
    let mut hops: Vec<Bytes> =
        headers.get_all(FORWARDED_FOR).iter().map(|value| Bytes::copy_from_slice(value.as_bytes())).collect();
    hops.push(peer.to_string().into());
    if let Ok(value) = HeaderValue::from_bytes(&hops.join(&b", "[..])) {
        headers.insert(FORWARDED_FOR, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let options = UpstreamOptions {
            authority: Authority::from_static("127.0.0.1:8000"),
            connect_timeout: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            max_body: 1,
        };
        let mut request = Request::builder().uri("http://outside/a?b=c").body(()).unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        Upstream::new(options).address(&mut request, [192, 0, 2, 7].into());
        assert_eq!(request.uri(), "http://127.0.0.1:8000/a?b=c");
        request.headers().clone()
    }

    // The client needs a runtime to be made in.
    #[tokio::test]
    async fn what_only_the_sidecar_may_say_is_taken_out_however_it_is_spelled() {
        let headers = sent(&[
            ("handover-side-invoices", "new"),
            ("Handover_Side_Invoices", "new"),
            ("handover-permit", "x"),
            ("x-handover", "kept"),
            ("host", "shop.example"),
        ]);
        assert_eq!(headers.len(), 3, "{headers:?}");
        assert_eq!(headers[HOST], "shop.example");
        assert_eq!(headers[FORWARDED_FOR], "192.0.2.7");
    }

    #[tokio::test]
    async fn what_belongs_to_one_connection_is_not_passed_on() {
        let headers = sent(&[
            ("connection", "keep-alive, X-Hop"),
            ("keep-alive", "timeout=5"),
            ("x-hop", "1"),
            ("te", "trailers"),
            ("expect", "100-continue"),
            ("upgrade", "h2c"),
            ("x-forwarded-for", "198.51.100.1"),
        ]);
        assert_eq!(headers.len(), 2, "{headers:?}");
        assert_eq!(headers[HOST], "outside");
        assert_eq!(headers[FORWARDED_FOR], "198.51.100.1, 192.0.2.7");
    }
}
