//! The rows of a COPY out of a server, one tuple at a time, in constant memory.

use std::pin::Pin;

use futures_util::StreamExt;
use handover_canonical::WireError;
use handover_canonical::copy::{Decoder, Tuple};
use tokio_postgres::{CopyOutStream, Transaction};

use crate::Error;

/// Which side's traffic a stream is counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Readback,
}

impl Side {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Readback => "readback",
        }
    }
}

/// A stream of tuples of a fixed number of fields.
pub(crate) struct Rows {
    stream: Pin<Box<CopyOutStream>>,
    decoder: Decoder,
    fields: usize,
    what: String,
    side: Side,
    read: u64,
    bytes: u64,
}

impl Rows {
    /// Begins to read what `sql` returns, which must be tuples of `fields` fields.
    pub(crate) async fn of(
        transaction: &Transaction<'_>,
        sql: &str,
        fields: usize,
        entity: &str,
        side: Side,
    ) -> Result<Self, Error> {
        let stream = transaction.copy_out(&format!("COPY ({sql}) TO STDOUT (FORMAT binary)")).await?;
        let what = format!("entity {entity}, {}", side.as_str());
        let decoder = Decoder::new();
        Ok(Self { stream: Box::pin(stream), decoder, fields, what, side, read: 0, bytes: 0 })
    }

    /// The next tuple, or none at the stream's proper end.
    pub(crate) async fn next(&mut self) -> Result<Option<Tuple>, Error> {
        loop {
            if let Some(tuple) = self.decoder.next().map_err(|error| self.wire(error))? {
                if tuple.field_count() != self.fields {
                    return Err(self
                        .wire(WireError::MissingFields { expected: self.fields, got: tuple.field_count() }));
                }
                self.read += 1;
                return Ok(Some(tuple));
            }
            let Some(chunk) = self.stream.next().await else {
                self.decoder.finish().map_err(|error| self.wire(error))?;
                return Ok(None);
            };
            let chunk = chunk?;
            self.bytes += chunk.len() as u64;
            self.decoder.push(chunk);
        }
    }

    fn wire(&self, error: WireError) -> Error {
        Error::Wire { what: self.what.clone(), error }
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        metrics::counter!("handover_rows_total", "side" => self.side.as_str()).increment(self.read);
        metrics::counter!("handover_bytes_total", "side" => self.side.as_str()).increment(self.bytes);
    }
}
