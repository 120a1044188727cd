//! Reads rows from the chunks of a binary COPY stream, which may be cut anywhere.
//!
//! A row that lies in one chunk is a slice of it; only a row that straddles chunks is copied. Memory grows with the
//! bytes that have arrived, never with the lengths that they announce.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};

use super::fields::value_length;
use super::{HEADER, MAX_BYTES, RowFields, WireError};

/// Bytes of the field count that a row begins with.
const COUNT: usize = 2;
/// Bytes of a field's length.
const LENGTH: usize = 4;

/// An incremental reader: push chunks as they arrive, take rows until there is none, at the end call
/// [`Decoder::finish`].
pub struct Decoder {
    chunks: VecDeque<Bytes>,
    /// The beginning of a unit (header or row) that the next chunks go on with; empty if none straddles.
    carry: BytesMut,
    scan: Scan,
    max_tuple: usize,
    failed: Option<WireError>,
}

/// How much of the unit at hand is known: it needs `need` bytes before `expect` can be looked at.
#[derive(Debug, Clone, Copy)]
struct Scan {
    expect: Expect,
    need: usize,
    count: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Header,
    Count,
    /// The last 4 bytes of `need` are a field's length; so many fields are still to come, this one included.
    Length(usize),
    RowEnd,
    Nothing,
}

impl Scan {
    const HEADER: Scan = Scan { expect: Expect::Header, need: HEADER.len(), count: 0 };
    const ROW: Scan = Scan { expect: Expect::Count, need: COUNT, count: 0 };
    const NOTHING: Scan = Scan { expect: Expect::Nothing, need: 0, count: 0 };

    /// Goes on as far as `unit` reaches; true once the unit is complete, which then has `need` bytes.
    fn advance(&mut self, unit: &[u8], max_tuple: usize) -> Result<bool, WireError> {
        while unit.len() >= self.need {
            match self.expect {
                Expect::Header => return header_is_plain(unit).map(|()| true),
                Expect::Count => self.take_count(unit)?,
                Expect::Length(left) => self.take_length(unit, left)?,
                Expect::RowEnd | Expect::Nothing => return Ok(true),
            }
            if self.need > max_tuple {
                return Err(WireError::TooLong { limit: max_tuple });
            }
        }
        Ok(false)
    }

    fn take_count(&mut self, unit: &[u8]) -> Result<(), WireError> {
        let word = unit.first_chunk().ok_or(WireError::Truncated)?;
        match i16::from_be_bytes(*word) {
            -1 => self.expect = Expect::Nothing,
            count => {
                self.count = usize::try_from(count).map_err(|_| WireError::FieldCount(count))?;
                self.expect_field(self.count);
            }
        }
        Ok(())
    }

    fn take_length(&mut self, unit: &[u8], left: usize) -> Result<(), WireError> {
        let word = unit[..self.need].last_chunk().ok_or(WireError::Truncated)?;
        self.need += value_length(*word)?.unwrap_or(0);
        self.expect_field(left - 1);
        Ok(())
    }

    fn expect_field(&mut self, left: usize) {
        if left == 0 {
            self.expect = Expect::RowEnd;
        } else {
            self.need += LENGTH;
            self.expect = Expect::Length(left);
        }
    }
}

fn header_is_plain(unit: &[u8]) -> Result<(), WireError> {
    const SIGNATURE: usize = 11;
    if unit[..SIGNATURE] != HEADER[..SIGNATURE] {
        return Err(WireError::Signature);
    }
    // Flags would mean OIDs in each row, or what no version has yet; nothing is known to skip safely.
    if unit[SIGNATURE..HEADER.len()] == HEADER[SIGNATURE..] { Ok(()) } else { Err(WireError::Header) }
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder::new()
    }
}

impl Decoder {
    /// At the beginning of a stream, header included.
    pub fn new() -> Decoder {
        Decoder::with_max_tuple(MAX_BYTES)
    }

    /// As [`Decoder::new`], refusing rows of more than so many bytes on the wire.
    pub fn with_max_tuple(max_tuple: usize) -> Decoder {
        Decoder {
            chunks: VecDeque::new(),
            carry: BytesMut::new(),
            scan: Scan::HEADER,
            max_tuple,
            failed: None,
        }
    }

