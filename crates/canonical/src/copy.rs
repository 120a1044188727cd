//! Postgres' binary COPY format: reading it from chunks, and writing it. Values stay as they are on the wire.

mod decoder;
mod encoder;
mod fields;

pub use decoder::{Decoder, Tuple};
pub use encoder::{HEADER, TRAILER, put_field, put_tuple_header};
pub use fields::RowFields;

/// The longest value and the longest row that Postgres itself would send (its allocation limit), in bytes.
pub const MAX_BYTES: usize = 0x3fff_ffff;

/// What is wrong with bytes that should be binary COPY data or a canonical row. Never holds a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The stream does not begin as binary COPY does.
    #[error("the stream does not begin with the binary COPY signature")]
    Signature,
    /// Header flags or a header extension, which no supported server sends.
    #[error("the binary COPY header has flags or an extension that are not known")]
    Header,
    /// A row announces a negative number of fields.
    #[error("a row announces {0} fields")]
    FieldCount(i16),
    /// A field announces an impossible length.
    #[error("a field announces {0} bytes")]
    FieldLength(i32),
    /// A row longer than the decoder's limit, in bytes.
    #[error("a row is longer than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// The bytes end inside a field or its length.
    #[error("the row ends inside a field")]
    Truncated,
    /// The stream ended before its trailer.
    #[error("the stream ended before its trailer")]
    Unfinished,
    /// Bytes behind the trailer.
    #[error("there is data behind the stream's trailer")]
    AfterTrailer,
    /// A row with fewer fields than declared columns.
    #[error("the row has {got} fields in place of {expected}")]
    MissingFields {
        /// Declared columns.
        expected: usize,
        /// Fields found.
        got: usize,
    },
    /// A row with more than the declared columns.
    #[error("the row has more than its {expected} fields")]
    ExtraBytes {
        /// Declared columns.
        expected: usize,
    },
    /// An array value too short to have a header.
    #[error("the array in column {column} (counted from 0) is shorter than an array's header")]
    ShortArray {
        /// Place of the column, counted from 0.
        column: usize,
    },
    /// A value or row that is too big to be written.
    #[error("a value of {0} bytes, or a row of as many fields, cannot be written")]
    TooBig(usize),
}
