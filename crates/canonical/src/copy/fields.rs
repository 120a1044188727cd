//! Walks over the fields of a row's bytes: for each a big-endian `int32` length, -1 for NULL, and the value.

use super::{MAX_BYTES, WireError};

/// Iterates over a row's fields without copying. Behind an error it ends.
#[derive(Debug, Clone)]
pub struct RowFields<'a> {
    row: &'a [u8],
    at: usize,
}

impl<'a> RowFields<'a> {
    /// Over the fields of a canonical row, or of any run of fields.
    pub const fn new(row: &'a [u8]) -> RowFields<'a> {
        RowFields { row, at: 0 }
    }

    /// Where the next field begins, in bytes from the row's beginning.
    pub const fn position(&self) -> usize {
        self.at
    }

    fn field(&mut self) -> Result<Option<&'a [u8]>, WireError> {
        let rest = self.row.get(self.at..).unwrap_or_default();
        let (length, rest) = rest.split_first_chunk().ok_or(WireError::Truncated)?;
        let Some(length) = value_length(*length)? else {
            self.at += 4;
            return Ok(None);
        };
        let value = rest.get(..length).ok_or(WireError::Truncated)?;
        self.at += 4 + length;
        Ok(Some(value))
    }
}

impl<'a> Iterator for RowFields<'a> {
    type Item = Result<Option<&'a [u8]>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.row.len() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.at = self.row.len();
        }
        Some(field)
    }
}

/// A length word as the number of bytes that follow it; `None` for NULL.
pub(super) fn value_length(word: [u8; 4]) -> Result<Option<usize>, WireError> {
    match i32::from_be_bytes(word) {
        -1 => Ok(None),
        length => match usize::try_from(length) {
            Ok(length) if length <= MAX_BYTES => Ok(Some(length)),
            _ => Err(WireError::FieldLength(length)),
        },
    }
}
