//! The stream of changes, as the core takes it: places in it, its entries, and what a read brought. No Redis.

use super::known::Known;
use crate::clock::Moment;

/// A place in the stream: an entry that is there, or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The entry's id. A copy of the stream that lost its end can bear the same numbers again, not the same ids.
    pub(crate) id: String,
    /// The numbering.
    pub(crate) generation: String,
    /// The entry's number.
    pub(crate) number: u64,
}

/// What an entry says of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) user: String,
    /// `None` where the text is not one of Identity's.
    pub(crate) known: Option<Known>,
}

/// One entry of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) place: Place,
    pub(crate) changes: Vec<Change>,
    /// The texts hold even where a higher revision is known.
    pub(crate) forced: bool,
}

/// What was found in one atomic read of the stream: the entry at the gate's place first, then those after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    /// When the question was sent: the answer can have lain in a socket.
    pub(crate) sent: Moment,
    /// `None` stands for an entry that cannot be read.
    pub(crate) entries: Vec<Option<Entry>>,
    /// Whether these were all that there were.
    pub(crate) complete: bool,
}

/// The sequence is broken: something may have been missed, and everything known has been forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Lost {
    /// The entry at the gate's place is gone or another one: trimmed, emptied, or an older copy.
    #[error("the entry last read is gone")]
    Place,
    /// The numbers skip or repeat.
    #[error("the numbers have a gap")]
    Gap,
    /// The numbering is another one.
    #[error("the stream has begun anew")]
    Generation,
    /// An entry is not one of Identity's.
    #[error("an entry cannot be read")]
    Garbled,
    /// Nothing has been read yet.
    #[error("no place in the stream is known")]
    Nowhere,
}

/// What the gate tells those who pause users: it acts on all changes up to `place`, and still serves `busy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acknowledgement {
    pub(crate) place: Place,
    /// Users who are, or may be, paused, and have requests in flight. Sorted.
    pub(crate) busy: Vec<String>,
}
