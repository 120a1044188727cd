//! Exact numbers as Postgres' output functions spell them: integers, and numeric with its scale.

use bytes::{Buf, BufMut};

use super::Malformed;

/// Appends an integer.
pub(crate) fn int<B: BufMut>(number: i64, out: &mut B) {
    let mut text = [0; 20];
    let mut at = text.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        text[at] = b'-';
    }
    out.put_slice(&text[at..]);
}

const NUMERIC_NEGATIVE: u16 = 0x4000;
const NUMERIC_NAN: u16 = 0xC000;
const NUMERIC_INFINITY: u16 = 0xD000;
const NUMERIC_MINUS_INFINITY: u16 = 0xF000;
/// Digits after the point that a numeric can have at most (`NUMERIC_DSCALE_MASK`).
const MAX_SCALE: u16 = 0x3FFF;

/// Whether a numeric's sign says that it is a number; a malformed one counts as a number.
pub(super) fn is_finite(value: &[u8]) -> bool {
    let sign = value.get(4..6).map_or(0, |mut sign| sign.get_u16());
    !matches!(sign, NUMERIC_NAN | NUMERIC_INFINITY | NUMERIC_MINUS_INFINITY)
}

/// Appends a numeric: base 10,000 digits, of which the first is worth 10,000 to the power of `weight`.
pub(super) fn numeric<B: BufMut>(value: &[u8], out: &mut B) -> Result<(), Malformed> {
    let (mut header, digits) = value.split_at_checked(8).ok_or(Malformed)?;
    let (count, weight) = (header.get_u16(), header.get_i16());
    let (sign, scale) = (header.get_u16(), header.get_u16());
    match sign {
        NUMERIC_NAN => out.put_slice(b"NaN"),
        NUMERIC_INFINITY => out.put_slice(b"Infinity"),
        NUMERIC_MINUS_INFINITY => out.put_slice(b"-Infinity"),
        0 | NUMERIC_NEGATIVE => {
            if digits.len() != usize::from(count) * 2 || scale > MAX_SCALE {
                return Err(Malformed);
            }
            let digits = NumericDigits::new(digits)?;
            if sign == NUMERIC_NEGATIVE {
                out.put_u8(b'-');
            }
            digits.put_whole(weight.into(), out);
            digits.put_fraction(weight.into(), scale.into(), out);
        }
        _ => return Err(Malformed),
    }
    Ok(())
}

/// A numeric's digits, each checked to be below 10,000.
struct NumericDigits<'a>(&'a [u8]);

impl<'a> NumericDigits<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let valid = bytes.chunks_exact(2).all(|mut digit| digit.get_u16() < 10_000);
        if valid { Ok(Self(bytes)) } else { Err(Malformed) }
    }

    /// The four decimals of the digit at `index`; zeros outside what is stored.
    fn decimals(&self, index: i32) -> [u8; 4] {
        let at = usize::try_from(index).ok().map(|index| index * 2);
        let digit = at.and_then(|at| self.0.get(at..at + 2)).map_or(0, |mut digit| digit.get_u16());
        [digit / 1_000, digit / 100 % 10, digit / 10 % 10, digit % 10].map(|decimal| b'0' + decimal as u8)
    }

    fn put_whole<B: BufMut>(&self, weight: i32, out: &mut B) {
        if weight < 0 {
            return out.put_u8(b'0');
        }
        let first = self.decimals(0);
        let zeros = first.iter().take(3).take_while(|decimal| **decimal == b'0').count();
        out.put_slice(&first[zeros..]);
        for index in 1..=weight {
            out.put_slice(&self.decimals(index));
        }
    }

    fn put_fraction<B: BufMut>(&self, weight: i32, scale: usize, out: &mut B) {
        if scale == 0 {
            return;
        }
        out.put_u8(b'.');
        let mut missing = scale;
        let mut index = weight + 1;
        while missing > 0 {
            let take = missing.min(4);
            out.put_slice(&self.decimals(index)[..take]);
            missing -= take;
            index += 1;
        }
    }
}
