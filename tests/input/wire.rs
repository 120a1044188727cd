//! HTTP by hand: what is sent is exactly what the test says.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Came {
    /// 0 where the connection ended before a status line.
    pub(crate) status: u16,
    /// How many answers came.
    pub(crate) answers: usize,
    pub(crate) text: String,
    /// Whether the connection ended in time.
    pub(crate) ended: bool,
}

impl Came {
    fn of(bytes: &[u8], ended: bool) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let status = text.split(' ').nth(1).filter(|_| text.starts_with("HTTP/1."));
        let status = status.and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, answers: text.matches("HTTP/1.1 ").count(), text, ended }
    }

    pub(crate) fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }
}

/// Sends these bytes and reads until the other side ends the connection, so long at most.
pub(crate) async fn send(port: u16, bytes: &[u8], patience: Duration) -> Came {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else { return Came::of(b"", true) };
    let mut answer = Vec::new();
    let (mut reading, mut writing) = stream.split();
    let talk = async {
        // Whoever refuses early closes while we still write.
        let write = async { writing.write_all(bytes).await.is_ok() };
        let read = async { reading.read_to_end(&mut answer).await.is_ok() };
        tokio::join!(write, read)
    };
    let ended = tokio::time::timeout(patience, talk).await.is_ok();
    Came::of(&answer, ended)
}

/// A request's text, for one connection.
pub(crate) fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
    for (name, value) in headers {
        text += &[*name, ": ", *value, "\r\n"].concat();
    }
    if !body.is_empty() {
        text.push_str(&["Content-Length: ", &body.len().to_string(), "\r\n"].concat());
    }
    [text.as_bytes(), b"\r\n", body].concat()
}

/// Asks as one should.
pub(crate) async fn ask(port: u16, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Came {
    send(port, &request(method, target, headers, body.as_bytes()), Duration::from_secs(30)).await
}
