//! The one text spelling of each value, from its binary wire form: what maps look up, what UUIDv5 names are
//! made of, and what goes into JSON objects.
//!
//! The spelling is that of `to_json(value)`, unquoted, in a session with `TimeZone` UTC: see
//! `docs/transforms.md`. Text that Postgres never sends (a wrong length, no UTF-8) is an error and never a
//! panic. Nothing is parsed here.

mod array;
mod float;
mod json;
mod number;
mod time;

use bytes::BufMut;
use handover_canonical::Type;
use thiserror::Error;

pub(crate) use json::escape;

use crate::wire::{Form, Scalar, Wire};

/// The bytes are no value of the type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the bytes are no value of the type")]
pub struct Malformed;

/// Which of Postgres' two JSON types is written: their spellings of the same object differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As `to_json` and `json_build_object` spell it.
    Json,
    /// As `to_jsonb` and `jsonb_build_object` spell it, so that what is read back compares equal byte by
    /// byte. A `json` value inside is the exception: it is embedded as it stands.
    Jsonb,
}

/// Spells the values of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speller {
    scalar: Scalar,
    array: bool,
}

impl Speller {
    /// The speller of a type, or nothing where the type has no spelling (interval, inet, ranges and the
    /// like).
    pub fn of(ty: Type) -> Option<Self> {
        Self::of_wire(&Wire::of_type(ty))
    }

    pub(crate) fn of_wire(wire: &Wire) -> Option<Self> {
        match wire.form {
            Form::Scalar(scalar) => Some(Self { scalar, array: wire.array }),
            Form::Opaque(_) => None,
        }
    }

    /// Whether a `json` value is embedded, whose spelling a `jsonb` would not keep.
    pub(crate) fn embeds_json(self) -> bool {
        self.scalar == Scalar::Json
    }

    /// Appends the text of `to_json(value) #>> '{}'`; of `value::text` for json and jsonb.
    ///
    /// # Errors
    ///
    /// Where `value` is not in the type's binary send format; part of the text may have been appended.
    pub fn text<B: BufMut>(self, value: &[u8], out: &mut B) -> Result<(), Malformed> {
        if self.array {
            return array::spell(self.scalar, value, Style::Json, out);
        }
        scalar_text(self.scalar, value, out)
    }

    /// Appends the JSON of the value: numbers and bools as such, other scalars as strings, arrays as arrays.
    ///
    /// # Errors
    ///
    /// Where `value` is not in the type's binary send format; part of the text may have been appended.
    pub fn json<B: BufMut>(self, value: &[u8], style: Style, out: &mut B) -> Result<(), Malformed> {
        if self.array {
            return array::spell(self.scalar, value, style, out);
        }
        scalar_json(self.scalar, value, style, out)
    }
}

fn scalar_text<B: BufMut>(scalar: Scalar, value: &[u8], out: &mut B) -> Result<(), Malformed> {
    match scalar {
        Scalar::Bool => out.put_slice(if boolean(value)? { b"true" } else { b"false" }),
        Scalar::Int2 => number::int(i16::from_be_bytes(exact(value)?).into(), out),
        Scalar::Int4 => number::int(i32::from_be_bytes(exact(value)?).into(), out),
        Scalar::Int8 => number::int(i64::from_be_bytes(exact(value)?), out),
        Scalar::Float4 => float::float4(f32::from_be_bytes(exact(value)?), out),
        Scalar::Float8 => float::float8(f64::from_be_bytes(exact(value)?), out),
        Scalar::Numeric => number::numeric(value, out)?,
        Scalar::Text => out.put_slice(utf8(value)?),
        Scalar::Bytea => bytea(value, out),
        Scalar::Uuid => uuid(exact(value)?, out),
        Scalar::Date => time::date(i32::from_be_bytes(exact(value)?), out)?,
        Scalar::Time => time::time(i64::from_be_bytes(exact(value)?), out)?,
        Scalar::Timestamp => time::timestamp(i64::from_be_bytes(exact(value)?), "", out)?,
        Scalar::Timestamptz => time::timestamp(i64::from_be_bytes(exact(value)?), "+00:00", out)?,
        Scalar::Json => out.put_slice(json::checked(value)?),
        Scalar::Jsonb => out.put_slice(json::of_jsonb(value)?),
    }
    Ok(())
}

fn scalar_json<B: BufMut>(scalar: Scalar, value: &[u8], style: Style, out: &mut B) -> Result<(), Malformed> {
    match scalar {
        Scalar::Bool | Scalar::Int2 | Scalar::Int4 | Scalar::Int8 | Scalar::Json | Scalar::Jsonb => {
            scalar_text(scalar, value, out)
        }
        Scalar::Numeric if number::is_finite(value) => number::numeric(value, out),
        Scalar::Float4 => {
            float::float4_json(f32::from_be_bytes(exact(value)?), style, out);
            Ok(())
        }
        Scalar::Float8 => {
            float::float8_json(f64::from_be_bytes(exact(value)?), style, out);
            Ok(())
        }
        Scalar::Text => escape(value, out),
        Scalar::Bytea => {
            out.put_slice(b"\"\\");
            bytea(value, out);
            out.put_u8(b'"');
            Ok(())
        }
        Scalar::Numeric
        | Scalar::Uuid
        | Scalar::Date
        | Scalar::Time
        | Scalar::Timestamp
        | Scalar::Timestamptz => {
            out.put_u8(b'"');
            scalar_text(scalar, value, out)?;
            out.put_u8(b'"');
            Ok(())
        }
    }
}

/// The bytes as an array of exactly their length.
fn exact<const N: usize>(value: &[u8]) -> Result<[u8; N], Malformed> {
    value.try_into().map_err(|_| Malformed)
}

fn boolean(value: &[u8]) -> Result<bool, Malformed> {
    match value {
        [0] => Ok(false),
        [1] => Ok(true),
        _ => Err(Malformed),
    }
}

fn utf8(value: &[u8]) -> Result<&[u8], Malformed> {
    std::str::from_utf8(value).map(str::as_bytes).map_err(|_| Malformed)
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn bytea<B: BufMut>(value: &[u8], out: &mut B) {
    out.put_slice(b"\\x");
    for byte in value {
        out.put_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

fn uuid<B: BufMut>(value: [u8; 16], out: &mut B) {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    uuid::Uuid::from_bytes(value).hyphenated().encode_lower(&mut text);
    out.put_slice(&text);
}