    /// Takes the next chunk of the stream. Nothing is looked at until [`Decoder::next`].
    pub fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.chunks.push_back(chunk);
        }
    }

    /// The next row; `None` if more chunks are needed, or the stream is at its end. An error repeats itself.
    #[expect(
        clippy::should_implement_trait,
        reason = "not an iterator: after `None` more chunks can be pushed"
    )]
    pub fn next(&mut self) -> Result<Option<Tuple>, WireError> {
        match &self.failed {
            Some(error) => Err(error.clone()),
            None => self.read().inspect_err(|error| self.failed = Some(error.clone())),
        }
    }

    /// To be called when the stream has ended: an error unless the trailer was read, and nothing behind it.
    pub fn finish(&self) -> Result<(), WireError> {
        match &self.failed {
            Some(error) => Err(error.clone()),
            None if self.scan.expect != Expect::Nothing => Err(WireError::Unfinished),
            None if !self.chunks.is_empty() => Err(WireError::AfterTrailer),
            None => Ok(()),
        }
    }

    fn read(&mut self) -> Result<Option<Tuple>, WireError> {
        loop {
            if self.scan.expect == Expect::Nothing {
                return if self.chunks.is_empty() { Ok(None) } else { Err(WireError::AfterTrailer) };
            }
            let Some(unit) = self.unit()? else { return Ok(None) };
            let ended = std::mem::replace(&mut self.scan, Scan::ROW);
            match ended.expect {
                Expect::RowEnd => return Ok(Some(Tuple { bytes: unit, count: ended.count })),
                Expect::Nothing => self.scan = Scan::NOTHING,
                // The header, which is followed by the first row.
                _ => {}
            }
        }
    }

    /// The next complete unit, cut off the chunks; `None` if it is not there yet.
    fn unit(&mut self) -> Result<Option<Bytes>, WireError> {
        while let Some(chunk) = self.chunks.front_mut() {
            if self.carry.is_empty() {
                if self.scan.advance(chunk, self.max_tuple)? {
                    let unit = chunk.split_to(self.scan.need);
                    self.drop_read_chunk();
                    return Ok(Some(unit));
                }
                self.carry.extend_from_slice(chunk);
                self.chunks.pop_front();
            } else {
                // Only what belongs to the unit is moved, so that the rows behind it stay where they are.
                let wanted = (self.scan.need - self.carry.len()).min(chunk.len());
                self.carry.extend_from_slice(&chunk[..wanted]);
                chunk.advance(wanted);
                self.drop_read_chunk();
                if self.scan.advance(&self.carry, self.max_tuple)? {
                    return Ok(Some(self.carry.split().freeze()));
                }
            }
        }
        Ok(None)
    }

    fn drop_read_chunk(&mut self) {
        if self.chunks.front().is_some_and(Bytes::is_empty) {
            self.chunks.pop_front();
        }
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Chunks hold the users' own values.
        write!(out, "Decoder({} chunks, {:?})", self.chunks.len(), self.scan.expect)
    }
}

/// One row of a stream, its framing checked. Cheap to clone; keeps its chunk in memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Tuple {
    bytes: Bytes,
    count: usize,
}

impl Tuple {
    /// Number of fields.
    pub const fn field_count(&self) -> usize {
        self.count
    }

    /// A field's value, counted from 0; `None` for NULL, and for a field that is not there. Walks over the fields
    /// before it: for all fields in order use [`Tuple::fields`].
    pub fn field(&self, index: usize) -> Option<&[u8]> {
        self.fields().nth(index).flatten()
    }

    /// The values in order; `None` for NULL.
    pub fn fields(&self) -> impl Iterator<Item = Option<&[u8]>> {
        // The decoder has checked the framing, so no field is an error.
        RowFields::new(self.body()).map_while(Result::ok)
    }

    /// The bytes of all fields behind the first `n`: behind the user, exactly the canonical row.
    pub fn after(&self, n: usize) -> &[u8] {
        &self.body()[self.offset(n)..]
    }

    /// The bytes of a run of fields, where more follow that are no part of the canonical row.
    pub fn run(&self, fields: Range<usize>) -> &[u8] {
        let from = self.offset(fields.start);
        let to = self.offset(fields.end);
        self.body().get(from..to).unwrap_or_default()
    }

    /// The whole row as it stands in the stream, field count included.
    pub fn wire(&self) -> &Bytes {
        &self.bytes
    }

    fn body(&self) -> &[u8] {
        self.bytes.get(COUNT..).unwrap_or_default()
    }

    fn offset(&self, n: usize) -> usize {
        let mut fields = RowFields::new(self.body());
        for _ in fields.by_ref().take(n) {}
        fields.position()
    }
}

impl std::fmt::Debug for Tuple {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values are the user's own.
        write!(out, "Tuple({} fields, {} bytes)", self.count, self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_grows_with_what_arrived_not_with_what_was_announced() {
        let mut decoder = Decoder::new();
        let announced = (MAX_BYTES as i32 - 100).to_be_bytes();
        decoder.push(Bytes::from([HEADER.as_slice(), &[0, 1], &announced].concat()));
        let piece = Bytes::from(vec![0; 1000]);
        for arrived in 1..100 {
            decoder.push(piece.clone());
            assert_eq!(decoder.next(), Ok(None));
            assert!(decoder.chunks.is_empty());
            assert!(decoder.carry.capacity() <= 2 * (arrived * piece.len() + 100));
        }
    }
}
