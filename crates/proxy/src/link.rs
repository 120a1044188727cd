//! One connection: bytes pass in both directions until an end, of its own or ordered.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use crate::proxy::Shared;
use crate::strike::Verdict;
use crate::wire::Frames;
use crate::{Cut, Mode};

/// Bytes that are read at once.
const AT_ONCE: usize = 64 * 1024;

/// What both directions know of their connection.
#[derive(Default)]
struct Link {
    swallowed: AtomicBool,
    /// The next answer ends the connection so.
    at_answer: Mutex<Option<Cut>>,
}

/// What happens with bytes that have come in.
enum Fate {
    Pass,
    Swallow,
}

/// Serves a client to its end.
pub(crate) async fn run(mut client: TcpStream, shared: Arc<Shared>) {
    let mode = *shared.mode.borrow();
    if mode == Mode::Refuse {
        shared.hurt();
        return end(&client, Cut::Reset);
    }
    let _counted = shared.count();
    let mut cuts = shared.cuts.subscribe();
    if mode == Mode::HalfOpen {
        shared.hurt();
        let mut modes = shared.mode.subscribe();
        tokio::select! {
            _ = cuts.changed() => {}
            _ = modes.wait_for(|mode| *mode != Mode::HalfOpen) => {}
        }
        return end(&client, Cut::Reset);
    }
    let Ok(mut server) = TcpStream::connect(&shared.server).await else { return end(&client, Cut::Reset) };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let link = Link::default();
    let how = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        tokio::select! {
            how = up(from_client, to_server, &link, &shared) => how.unwrap_or(Cut::Reset),
            how = down(from_server, to_client, &link, &shared) => how.unwrap_or(Cut::Reset),
            how = ordered(&mut cuts) => { shared.hurt(); how }
            () = healed(&link, &shared) => Cut::Reset,
        }
    };
    end(&client, how);
    end(&server, how);
}

/// With FIN where nothing else is done: the socket is closed when it is dropped.
fn end(stream: &TcpStream, how: Cut) {
    if how == Cut::Reset {
        let _ = stream.set_zero_linger();
    }
}

/// From the client to the server.
async fn up(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, link: &Link, shared: &Shared) -> io::Result<Cut> {
    let mut frames = Frames::of_client(shared.protocol);
    let mut buffer = vec![0; AT_ONCE];
    loop {
        let many = from.read(&mut buffer).await?;
        if many == 0 {
            // Its answers may still be on their way: the server ends the connection.
            to.shutdown().await?;
            return std::future::pending().await;
        }
        if matches!(fate(link, shared).await, Fate::Swallow) {
            continue;
        }
        frames.push(&buffer[..many]);
        let (out, cut) = admitted(&mut frames, link, shared);
        if let Some(how) = pass(&out, &mut to, shared).await?.or(cut) {
            shared.hurt();
            return Ok(how);
        }
    }
}

/// From the server to the client.
async fn down(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    link: &Link,
    shared: &Shared,
) -> io::Result<Cut> {
    let mut buffer = vec![0; AT_ONCE];
    loop {
        let many = from.read(&mut buffer).await?;
        if many == 0 {
            return Ok(Cut::Fin);
        }
        let due = *link.at_answer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(how) = due {
            shared.hurt();
            return Ok(how);
        }
        if matches!(fate(link, shared).await, Fate::Swallow) {
            continue;
        }
        if let Some(how) = pass(&buffer[..many], &mut to, shared).await? {
            shared.hurt();
            return Ok(how);
        }
    }
}

/// The messages that may pass, and whether the connection ends after them.
fn admitted(frames: &mut Frames, link: &Link, shared: &Shared) -> (Vec<u8>, Option<Cut>) {
    let mut out = Vec::new();
    while let Some(frame) = frames.next() {
        let verdict = if frame.query { shared.query(&frame.bytes) } else { Verdict::Pass };
        match verdict {
            Verdict::Pass => {}
            Verdict::Cut(how) => return (out, Some(how)),
            Verdict::CutAtAnswer(how) => {
                *link.at_answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(how);
            }
        }
        out.extend_from_slice(&frame.bytes);
    }
    (out, None)
}

/// Passes bytes on, up to the one at which a strike ends the connection.
async fn pass(bytes: &[u8], to: &mut WriteHalf<'_>, shared: &Shared) -> io::Result<Option<Cut>> {
    let struck = shared.bytes(bytes.len());
    let many = struck.map_or(bytes.len(), |(many, _)| many);
    to.write_all(&bytes[..many]).await?;
    Ok(struck.map(|(_, how)| how))
}

/// Waits as the mode has it.
async fn fate(link: &Link, shared: &Shared) -> Fate {
    let mode = *shared.mode.borrow();
    match mode {
        Mode::Pass | Mode::Refuse => return Fate::Pass,
        Mode::HalfOpen => {
            link.swallowed.store(true, Ordering::Relaxed);
            shared.hurt();
            return Fate::Swallow;
        }
        Mode::Delay(by) => {
            shared.hurt();
            tokio::time::sleep(by).await;
        }
        Mode::Stall => {
            shared.hurt();
            // It cannot close: the sender is shared by this very connection.
            let _ = shared.mode.subscribe().wait_for(|mode| *mode != Mode::Stall).await;
        }
    }
    Fate::Pass
}

/// Returns at an order to cut.
async fn ordered(cuts: &mut tokio::sync::watch::Receiver<(u64, Cut)>) -> Cut {
    // It cannot close, as above.
    let _ = cuts.changed().await;
    cuts.borrow().1
}

/// Returns when the other end is there again and has not seen what it was sent.
async fn healed(link: &Link, shared: &Shared) {
    let mut modes = shared.mode.subscribe();
    loop {
        let _ = modes.wait_for(|mode| *mode == Mode::HalfOpen).await;
        let _ = modes.wait_for(|mode| *mode != Mode::HalfOpen).await;
        if link.swallowed.load(Ordering::Relaxed) {
            return;
        }
    }
}
