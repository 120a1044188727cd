//! One fault that is to strike once, at a stated moment.

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// With RST on both sides: what was not delivered is lost.
    Reset,
    /// With FIN on both sides: the peer ends in good order.
    Fin,
}

/// Cuts one connection at one moment, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strike {
    pub(crate) at: At,
    pub(crate) how: Cut,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Query { nth: u64, containing: Vec<u8>, answered: bool },
    Bytes(u64),
}

impl Strike {
    /// At the `nth` query from now on (1 is the next), over all connections: the server never sees it.
    ///
    /// With Postgres a query is a Query, Parse, Execute, CopyDone or function call message; with Redis a command.
    pub fn before_query(nth: u64) -> Self {
        Self { at: At::Query { nth, containing: Vec::new(), answered: false }, how: Cut::Reset }
    }

    /// The same, but the server gets the query and answers it; the answer is lost. Of queries sent in one go
    /// without waiting it is the first answer of them that cuts.
    pub fn before_answer(nth: u64) -> Self {
        Self { at: At::Query { nth, containing: Vec::new(), answered: true }, how: Cut::Reset }
    }

    /// Once so many more bytes have passed, in both directions and over all connections together. What came
    /// before in the same message has been delivered.
    pub fn after_bytes(bytes: u64) -> Self {
        Self { at: At::Bytes(bytes), how: Cut::Reset }
    }

    /// Counts only queries that contain this text, such as `COMMIT`; as the client spells it.
    #[must_use]
    pub fn containing(mut self, text: &str) -> Self {
        if let At::Query { containing, .. } = &mut self.at {
            *containing = text.as_bytes().to_vec();
        }
        self
    }

    /// With FIN, in place of RST.
    #[must_use]
    pub fn fin(mut self) -> Self {
        self.how = Cut::Fin;
        self
    }
}

/// What an armed strike says of one query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Not this one.
    Pass,
    /// Cut now.
    Cut(Cut),
    /// Pass it on, and cut when its answer comes.
    CutAtAnswer(Cut),
}

/// A strike that waits for its moment.
#[derive(Debug, Default)]
pub(crate) struct Armed(Option<Strike>);

impl Armed {
    pub(crate) fn set(&mut self, strike: Option<Strike>) {
        self.0 = strike;
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// A query is about to pass.
    pub(crate) fn query(&mut self, message: &[u8]) -> Verdict {
        let Some(Strike { at: At::Query { nth, containing, answered }, how }) = &mut self.0 else {
            return Verdict::Pass;
        };
        if !contains(message, containing) {
            return Verdict::Pass;
        }
        *nth = nth.saturating_sub(1);
        if *nth > 0 {
            return Verdict::Pass;
        }
        let verdict = if *answered { Verdict::CutAtAnswer(*how) } else { Verdict::Cut(*how) };
        self.0 = None;
        verdict
    }

    /// So many bytes are about to pass: how many of them may, and how it then ends.
    pub(crate) fn bytes(&mut self, many: usize) -> Option<(usize, Cut)> {
        let Some(Strike { at: At::Bytes(left), how }) = &mut self.0 else { return None };
        if *left > many as u64 {
            *left -= many as u64;
            return None;
        }
        let end = (usize::try_from(*left).unwrap_or(many), *how);
        self.0 = None;
        Some(end)
    }
}

fn contains(message: &[u8], text: &[u8]) -> bool {
    text.is_empty() || message.windows(text.len()).any(|window| window == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strike_counts_what_contains_its_text_and_strikes_once() {
        let mut armed = Armed::default();
        armed.set(Some(Strike::before_query(2).containing("COMMIT").fin()));
        let verdicts =
            [b"COMMIT".as_slice(), b"SELECT", b"xCOMMITx", b"COMMIT"].map(|text| armed.query(text));
        assert_eq!(verdicts, [Verdict::Pass, Verdict::Pass, Verdict::Cut(Cut::Fin), Verdict::Pass]);
        assert!(!armed.is_set());
    }

    #[test]
    fn bytes_pass_up_to_the_very_one() {
        let mut armed = Armed::default();
        armed.set(Some(Strike::after_bytes(10)));
        assert_eq!(armed.bytes(7), None);
        assert_eq!(armed.query(b"anything"), Verdict::Pass);
        assert_eq!(armed.bytes(7), Some((3, Cut::Reset)));
        assert_eq!(armed.bytes(7), None);
    }
}
