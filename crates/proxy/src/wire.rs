//! Where a client's messages end, and which of them are queries. It checks nothing: what it cannot read passes.

use crate::Protocol;

/// The longest message that is gathered whole; more passes as it comes, and counts as no query.
const LONGEST: usize = 1 << 20;
/// Postgres' untyped first messages after which another one follows: TLS and GSS are asked for.
const ASKED: [[u8; 4]; 2] = [[4, 210, 22, 47], [4, 210, 22, 48]];

/// One direction's bytes, cut into messages.
#[derive(Debug)]
pub(crate) struct Frames {
    kind: Kind,
    held: Vec<u8>,
    /// Of a message too long to be held: what is still to pass.
    skip: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Opaque,
    /// Before the first typed message.
    Startup,
    Postgres,
    Redis,
}

/// Some bytes that may pass together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) bytes: Vec<u8>,
    pub(crate) query: bool,
}

impl Frames {
    pub(crate) fn of_client(protocol: Protocol) -> Self {
        let kind = match protocol {
            Protocol::Opaque => Kind::Opaque,
            Protocol::Postgres => Kind::Startup,
            Protocol::Redis => Kind::Redis,
        };
        Self { kind, held: Vec::new(), skip: 0 }
    }

    /// More bytes have come.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// The next that may pass; none until more has come.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        if self.held.is_empty() {
            return None;
        }
        if self.skip > 0 {
            let many = self.skip.min(self.held.len());
            self.skip -= many;
            return Some(self.take(many, false));
        }
        let length = match self.kind {
            Kind::Opaque => Some(self.held.len()),
            Kind::Startup => length_at(&self.held, 0),
            Kind::Postgres => length_at(&self.held, 1).map(|length| length + 1),
            Kind::Redis => command(&self.held, &mut self.kind),
        }?;
        if length > self.held.len() {
            return (length > LONGEST).then(|| {
                self.skip = length - self.held.len();
                self.take(self.held.len(), false)
            });
        }
        let query = match self.kind {
            Kind::Opaque | Kind::Startup => false,
            // Query, Parse, Execute, CopyDone, function call.
            Kind::Postgres => b"QPEcF".contains(&self.held[0]),
            Kind::Redis => true,
        };
        if self.kind == Kind::Startup {
            self.kind = self.after_startup();
        }
        Some(self.take(length, query))
    }

    fn take(&mut self, length: usize, query: bool) -> Frame {
        Frame { bytes: self.held.drain(..length).collect(), query }
    }

    /// What follows the untyped message that is being read.
    fn after_startup(&self) -> Kind {
        match self.held.get(4..8) {
            // A TLS handshake after it reads like the beginning of a message of many megabytes, and passes.
            Some(code) if ASKED.iter().any(|asked| asked == code) => Kind::Startup,
            _ => Kind::Postgres,
        }
    }
}

fn length_at(bytes: &[u8], at: usize) -> Option<usize> {
    let four: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some((u32::from_be_bytes(four) as usize).max(4))
}

/// The length of a RESP array of bulk strings, or of an inline command.
fn command(bytes: &[u8], kind: &mut Kind) -> Option<usize> {
    if bytes[0] != b'*' {
        return line(bytes, 0).map(|(_, end)| end);
    }
    let (count, mut at) = number(bytes, 0)?;
    for _ in 0..count {
        if bytes.get(at).is_some_and(|first| *first != b'$') {
            *kind = Kind::Opaque;
            return Some(bytes.len());
        }
        let (length, from) = number(bytes, at)?;
        at = from + length + 2;
        if at > bytes.len() {
            return Some(at);
        }
    }
    Some(at)
}

/// The number of a line such as `*3\r\n`, and where the next line begins.
fn number(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let (line, end) = line(bytes, at)?;
    let number = std::str::from_utf8(line.get(1..)?).ok()?.parse().ok()?;
    Some((number, end))
}

fn line(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = bytes.get(at..)?;
    let end = rest.windows(2).position(|two| two == b"\r\n")?;
    Some((&rest[..end], at + end + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut message = vec![kind];
        message.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        message.extend_from_slice(body);
        message
    }

    fn startup(code: [u8; 4], body: &[u8]) -> Vec<u8> {
        let mut message = (body.len() as u32 + 8).to_be_bytes().to_vec();
        message.extend_from_slice(&code);
        message.extend_from_slice(body);
        message
    }

    /// The frames of some bytes that come in pieces of that length.
    fn cut(protocol: Protocol, bytes: &[u8], pieces: usize) -> (Vec<u8>, usize) {
        let (mut frames, mut passed, mut queries) = (Frames::of_client(protocol), Vec::new(), 0);
        for piece in bytes.chunks(pieces) {
            frames.push(piece);
            while let Some(frame) = frames.next() {
                passed.extend_from_slice(&frame.bytes);
                queries += usize::from(frame.query);
            }
        }
        (passed, queries)
    }

    #[test]
    fn queries_of_postgres_are_counted_wherever_packets_break() {
        let mut bytes = startup(ASKED[0], b"");
        bytes.extend(startup([0, 3, 0, 0], b"user\0me\0\0"));
        for (kind, body) in
            [(b'p', b"word".as_slice()), (b'Q', b"BEGIN\0"), (b'P', b"\0SELECT 1\0"), (b'S', b"")]
        {
            bytes.extend(message(kind, body));
        }
        bytes.extend(message(b'd', &vec![7; 3 * LONGEST]));
        bytes.extend(message(b'c', b""));
        for pieces in [1_usize, 3, 4_096, bytes.len()] {
            let pieces = if pieces == 1 { 1_021 } else { pieces };
            assert!(cut(Protocol::Postgres, &bytes, pieces) == (bytes.clone(), 3), "in pieces of {pieces}");
        }
        assert_eq!(cut(Protocol::Postgres, &bytes[..80], 1).1, 2);
    }

    #[test]
    fn commands_of_redis_are_counted_wherever_packets_break() {
        let bytes = b"*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\nPING\r\n*1\r\n$4\r\nPING\r\n*0\r\n";
        for pieces in 1..bytes.len() {
            assert_eq!(cut(Protocol::Redis, bytes, pieces), (bytes.to_vec(), 4), "in pieces of {pieces}");
        }
    }

    #[test]
    fn what_cannot_be_read_passes() {
        let tls = [22, 3, 1, 0, 5, 1, 2, 3, 4, 5];
        let mut bytes = startup(ASKED[0], b"");
        bytes.extend(tls);
        assert_eq!(cut(Protocol::Postgres, &bytes, 8), (bytes.clone(), 0));
        assert_eq!(cut(Protocol::Redis, b"*1\r\n:5\r\n", 4).0, b"*1\r\n:5\r\n");
        assert_eq!(cut(Protocol::Opaque, &tls, 3), (tls.to_vec(), 0));
    }
}
