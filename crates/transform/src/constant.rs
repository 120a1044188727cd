//! The plan's own values in wire form: constants, the values of maps, and their keys.
//!
//! Runs once, when a plan is compiled, and so may allocate and be strict. Row values never pass here.

use std::str::FromStr;

use bytes::BufMut;
use jiff::civil::{self, DateTime};
use uuid::Uuid;

use crate::{
    fill::Value,
    spelling::{Speller, escape},
    wire::{Form, Scalar, Wire},
};

/// Why a value of the plan was refused.
type Why = String;

/// A plan's value as the wire form of `into`; `element` is the object identifier of an array's elements.
pub(crate) fn encode(value: &Value, into: &Wire, element: Option<u32>) -> Result<Vec<u8>, Why> {
    if into.array {
        return empty_array(value, element);
    }
    let Form::Scalar(scalar) = into.form else {
        return Err("constants of this type are not known".to_owned());
    };
    match (value, scalar) {
        (Value::String(text), Scalar::Json | Scalar::Jsonb) => json(text, scalar),
        (Value::String(_), Scalar::Bool | Scalar::Int2 | Scalar::Int4 | Scalar::Int8) => {
            Err("write it without quotes".to_owned())
        }
        (Value::String(text), Scalar::Date | Scalar::Time | Scalar::Timestamp) => exactly(text, scalar),
        (Value::String(text), _) => parse(text, scalar),
        (Value::Bool(truth), Scalar::Bool | Scalar::Json | Scalar::Jsonb) => {
            parse(&truth.to_string(), scalar)
        }
        (Value::Int(number), _) if is_number(scalar) => int(*number, scalar),
        (Value::Float(number), Scalar::Float4 | Scalar::Float8 | Scalar::Numeric) => float(*number, scalar),
        (_, Scalar::Text) => Err("put it in quotes".to_owned()),
        _ => Err("it is of another kind".to_owned()),
    }
}

/// A map's key as the wire form of the column that is looked up, if that column ever spells a value so. The
/// wire form is what rows are looked up by: for these types equal spellings and equal bytes are the same.
pub(crate) fn key(key: &str, scalar: Scalar) -> Option<Vec<u8>> {
    exactly(key, scalar).ok()
}

/// Parses what is spelled as the type spells it; so no part of the text can be passed over.
fn exactly(text: &str, scalar: Scalar) -> Result<Vec<u8>, Why> {
    let wire = parse(text, scalar)?;
    let mut spelled = Vec::new();
    if let Some(speller) = Speller::of_wire(&scalar.into()) {
        speller.text(&wire, &mut spelled).map_err(|error| error.to_string())?;
    }
    if spelled == text.as_bytes() {
        return Ok(wire);
    }
    Err(format!("it would be read as {}", String::from_utf8_lossy(&spelled)))
}

/// Whether a map can look up values of the type.
pub(crate) fn can_be_key(scalar: Scalar) -> bool {
    // One float, NaN, has many wire forms; and a document is no name of anything.
    !matches!(scalar, Scalar::Float4 | Scalar::Float8 | Scalar::Json | Scalar::Jsonb)
}

fn is_number(scalar: Scalar) -> bool {
    use Scalar::{Float4, Float8, Int2, Int4, Int8, Json, Jsonb, Numeric};
    matches!(scalar, Int2 | Int4 | Int8 | Float4 | Float8 | Numeric | Json | Jsonb)
}

fn int(number: i64, scalar: Scalar) -> Result<Vec<u8>, Why> {
    // 2^53 and 2^24: above them not every whole number is a float.
    let exact = match scalar {
        Scalar::Float8 => number.unsigned_abs() <= 1 << 53,
        Scalar::Float4 => number.unsigned_abs() <= 1 << 24,
        _ => true,
    };
    if !exact {
        return Err("it would be rounded".to_owned());
    }
    parse(&number.to_string(), scalar)
}

