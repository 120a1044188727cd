//! Writes binary COPY data: [`HEADER`], then for each row a header and its fields, then [`TRAILER`].

use bytes::BufMut;

use super::{MAX_BYTES, WireError};

/// What a binary COPY stream begins with: the signature, no flags, no extension.
pub const HEADER: [u8; 19] = *b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// What a binary COPY stream ends with: a row of -1 fields.
pub const TRAILER: [u8; 2] = [0xff, 0xff];

/// Begins a row of `count` fields; [`put_field`] follows as often.
pub fn put_tuple_header(out: &mut impl BufMut, count: usize) -> Result<(), WireError> {
    out.put_i16(i16::try_from(count).map_err(|_| WireError::TooBig(count))?);
    Ok(())
}

/// Appends one field; `None` is NULL. Nothing is written on an error.
pub fn put_field(out: &mut impl BufMut, value: Option<&[u8]>) -> Result<(), WireError> {
    let Some(value) = value else {
        out.put_i32(-1);
        return Ok(());
    };
    let length = i32::try_from(value.len()).ok().filter(|_| value.len() <= MAX_BYTES);
    out.put_i32(length.ok_or(WireError::TooBig(value.len()))?);
    out.put_slice(value);
    Ok(())
}
