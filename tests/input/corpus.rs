//! Malformed HTTP, over raw connections to every service.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::row::Section;
use crate::services::{BEARER, Service, Services};
use crate::wire::{self, Came};

/// What is sent to a service, and what may come back.
struct Case {
    what: &'static str,
    bytes: Vec<u8>,
    /// The statuses that may be answered; 0: the connection ends without an answer.
    statuses: &'static [u16],
    /// How many answers may come at most.
    most: usize,
}

/// How much longer than a service's own bound an end may take on a slow machine.
const SLACK: Duration = Duration::from_secs(20);
/// How much memory a service may keep of all this, in KiB.
const KEPT: u64 = 96 * 1024;

const REFUSED: &[u16] = &[400];
const TOO_LARGE: &[u16] = &[431];
/// A service that reads no body answers what was asked, before or instead of refusing.
const ANSWERED: &[u16] = &[200, 400, 401, 404, 405, 408, 411, 413, 415, 422, 501, 502, 503, 504];

fn case(what: &'static str, bytes: impl Into<Vec<u8>>, statuses: &'static [u16], most: usize) -> Case {
    Case { what, bytes: bytes.into(), statuses, most }
}

/// A request with these lines behind its first; it ends the connection unless they say otherwise.
fn get(lines: &str) -> Vec<u8> {
    format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{lines}\r\n").into_bytes()
}

fn post(lines: &str, body: &str) -> Vec<u8> {
    format!("POST /users/1/reminders HTTP/1.1\r\nHost: x\r\n{lines}\r\n{body}").into_bytes()
}

fn cases() -> Vec<Case> {
    [lines(), headers(), lengths(), slow()].into_iter().flatten().collect()
}

