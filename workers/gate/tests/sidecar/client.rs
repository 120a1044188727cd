//! HTTP by hand: what is sent is exactly what the test says.

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// An answer, as it came over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// 0 where the connection ended before a status line.
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_lowercase(), body: unchunked(head, body) }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// What a problem's type ends with.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let value = self.json();
        assert_eq!(value["status"], self.status, "{self:?}");
        value["type"]
            .as_str()
            .and_then(|kind| kind.strip_prefix("urn:handover:problem:"))
            .expect("a type")
            .to_owned()
    }
}

fn unchunked(head: &str, body: &str) -> String {
    if !head.to_lowercase().contains("transfer-encoding: chunked") {
        return body.to_owned();
    }
    let (mut text, mut rest) = (String::new(), body);
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        let Some(chunk) = after.get(..size).filter(|_| size > 0) else { break };
        text.push_str(chunk);
        rest = after.get(size + 2..).unwrap_or_default();
    }
    text
}

/// A request's text, for one connection.
pub(crate) fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n");
    for (name, value) in headers {
        text += &[*name, ": ", *value, "\r\n"].concat();
    }
    if !body.is_empty() {
        text += &["Content-Length: ", &body.len().to_string(), "\r\n"].concat();
    }
    text + "\r\n" + body
}

/// Sends these bytes and reads all that comes back.
pub(crate) async fn send(port: u16, bytes: &[u8]) -> Answer {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else { return Answer::read(b"") };
    // Whoever refuses early closes while we still write.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    Answer::read(&answer)
}

/// A request without a body.
pub(crate) async fn get(port: u16, target: &str, headers: &[(&str, &str)]) -> Answer {
    send(port, request("GET", target, headers, "").as_bytes()).await
}
