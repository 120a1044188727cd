//! Numbers as Postgres' output functions spell them with `extra_float_digits` 1: integers, numeric with its scale, and the
//! shortest decimal that names a float.

use std::fmt::{LowerExp, Write as _};

use bytes::{Buf, BufMut};

use super::{Malformed, Style};

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

/// Appends a `float4` as text.
pub(super) fn float4<B: BufMut>(value: f32, out: &mut B) {
    match special(value.into()) {
        Some(name) => out.put_slice(name),
        None => Decimal::of_f32(value).put(6, out),
    }
}

/// Appends a `float8` as text.
pub(super) fn float8<B: BufMut>(value: f64, out: &mut B) {
    match special(value) {
        Some(name) => out.put_slice(name),
        None => Decimal::of_f64(value).put(15, out),
    }
}

/// Appends a `float4` as JSON.
pub(super) fn float4_json<B: BufMut>(value: f32, style: Style, out: &mut B) {
    match special(value.into()) {
        Some(name) => put_quoted(name, out),
        None => Decimal::of_f32(value).put_json(6, style, out),
    }
}

/// Appends a `float8` as JSON.
pub(super) fn float8_json<B: BufMut>(value: f64, style: Style, out: &mut B) {
    match special(value) {
        Some(name) => put_quoted(name, out),
        None => Decimal::of_f64(value).put_json(15, style, out),
    }
}

fn put_quoted<B: BufMut>(name: &[u8], out: &mut B) {
    out.put_u8(b'"');
    out.put_slice(name);
    out.put_u8(b'"');
}

fn special(value: f64) -> Option<&'static [u8]> {
    if value.is_nan() {
        return Some(b"NaN");
    }
    value.is_infinite().then_some(if value > 0.0 { b"Infinity" } else { b"-Infinity" })
}

/// A float as `digits` × 10^`exponent`.
#[derive(Clone, Copy)]
struct Decimal {
    negative: bool,
    digits: [u8; 17],
    len: usize,
    exponent: i32,
}

impl Decimal {
    fn of_f64(value: f64) -> Self {
        let shortest = Self::parse(format_args!("{value:e}"));
        let bits = value.to_bits();
        let fraction = bits & ((1 << 52) - 1);
        let (mantissa, power) = binary(fraction, (bits >> 52 & 0x7FF) as i32, 52, 1_075);
        shortest.off_midpoint(mantissa, power, 17, value, |text| text.parse() == Ok(value))
    }

    fn of_f32(value: f32) -> Self {
        let shortest = Self::parse(format_args!("{value:e}"));
        let bits = value.to_bits();
        let fraction = u64::from(bits & ((1 << 23) - 1));
        let (mantissa, power) = binary(fraction, (bits >> 23 & 0xFF) as i32, 23, 150);
        shortest.off_midpoint(mantissa, power, 9, value, |text| text.parse() == Ok(value))
    }

    /// Reads what `{:e}` wrote.
    fn parse(text: std::fmt::Arguments<'_>) -> Self {
        let mut buffer = Buffer::default();
        // Unwrap safety: the buffer holds the longest of them, and a longer one is cut and not refused.
        let _ = buffer.write_fmt(text);
        let mut decimal = Self { negative: false, digits: [0; 17], len: 0, exponent: 0 };
        let mut fraction = 0;
        let mut after_point = false;
        let mut bytes = buffer.bytes().iter();
        for byte in bytes.by_ref() {
            match byte {
                b'-' => decimal.negative = true,
                b'.' => after_point = true,
                b'e' => break,
                digit => {
                    decimal.digits[decimal.len] = *digit;
                    decimal.len += 1;
                    fraction += i32::from(after_point);
                }
            }
        }
        let power = std::str::from_utf8(bytes.as_slice()).ok().and_then(|power| power.parse::<i32>().ok());
        decimal.exponent = power.unwrap_or(0) - fraction;
        decimal.trim();
        decimal
    }

    fn trim(&mut self) {
        while self.len > 1 && self.digits[self.len - 1] == b'0' {
            self.len -= 1;
            self.exponent += 1;
        }
    }

