//! Each bound, over real connections: whoever passes it is sent away or waits, and others are served.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use handover_listen::{Bounds, serve, service_fn};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(30);
const GOOD: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
/// More than the buffers of a connection hold.
const LARGE: usize = 64 * 1024 * 1024;

struct Listening {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let length = if request.uri().path() == "/large" { LARGE } else { 5 };
    Ok(Response::new(Full::new(Bytes::from(vec![b'x'; length]))))
}

async fn listening(bounds: Bounds) -> Listening {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound port");
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async move { drop(stopped.await) };
    let task = tokio::spawn(async move { serve(listener, bounds, stopped, |_| service_fn(answer)).await });
    Listening { address, stop, task }
}

impl Listening {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("it listens")
    }

    /// Sends these bytes; returns all that comes back until the end, which must come.
    async fn send(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        let _cut = stream.write_all(bytes).await;
        end(&mut stream).await
    }
}

async fn end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let reading = tokio::time::timeout(LONG, stream.read_to_end(&mut answer));
    let _reset = reading.await.expect("the connection ends");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn headers_that_do_not_come_end_the_connection_and_so_does_silence() {
    let service = listening(Bounds { headers_within: SHORT, ..Bounds::SERVICE }).await;
    for begun in [&b""[..], b"GET / HTTP/1.1\r\nHos"] {
        let began = Instant::now();
        assert!(!service.send(begun).await.contains("200"));
        assert!(began.elapsed() >= SHORT, "not at once: {:?}", began.elapsed());
    }
    let began = Instant::now();
    let kept = service.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(kept.starts_with("HTTP/1.1 200") && began.elapsed() >= SHORT, "{kept:.40}");
    assert!(service.send(GOOD).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_byte_now_and_then_buys_no_time() {
    let service = listening(Bounds { headers_within: SHORT, ..Bounds::SERVICE }).await;
    let (mut reading, mut writing) = service.connect().await.into_split();
    let dripping = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(SHORT / 10);
        let _cut = writing.write_all(b"GET / HTTP/1.1\r\n").await;
        loop {
            ticks.tick().await;
            if writing.write_all(b"a").await.is_err() {
                return;
            }
        }
    });
    let mut answer = Vec::new();
    let _reset = tokio::time::timeout(LONG, reading.read_to_end(&mut answer)).await.expect("it is cut off");
    dripping.abort();
}

#[tokio::test]
async fn a_connection_too_many_waits_for_a_place() {
    let service = listening(Bounds { connections: 2, headers_within: SHORT, ..Bounds::SERVICE }).await;
    let began = Instant::now();
    let held = [service.connect().await, service.connect().await];
    assert!(service.send(GOOD).await.starts_with("HTTP/1.1 200"));
    assert!(began.elapsed() >= SHORT / 2, "it had to wait: {:?}", began.elapsed());
    drop(held);
}

#[tokio::test]
async fn whoever_reads_no_answer_gives_the_place_back() {
    let service = listening(Bounds { connections: 1, unread: SHORT, ..Bounds::SERVICE }).await;
    let mut deaf = service.connect().await;
    deaf.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let good = tokio::time::timeout(LONG / 3, service.send(GOOD)).await;
    assert!(good.expect("the place is free again").starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn whoever_reads_a_large_answer_slowly_has_it_whole() {
    let service = listening(Bounds { unread: SHORT, ..Bounds::SERVICE }).await;
    let mut slow = service.connect().await;
    slow.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let (mut read, mut buffer) = (0, vec![0; 8 * 1024 * 1024]);
    let mut ticks = tokio::time::interval(SHORT / 20);
    loop {
        ticks.tick().await;
        match slow.read(&mut buffer).await.expect("nobody cuts it off") {
            0 => break,
            length => read += length,
        }
    }
    assert!(read > LARGE, "{read}");
}

#[tokio::test]
async fn too_large_or_too_many_headers_are_refused() {
    let service = listening(Bounds::SERVICE).await;
    let wide =
        format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(Bounds::SERVICE.headers_bytes));
    assert!(service.send(wide.as_bytes()).await.starts_with("HTTP/1.1 431"));
    let many = "X: x\r\n".repeat(Bounds::SERVICE.headers_count + 1);
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n");
    assert!(service.send(many.as_bytes()).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn it_stops_though_a_client_keeps_its_connection() {
    let service = listening(Bounds { last_requests: LONG, ..Bounds::SERVICE }).await;
    let mut kept = service.connect().await;
    kept.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(kept.read(&mut [0; 512]).await.unwrap() > 0);
    service.stop.send(()).unwrap();
    tokio::time::timeout(LONG / 2, service.task).await.expect("it stops").unwrap();
    assert!(end(&mut kept).await.is_empty() || TcpStream::connect(service.address).await.is_err());
}