fn lines() -> Vec<Case> {
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(100_000));
    vec![
        case("a TLS greeting", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", &[400, 0], 1),
        case("bytes at random", b"\xde\xad\xbe\xef\x00\xff\r\n\r\n", &[400, 0], 1),
        case("a Redis command", "*1\r\n$4\r\nPING\r\n\r\n", REFUSED, 1),
        case("a request line without a version (HTTP/0.9)", "GET /healthz\r\n\r\n", REFUSED, 1),
        case("HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[400, 505, 0], 1),
        case("a version that does not exist", "GET / HTTP/9.9\r\nHost: x\r\n\r\n", &[400, 505], 1),
        case("a method with a control character", "G\u{1}T / HTTP/1.1\r\nHost: x\r\n\r\n", REFUSED, 1),
        case("two blanks in the request line", "GET  / HTTP/1.1\r\nHost: x\r\n\r\n", REFUSED, 1),
        case("a NUL in the path", "GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n", REFUSED, 1),
        case("a path of 100 000 bytes", long, &[414, 431, 400], 1),
        case(
            "a method of 20 000 letters",
            format!("{} / HTTP/1.1\r\n\r\n", "A".repeat(20_000)),
            &[400, 405, 431, 404, 401],
            1,
        ),
        case("only line ends", "\r\n".repeat(50_000), &[400, 431, 0], 1),
        case(
            "an absolute address, of somebody else",
            "GET http://elsewhere.example/nothing HTTP/1.1\r\nHost: elsewhere.example\r\nConnection: close\r\n\r\n",
            &[200, 400, 401, 404],
            1,
        ),
        case(
            "CONNECT",
            "CONNECT elsewhere.example:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            &[400, 401, 404, 405, 501],
            1,
        ),
    ]
}

fn headers() -> Vec<Case> {
    vec![
        case("a header without a colon", get("nothing\r\n"), REFUSED, 1),
        case("a header's name with a blank", get("A b: c\r\n"), REFUSED, 1),
        case("a NUL in a header", get("A: b\0c\r\n"), REFUSED, 1),
        case("a bare line feed in a header's value", get("A: b\rc\r\n"), REFUSED, 1),
        case("a header that is folded", get("A: b\r\n c\r\n"), REFUSED, 1),
        case("a header of 200 000 bytes", get(&format!("A: {}\r\n", "b".repeat(200_000))), TOO_LARGE, 1),
        case("1 000 headers", get(&"A: b\r\n".repeat(1_000)), TOO_LARGE, 1),
        case("headers without end", get(&"A: b\r\n".repeat(100_000)), TOO_LARGE, 1),
    ]
}

fn lengths() -> Vec<Case> {
    let hidden = "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    let close = "Connection: close\r\n";
    let both = format!("Content-Length: {}\r\n{chunked}", hidden.len() + 5);
    let other = format!("{chunked}Content-Length: {}\r\n", hidden.len() + 5);
    let smuggled = format!("0\r\n\r\n{hidden}");
    let large = "x".repeat(1_000_000);
    vec![
        case("a length that is no number", post("Content-Length: many\r\n", ""), REFUSED, 1),
        case("a length below zero", post("Content-Length: -1\r\n", ""), REFUSED, 1),
        case("a length with a plus", post("Content-Length: +1\r\n", "x"), REFUSED, 1),
        case(
            "a length of 400 digits",
            post(&format!("Content-Length: {}\r\n", "9".repeat(400)), ""),
            REFUSED,
            1,
        ),
        case("two lengths that differ", post("Content-Length: 1\r\nContent-Length: 2\r\n", "xx"), REFUSED, 1),
        case("a length and chunks, with a request hidden behind", post(&both, &smuggled), ANSWERED, 1),
        case("chunks and a length, with a request hidden behind", post(&other, &smuggled), ANSWERED, 1),
        case("an encoding that is not known", post("Transfer-Encoding: rot13\r\n", hidden), REFUSED, 1),
        case(
            "chunked, and then something else",
            post("Transfer-Encoding: chunked, gzip\r\n", hidden),
            REFUSED,
            1,
        ),
        case("chunks in HTTP/1.0", format!("POST / HTTP/1.0\r\n{chunked}\r\n{smuggled}"), REFUSED, 1),
        case("a chunk whose size is no number", post(chunked, "xyz\r\n"), ANSWERED, 1),
        case("a chunk whose size passes 64 bits", post(chunked, "fffffffffffffffff\r\n"), ANSWERED, 1),
        case(
            "a chunk with an endless extension",
            post(&format!("{chunked}{close}"), &format!("1;{}", "a".repeat(200_000))),
            ANSWERED,
            1,
        ),
        case(
            "a body of 1 000 000 bytes",
            post(&format!("{close}Content-Length: 1000000\r\n"), &large),
            &[400, 401, 404, 405, 413, 502, 0],
            1,
        ),
        case(
            "a body of 1 000 000 bytes in chunks",
            post(&format!("{close}{chunked}"), &format!("f4240\r\n{large}\r\n0\r\n\r\n")),
            &[400, 401, 404, 405, 413, 502, 0],
            1,
        ),
        case(
            "a good request, and rubbish behind it",
            [get(""), b"\0\0rubbish\r\n\r\n".to_vec()].concat(),
            &[200, 400, 401, 404],
            2,
        ),
    ]
}

/// What does not go on: each must end within the service's own bound.
fn slow() -> Vec<Case> {
    vec![
        case("nothing", "", &[0, 408], 1),
        case("a request line that does not go on", "GET /hea", &[0, 408], 1),
        case("headers that do not go on", "GET /healthz HTTP/1.1\r\nHost: x\r\nA", &[0, 408], 1),
        case(
            "a body that does not go on",
            post("Content-Type: application/json\r\nContent-Length: 20\r\n", "{\"a\":"),
            &[400, 401, 404, 405, 408, 415, 502, 503, 504],
            1,
        ),
        case(
            "chunks that do not go on",
            post("Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n", "5\r\n{\"a\""),
            &[400, 401, 404, 405, 408, 415, 502, 503, 504],
            1,
        ),
    ]
}

pub(crate) fn section() -> Section {
    let shown = |case: &Case| {
        let statuses = case.statuses.iter().map(|status| match status {
            0 => "the end".to_owned(),
            status => status.to_string(),
        });
        [case.what.to_owned(), statuses.collect::<Vec<_>>().join(", "), String::new()]
    };
    let mut lines: Vec<[String; 3]> = cases().iter().map(shown).collect();
    let more = |what: &str, status: &str| [what.to_owned(), status.to_owned(), String::new()];
    lines.push(more("a header a byte at a time, for ever", "the end"));
    lines.push(more("more silent connections than there are places", "they end, and then 200"));
    let about = "Sent over raw connections to every service: Identity's, a worker's health address, the hybrid application, the \
                 sidecar as asked and as a proxy, and its health addresses. Each answers with one of these statuses or ends the \
                 connection, within its own bound (a connection may be silent for 10 s, at a health address 5 s, at the \
                 application 20 s; a body may take 3 s, at the proxy as long as its upstream may); a request that is hidden \
                 behind another is never answered; afterwards the service answers a good request, and holds no more than \
                 96 MiB more than before.";
    Section { title: "Malformed HTTP", about, code: "status", lines }
}

/// Sends one case to one service.
async fn try_one(service: &Service, case: &Case) -> Result<()> {
    let patience = service.silence + SLACK;
    let came = wire::send(service.port, &case.bytes, patience).await;
    let what = format!("{}, to {}", case.what, service.name);
    ensure!(came.ended, "{what}: the connection goes on after {patience:?}: {:.200}", came.text);
    ensure!(case.statuses.contains(&came.status), "{what}: answered {}: {:.300}", came.status, came.text);
    ensure!(came.answers <= case.most, "{what}: {} answers: {:.600}", came.answers, came.text);
    ensure!(!came.text.contains("/hidden"), "{what}: {:.600}", came.text);
    Ok(())
}

/// Sends a header a byte at a time until the service has had enough.
async fn drip(service: &Service) -> Result<()> {
    let (mut reading, mut writing) = TcpStream::connect(("127.0.0.1", service.port)).await?.into_split();
    let dripping = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        let _cut = writing.write_all(b"GET /healthz HTTP/1.1\r\nA: ").await;
        loop {
            ticks.tick().await;
            if writing.write_all(b"a").await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let mut answer = Vec::new();
    let reading = tokio::time::timeout(service.silence + SLACK, reading.read_to_end(&mut answer));
    tokio::select! {
        () = dripping => {}
        read = reading => { let _reset = read.with_context(|| format!("{} waits for ever", service.name))?; }
    }
    ensure!(!answer.starts_with(b"HTTP/1.1 200"), "{} answers half a request", service.name);
    Ok(())
}

/// Takes every place and some more; whoever comes then is served within the bound.
async fn crowd(service: &Service, places: usize) -> Result<()> {
    let mut held = Vec::new();
    for _ in 0..places + 20 {
        held.push(TcpStream::connect(("127.0.0.1", service.port)).await?);
    }
    let begun = Instant::now();
    let good = wire::request("GET", service.good, &[("Authorization", BEARER)], b"");
    let came = wire::send(service.port, &good, 2 * service.silence + SLACK).await;
    ensure!(came.ended && came.status != 0, "{} is taken for {:?}: {came:?}", service.name, begun.elapsed());
    drop(held);
    Ok(())
}

async fn all(service: &Service) -> Result<()> {
    let cases = cases();
    Services::answers(service).await?;
    let before = service.memory()?;
    // Those that wait stand side by side with the others, fewer than the sidecar has places.
    let (slow, quick): (Vec<_>, Vec<_>) =
        cases.iter().partition(|case| slow().iter().any(|slow| slow.what == case.what));
    let waiting = async {
        for outcome in join_all(slow.into_iter().map(|case| try_one(service, case))).await {
            outcome?;
        }
        Ok(())
    };
    let at_once = async {
        for case in quick {
            try_one(service, case).await?;
        }
        Ok(())
    };
    tokio::try_join!(waiting, at_once, drip(service))?;
    Services::answers(service).await?;
    if let Some(places) = service.connections {
        crowd(service, places).await?;
        Services::answers(service).await?;
    }
    let kept = service.memory()?.saturating_sub(before);
    ensure!(kept < KEPT, "{} keeps {kept} KiB", service.name);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_survives_malformed_http_and_answers_the_next_request() -> Result<()> {
    let services = Box::pin(Services::start()).await?;
    for outcome in join_all(services.all.iter().map(all)).await {
        outcome?;
    }
    for service in &services.all {
        let good = wire::request("GET", service.good, &[("Authorization", BEARER)], b"");
        let came: Came = wire::send(service.port, &good, SLACK).await;
        ensure!(came.status == 200, "{} afterwards: {came:?}", service.name);
    }
    Ok(())
}
