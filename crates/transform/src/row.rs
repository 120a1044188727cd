//! One canonical row as the operations see it: a field by its place, or a run of fields with their lengths.
//!
//! Knows no types.

use bytes::BytesMut;
use handover_canonical::copy::{RowFields, put_field};

use crate::error::RowProblem;

/// A canonical row.
pub(crate) trait Fields {
    /// The field's value; `None` is NULL.
    fn field(&self, index: usize) -> Option<&[u8]>;

    /// Appends `count` fields from `first`, each behind its length.
    fn put_run(&self, first: usize, count: usize, out: &mut BytesMut) -> Result<(), RowProblem>;
}

/// Where a field's value lies in the row's bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    start: usize,
    end: usize,
    null: bool,
}

/// A row in its canonical bytes, cut into fields.
pub(crate) struct Cut<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Cut<'a> {
    /// Finds the fields' places; there must be exactly `count`. `spans` keeps its memory from row to row.
    pub(crate) fn new(bytes: &'a [u8], count: usize, spans: &'a mut Vec<Span>) -> Result<Self, RowProblem> {
        spans.clear();
        let mut fields = RowFields::new(bytes);
        while let Some(field) = fields.next() {
            let len = field.map_err(|_| RowProblem::FieldCount)?.map(<[u8]>::len);
            let end = fields.position();
            spans.push(Span { start: end - len.unwrap_or(0), end, null: len.is_none() });
        }
        if spans.len() != count {
            return Err(RowProblem::FieldCount);
        }
        Ok(Self { bytes, spans })
    }
}

impl Fields for Cut<'_> {
    fn field(&self, index: usize) -> Option<&[u8]> {
        let span = self.spans[index];
        if span.null { None } else { Some(&self.bytes[span.start..span.end]) }
    }

    fn put_run(&self, first: usize, count: usize, out: &mut BytesMut) -> Result<(), RowProblem> {
        let start = self.spans[first].start - 4;
        let end = self.spans[first + count - 1].end;
        out.extend_from_slice(&self.bytes[start..end]);
        Ok(())
    }
}

impl Fields for [Option<&[u8]>] {
    fn field(&self, index: usize) -> Option<&[u8]> {
        self[index]
    }

    fn put_run(&self, first: usize, count: usize, out: &mut BytesMut) -> Result<(), RowProblem> {
        for field in &self[first..first + count] {
            put_field(out, *field).map_err(|_| RowProblem::TooLong)?;
        }
        Ok(())
    }
}
