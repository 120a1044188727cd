//! What a claim hands out: jobs that this worker holds until their lease runs out.
//!
//! A delivery is not `Clone`: whoever settles it gives it away. To look on, copy its token.

use std::fmt;
use std::sync::Arc;

use crate::entry::Entry;

/// Names one delivery: its id, a space, and the raw entry, as it stands in the in-flight set. The same
/// job delivered again has another token, so a loser's acknowledgement cannot remove the winner's.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Token(Arc<[u8]>);

impl Token {
    /// The token of the `place`-th job of a claim, from 1 to 1,000, as `claim.lua` spells it.
    pub(crate) fn new(claim: &str, place: usize, raw: &[u8]) -> Self {
        const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
        let mut member = Vec::with_capacity(claim.len() + raw.len() + 4);
        member.extend_from_slice(claim.as_bytes());
        member.extend_from_slice(&[b'.', DIGITS[place / 32 % 32], DIGITS[place % 32], b' ']);
        member.extend_from_slice(raw);
        Self(member.into())
    }

    pub(crate) fn from_member(member: &[u8]) -> Self {
        Self(member.into())
    }

    /// The whole member of the in-flight set.
    pub(crate) fn member(&self) -> &[u8] {
        &self.0
    }

    /// The delivery's id: the worker, a number of the claim, and the place in it.
    pub fn id(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == b' ').unwrap_or(0);
        std::str::from_utf8(&self.0[..end]).unwrap_or_default()
    }

    /// The raw entry. A member without a space was put there by hand, and is all entry.
    pub(crate) fn raw(&self) -> &[u8] {
        let start = self.0.iter().position(|byte| *byte == b' ').map_or(0, |space| space + 1);
        &self.0[start..]
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.id())
    }
}

/// A job that this worker holds. Settle it by `ack`, `retry`, `hand_back` or `park`; what is dropped
/// without that is taken back once its lease has run out.
#[derive(Debug)]
pub struct Delivery<T> {
    /// The job and what the queue notes about it.
    pub entry: Entry<T>,
    token: Token,
}

impl<T> Delivery<T> {
    pub(crate) fn new(entry: Entry<T>, token: Token) -> Self {
        Self { entry, token }
    }

    /// Names this delivery, to renew its lease.
    pub fn token(&self) -> &Token {
        &self.token
    }
}

/// What a claim brought.
#[derive(Debug)]
pub struct Claimed<T> {
    /// The jobs, in the order in which they waited.
    pub jobs: Vec<Delivery<T>>,
    /// How many entries could not be read. They went to the dead, byte for byte.
    pub garbled: usize,
}

impl<T> Claimed<T> {
    pub(crate) fn nothing() -> Self {
        Self { jobs: Vec::new(), garbled: 0 }
    }
}

/// How an operation on deliveries ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Deliveries that were still held, and are settled.
    pub settled: usize,
    /// Deliveries that were not held any more: their lease ran out and another worker has the job, or
    /// Redis was emptied.
    pub lost: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_id_a_space_and_the_raw_entry() {
        let token = Token::new("copy-a-1-ff:9", 1000, br#"{"user": "a b"}"#);
        assert_eq!(token.member(), br#"copy-a-1-ff:9.v8 {"user": "a b"}"#);
        assert_eq!(token.id(), "copy-a-1-ff:9.v8");
        assert_eq!(token.raw(), br#"{"user": "a b"}"#);
    }

    #[test]
    fn a_member_without_an_id_is_all_entry() {
        let token = Token::from_member(b"rubbish");
        assert_eq!((token.id(), token.raw()), ("", &b"rubbish"[..]));
    }

    #[test]
    fn debug_output_does_not_show_the_job() {
        assert_eq!(format!("{:?}", Token::new("w:1", 1, b"secret")), "Token(w:1.01)");
    }
}
