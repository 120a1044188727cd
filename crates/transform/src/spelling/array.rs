//! Arrays as JSON arrays, one level for each dimension; lower bounds are not told, as `to_json` does not tell
//! them.

use bytes::{Buf, BufMut};

use super::{Malformed, Style, scalar_json};
use crate::wire::Scalar;

/// Postgres' own limit (`MAXDIM`).
const MAX_DIMENSIONS: usize = 6;

/// Spells an array of `scalar`.
pub(super) fn spell<B: BufMut>(
    scalar: Scalar,
    value: &[u8],
    style: Style,
    out: &mut B,
) -> Result<(), Malformed> {
    let mut rest = value;
    let mut lengths = [0; MAX_DIMENSIONS];
    let dimensions = header(&mut rest, &mut lengths)?;
    if dimensions == 0 {
        out.put_slice(b"[]");
    } else {
        level(scalar, &lengths[..dimensions], &mut rest, style, out)?;
    }
    if rest.is_empty() { Ok(()) } else { Err(Malformed) }
}

/// Reads dimensions, flags, element type, and each dimension's length and lower bound.
fn header(rest: &mut &[u8], lengths: &mut [i32; MAX_DIMENSIONS]) -> Result<usize, Malformed> {
    let dimensions = usize::try_from(int(rest)?).map_err(|_| Malformed)?;
    let _flags = int(rest)?;
    let _element = int(rest)?;
    for length in lengths.get_mut(..dimensions).ok_or(Malformed)? {
        *length = int(rest)?;
        let _lower_bound = int(rest)?;
        // An empty array has no dimensions; an empty dimension inside a long one would be spelled without
        // end.
        if *length <= 0 {
            return Err(Malformed);
        }
    }
    Ok(dimensions)
}

fn level<B: BufMut>(
    scalar: Scalar,
    lengths: &[i32],
    rest: &mut &[u8],
    style: Style,
    out: &mut B,
) -> Result<(), Malformed> {
    let Some((length, inner)) = lengths.split_first() else {
        return element(scalar, rest, style, out);
    };
    out.put_u8(b'[');
    for index in 0..*length {
        if index > 0 {
            out.put_slice(if style == Style::Jsonb { b", " } else { b"," });
        }
        level(scalar, inner, rest, style, out)?;
    }
    out.put_u8(b']');
    Ok(())
}

fn element<B: BufMut>(scalar: Scalar, rest: &mut &[u8], style: Style, out: &mut B) -> Result<(), Malformed> {
    let length = int(rest)?;
    if length == -1 {
        out.put_slice(b"null");
        return Ok(());
    }
    let length = usize::try_from(length).map_err(|_| Malformed)?;
    let value = rest.get(..length).ok_or(Malformed)?;
    rest.advance(length);
    scalar_json(scalar, value, style, out)
}

fn int(rest: &mut &[u8]) -> Result<i32, Malformed> {
    rest.try_get_i32().map_err(|_| Malformed)
}