fn float(number: f64, scalar: Scalar) -> Result<Vec<u8>, Why> {
    match scalar {
        Scalar::Float8 => Ok(number.to_be_bytes().to_vec()),
        Scalar::Float4 => Ok((number as f32).to_be_bytes().to_vec()),
        _ => parse(&number.to_string(), scalar),
    }
}

/// The wire form of a scalar that is spelled as this crate spells it.
fn parse(text: &str, scalar: Scalar) -> Result<Vec<u8>, Why> {
    match scalar {
        Scalar::Bool => bool::from_str(text).map(|truth| vec![truth.into()]).map_err(|e| e.to_string()),
        Scalar::Int2 => number::<i16>(text).map(|n| n.to_be_bytes().to_vec()),
        Scalar::Int4 => number::<i32>(text).map(|n| n.to_be_bytes().to_vec()),
        Scalar::Int8 => number::<i64>(text).map(|n| n.to_be_bytes().to_vec()),
        Scalar::Float4 => number::<f32>(text).map(|n| n.to_be_bytes().to_vec()),
        Scalar::Float8 => number::<f64>(text).map(|n| n.to_be_bytes().to_vec()),
        Scalar::Numeric => numeric(text),
        Scalar::Text if text.contains('\0') => Err("text cannot hold the character 0".to_owned()),
        Scalar::Text => Ok(text.as_bytes().to_vec()),
        Scalar::Bytea => bytea(text),
        Scalar::Uuid => text.parse().map(|uuid: Uuid| uuid.as_bytes().to_vec()).map_err(|e| e.to_string()),
        Scalar::Date => date(text).map(|days| days.to_be_bytes().to_vec()),
        Scalar::Time => time(text).map(|micros| micros.to_be_bytes().to_vec()),
        Scalar::Timestamp => timestamp(text).map(|micros| micros.to_be_bytes().to_vec()),
        Scalar::Timestamptz => timestamptz(text).map(|micros| micros.to_be_bytes().to_vec()),
        Scalar::Json | Scalar::Jsonb => json(text, scalar),
    }
}

fn number<N: FromStr<Err: ToString>>(text: &str) -> Result<N, Why> {
    text.parse().map_err(|error: N::Err| error.to_string())
}