    /// Postgres does not spell a float by a decimal that lies half-way to its neighbour, though reading it
    /// back (to even) gives the float; Rust does. In that rare case more digits are taken.
    fn off_midpoint<F: LowerExp>(
        self,
        mantissa: u64,
        power: i32,
        most: usize,
        value: F,
        same: impl Fn(&str) -> bool,
    ) -> Self {
        if mantissa % 2 == 1 || !self.is_midpoint(mantissa, power) {
            return self;
        }
        for len in self.len..most {
            let mut buffer = Buffer::default();
            let _ = write!(buffer, "{:.*e}", len - 1, value);
            let longer = Self::parse(format_args!("{:.*e}", len - 1, value));
            let text = std::str::from_utf8(buffer.bytes()).unwrap_or_default();
            if same(text) && !longer.is_midpoint(mantissa, power) {
                return longer;
            }
        }
        Self::parse(format_args!("{:.*e}", most - 1, value))
    }

    /// Whether this is exactly half-way between `mantissa` × 2^`power` and a neighbour.
    fn is_midpoint(&self, mantissa: u64, power: i32) -> bool {
        let halves = |odd: u64, power: i32| self.equals(odd, power);
        if mantissa == 0 {
            return false;
        }
        halves(2 * mantissa + 1, power - 1)
            || halves(2 * mantissa - 1, power - 1)
            || (mantissa.is_power_of_two() && halves(4 * mantissa - 1, power - 2))
    }

    /// Whether this equals `odd` × 2^`power`. Both sides are taken apart into an odd factor and a power of two,
    /// which fit since `odd` is below 2^55 and so can hold no higher power of five than the 23rd.
    fn equals(&self, odd: u64, power: i32) -> bool {
        let digits = self.digits[..self.len].iter().fold(0, |sum, digit| sum * 10 + u128::from(digit - b'0'));
        if digits == 0 || self.exponent.abs() > 24 {
            return false;
        }
        let fives = 5_u128.pow(self.exponent.unsigned_abs());
        let twos = digits.trailing_zeros().cast_signed();
        let odd_digits = digits >> twos;
        if self.exponent >= 0 {
            odd_digits * fives == u128::from(odd) && twos + self.exponent == power
        } else {
            odd_digits == u128::from(odd) * fives && twos + self.exponent == power
        }
    }

    /// Appends it as Postgres does: with an exponent below 10^-4 and from 10^`limit` on.
    fn put<B: BufMut>(&self, limit: i32, out: &mut B) {
        let scientific = self.exponent + self.len as i32 - 1;
        if scientific >= -4 && scientific < limit {
            return self.put_plain(out);
        }
        self.put_sign(out);
        out.put_u8(self.digits[0]);
        if self.len > 1 {
            out.put_u8(b'.');
            out.put_slice(&self.digits[1..self.len]);
        }
        out.put_slice(if scientific < 0 { b"e-" } else { b"e+" });
        if scientific.abs() < 10 {
            out.put_u8(b'0');
        }
        int(scientific.abs().into(), out);
    }

    /// As JSON: a jsonb keeps numbers as numeric, which knows neither exponents nor a negative zero.
    fn put_json<B: BufMut>(mut self, limit: i32, style: Style, out: &mut B) {
        if style == Style::Json {
            return self.put(limit, out);
        }
        self.negative &= self.digits[0] != b'0';
        self.put_plain(out);
    }

    /// Appends it without an exponent.
    fn put_plain<B: BufMut>(&self, out: &mut B) {
        self.put_sign(out);
        let digits = &self.digits[..self.len];
        let whole = self.exponent + self.len as i32;
        if whole <= 0 {
            out.put_slice(b"0.");
            out.put_bytes(b'0', whole.unsigned_abs() as usize);
            out.put_slice(digits);
        } else if self.exponent >= 0 {
            out.put_slice(digits);
            out.put_bytes(b'0', self.exponent as usize);
        } else {
            let (whole, fraction) = digits.split_at(whole as usize);
            out.put_slice(whole);
            out.put_u8(b'.');
            out.put_slice(fraction);
        }
    }

    fn put_sign<B: BufMut>(&self, out: &mut B) {
        if self.negative {
            out.put_u8(b'-');
        }
    }
}

/// Mantissa and power of two of an IEEE 754 number, from its fields.
fn binary(fraction: u64, exponent: i32, bits: u32, bias: i32) -> (u64, i32) {
    if exponent == 0 { (fraction, 1 - bias) } else { (fraction | 1 << bits, exponent - bias) }
}

/// Room on the stack for one float in scientific notation.
#[derive(Default)]
struct Buffer {
    bytes: [u8; 32],
    len: usize,
}

impl Buffer {
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl std::fmt::Write for Buffer {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = self.bytes.get_mut(self.len..self.len + text.len()).ok_or(std::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}
