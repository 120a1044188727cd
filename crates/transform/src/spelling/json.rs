//! JSON strings, and JSON documents that are embedded as they stand.

use bytes::BufMut;
use serde::de::IgnoredAny;

use super::{HEX, Malformed, utf8};

/// Appends a quoted JSON string with the escapes that Postgres' own `escape_json` uses.
pub(crate) fn escape<B: BufMut>(text: &[u8], out: &mut B) -> Result<(), Malformed> {
    let text = utf8(text)?;
    out.put_u8(b'"');
    let mut copied = 0;
    for (at, &byte) in text.iter().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.put_slice(&text[copied..at]);
        put_escaped(byte, out)?;
        copied = at + 1;
    }
    out.put_slice(&text[copied..]);
    out.put_u8(b'"');
    Ok(())
}

fn put_escaped<B: BufMut>(byte: u8, out: &mut B) -> Result<(), Malformed> {
    match byte {
        // Postgres' text cannot hold it, and jsonb refuses its escape.
        0 => return Err(Malformed),
        b'"' => out.put_slice(b"\\\""),
        b'\\' => out.put_slice(b"\\\\"),
        0x08 => out.put_slice(b"\\b"),
        0x0c => out.put_slice(b"\\f"),
        b'\n' => out.put_slice(b"\\n"),
        b'\r' => out.put_slice(b"\\r"),
        b'\t' => out.put_slice(b"\\t"),
        _ => {
            out.put_slice(b"\\u00");
            out.put_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    Ok(())
}

/// A `json` value, checked to be one document, so that it cannot close the object that it is put into.
pub(super) fn checked(value: &[u8]) -> Result<&[u8], Malformed> {
    let text = utf8(value)?;
    serde_json::from_slice::<IgnoredAny>(text).map(|_| text).map_err(|_| Malformed)
}

/// The text of a `jsonb` value: its wire form is a version, 1, and the text.
pub(super) fn of_jsonb(value: &[u8]) -> Result<&[u8], Malformed> {
    match value {
        [1, text @ ..] => checked(text),
        _ => Err(Malformed),
    }
}