/// A decimal as base 10,000 digits without zeros at either end.
fn numeric(text: &str) -> Result<Vec<u8>, Why> {
    let special = match text {
        "NaN" => Some(0xC000),
        "Infinity" => Some(0xD000),
        "-Infinity" => Some(0xF000),
        _ => None,
    };
    if let Some(sign) = special {
        return Ok(numeric_wire(0, sign, 0, &[]));
    }
    let (negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let decimals = [whole, fraction].concat();
    let shape = !whole.is_empty() && !unsigned.ends_with('.') && decimals.bytes().all(|b| b.is_ascii_digit());
    if !shape || whole.len() > 131_072 || fraction.len() > 16_383 {
        return Err("it is not a decimal like -12.50".to_owned());
    }
    let (digits, weight) = base_10_000(whole, fraction);
    let sign = if negative && !digits.is_empty() { 0x4000 } else { 0 };
    Ok(numeric_wire(weight, sign, fraction.len() as u16, &digits))
}

/// The digits and the power of 10,000 of the first.
fn base_10_000(whole: &str, fraction: &str) -> (Vec<u16>, i16) {
    let lead = whole.len().next_multiple_of(4) - whole.len();
    let padded = fraction.len().next_multiple_of(4);
    let decimals = format!("{}{whole}{fraction:0<padded$}", "0".repeat(lead));
    let groups: Vec<u16> = decimals
        .as_bytes()
        .chunks(4)
        .map(|group| group.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')))
        .collect();
    let Some(first) = groups.iter().position(|group| *group != 0) else { return (Vec::new(), 0) };
    let last = groups.iter().rposition(|group| *group != 0).map_or(first, |last| last + 1);
    let weight = (whole.len() + lead) as i32 / 4 - 1 - first as i32;
    (groups[first..last].to_vec(), weight as i16)
}

fn numeric_wire(weight: i16, sign: u16, scale: u16, digits: &[u16]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(8 + digits.len() * 2);
    wire.put_u16(digits.len() as u16);
    wire.put_i16(weight);
    wire.put_u16(sign);
    wire.put_u16(scale);
    for digit in digits {
        wire.put_u16(*digit);
    }
    wire
}

fn bytea(text: &str) -> Result<Vec<u8>, Why> {
    let wrong = || r"it is not hexadecimal like \xdead".to_owned();
    let digits = text.strip_prefix(r"\x").ok_or_else(wrong)?.as_bytes();
    if digits.len() % 2 != 0 {
        return Err(wrong());
    }
    let half = |digit: u8| char::from(digit).to_digit(16).ok_or_else(wrong);
    digits.chunks(2).map(|pair| Ok((half(pair[0])? * 16 + half(pair[1])?) as u8)).collect()
}

const EPOCH: civil::Date = civil::date(2000, 1, 1);

fn date(text: &str) -> Result<i32, Why> {
    match text {
        "infinity" => Ok(i32::MAX),
        "-infinity" => Ok(i32::MIN),
        _ => days(text.parse().map_err(|error: jiff::Error| error.to_string())?).map(|days| days as i32),
    }
}

fn days(date: civil::Date) -> Result<i64, Why> {
    let span = EPOCH.until(date).map_err(|error| error.to_string())?;
    Ok(span.get_days().into())
}

fn time(text: &str) -> Result<i64, Why> {
    if text == "24:00:00" {
        return Ok(86_400_000_000);
    }
    micros_of_day(text.parse().map_err(|error: jiff::Error| error.to_string())?)
}

fn micros_of_day(time: civil::Time) -> Result<i64, Why> {
    let nanos = time.duration_since(civil::Time::midnight()).as_nanos();
    if nanos % 1_000 != 0 {
        return Err("it has more than six digits of a second".to_owned());
    }
    Ok((nanos / 1_000) as i64)
}

fn timestamp(text: &str) -> Result<i64, Why> {
    match text {
        "infinity" => Ok(i64::MAX),
        "-infinity" => Ok(i64::MIN),
        _ => {
            let at: DateTime = text.parse().map_err(|error: jiff::Error| error.to_string())?;
            Ok(days(at.date())? * 86_400_000_000 + micros_of_day(at.time())?)
        }
    }
}

/// An instant needs its offset: a constant must not depend on anybody's time zone.
fn timestamptz(text: &str) -> Result<i64, Why> {
    if matches!(text, "infinity" | "-infinity") {
        return timestamp(text);
    }
    let at: jiff::Timestamp = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    let utc = at.to_zoned(jiff::tz::TimeZone::UTC).datetime();
    Ok(days(utc.date())? * 86_400_000_000 + micros_of_day(utc.time())?)
}

fn json(text: &str, scalar: Scalar) -> Result<Vec<u8>, Why> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|error| error.to_string())?;
    let version: &[u8] = if scalar == Scalar::Jsonb { &[1] } else { &[] };
    Ok([version, text.as_bytes()].concat())
}

/// The one array that a plan can spell: `{}`.
fn empty_array(value: &Value, element: Option<u32>) -> Result<Vec<u8>, Why> {
    let element = element.ok_or("the elements' type is not known")?;
    if *value != Value::String("{}".to_owned()) {
        return Err("the only array that a constant can be is the empty one, \"{}\"".to_owned());
    }
    let mut wire = vec![0; 8];
    wire.put_u32(element);
    Ok(wire)
}

