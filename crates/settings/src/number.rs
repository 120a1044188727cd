//! Numbers, from a file's integer or an environment variable's text.
//!
//! The `config` crate would round a fraction and take `true` for 1; a setting that is silently another one
//! than was written is worse than an error.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a whole number")]
enum Raw {
    Number(i64),
    Text(String),
}

/// Deserialises a whole number and refuses booleans, fractions and what does not fit.
pub(crate) fn whole<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<i64>,
{
    let number = match Raw::deserialize(deserializer)? {
        Raw::Number(number) => number,
        Raw::Text(text) => text.trim().parse().map_err(|_| D::Error::custom("expected a whole number"))?,
    };
    T::try_from(number).map_err(|_| D::Error::custom("the number is out of range"))
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number")]
enum RawFraction {
    Whole(i64),
    Fraction(f64),
    Text(String),
}

/// Deserialises a number that may have a fraction, and refuses booleans and what is no number.
pub(crate) fn fraction<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    match RawFraction::deserialize(deserializer)? {
        RawFraction::Whole(number) => Ok(number as f64),
        RawFraction::Fraction(number) => Ok(number),
        RawFraction::Text(text) => text.trim().parse().map_err(|_| D::Error::custom("expected a number")),
    }
}