/// A JSON object's key with its quotes.
pub(crate) fn json_key(key: &str) -> Result<Vec<u8>, Why> {
    let mut quoted = Vec::new();
    escape(key.as_bytes(), &mut quoted).map_err(|_| "it holds the character 0".to_owned())?;
    Ok(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(value: impl Into<Value>, scalar: Scalar) -> Result<Vec<u8>, Why> {
        encode(&value.into(), &scalar.into(), None)
    }

    #[test]
    fn numerics_are_spelled_back_as_they_were_written() {
        for text in [
            "0",
            "0.00",
            "1",
            "-1.50",
            "10000",
            "99999999.0001",
            "0.00001000",
            "NaN",
            "-Infinity",
            "1000000000000000000000000.5",
        ] {
            let wire = parse(text, Scalar::Numeric).expect(text);
            let mut spelled = Vec::new();
            Speller::of_wire(&Scalar::Numeric.into())
                .expect("spelled")
                .text(&wire, &mut spelled)
                .expect(text);
            assert_eq!(spelled, text.as_bytes());
        }
        for text in ["", "1.", ".5", "1e3", "--1", "1.2.3", " 1", "+1"] {
            assert!(parse(text, Scalar::Numeric).is_err(), "{text}");
        }
    }

    #[test]
    fn a_map_key_must_be_the_columns_own_spelling() {
        assert_eq!(key("7", Scalar::Int2), Some(vec![0, 7]));
        for (text, scalar) in [
            ("07", Scalar::Int2),
            ("+7", Scalar::Int2),
            ("40000", Scalar::Int2),
            ("t", Scalar::Bool),
            ("6F9619FF-8B86-D011-B42D-00CF4FC964FF", Scalar::Uuid),
            ("2024-05-01 08:00:00", Scalar::Timestamp),
            ("2024-05-01T08:00:00.50", Scalar::Timestamp),
        ] {
            assert_eq!(key(text, scalar), None, "{text}");
        }
        for (text, scalar) in [
            ("true", Scalar::Bool),
            ("-1.50", Scalar::Numeric),
            ("6f9619ff-8b86-d011-b42d-00cf4fc964ff", Scalar::Uuid),
            ("2024-05-01T08:00:00.5+00:00", Scalar::Timestamptz),
            ("1999-12-31T23:59:59.999999", Scalar::Timestamp),
            ("24:00:00", Scalar::Time),
            ("-infinity", Scalar::Date),
            (r"\x00ff", Scalar::Bytea),
        ] {
            assert!(key(text, scalar).is_some(), "{text}");
        }
    }

    #[test]
    fn constants_are_encoded_for_their_column_or_refused() {
        assert_eq!(wire(7, Scalar::Int4), Ok(vec![0, 0, 0, 7]));
        assert_eq!(wire("{\"a\": 1}", Scalar::Jsonb), Ok(b"\x01{\"a\": 1}".to_vec()));
        assert_eq!(wire(true, Scalar::Bool), Ok(vec![1]));
        assert_eq!(wire("2000-01-02", Scalar::Date), Ok(vec![0, 0, 0, 1]));
        assert_eq!(
            wire("2000-01-01T02:00:00.000001+02:00", Scalar::Timestamptz),
            Ok(1_i64.to_be_bytes().to_vec())
        );
        assert!(wire(40_000, Scalar::Int2).is_err());
        assert!(wire("7", Scalar::Int4).is_err());
        assert!(wire(7, Scalar::Text).is_err());
        assert!(wire("{", Scalar::Json).is_err());
        assert!(wire("2000-01-01T00:00:00", Scalar::Timestamptz).is_err());
        for text in ["2000-01-02T08:00:00", "2000-1-2", "08:00:00"] {
            assert!(wire(text, Scalar::Date).is_err(), "{text}");
        }
        let offset = wire("2000-01-02T08:00:00+02:00", Scalar::Timestamp);
        assert_eq!(offset, Err("it would be read as 2000-01-02T08:00:00".to_owned()));
        assert!(wire((1 << 53) + 1, Scalar::Float8).is_err());
        assert!(wire("a\0b", Scalar::Text).is_err());
    }

    #[test]
    fn an_empty_array_names_the_columns_element_type() {
        let into = Wire { form: Form::Scalar(Scalar::Text), array: true };
        assert_eq!(encode(&"{}".into(), &into, Some(25)), Ok(vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 25]));
        assert!(encode(&"{a}".into(), &into, Some(25)).is_err());
        assert!(encode(&"{}".into(), &into, None).is_err());
    }
}
