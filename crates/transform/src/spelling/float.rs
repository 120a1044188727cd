//! Floats as Postgres spells them with `extra_float_digits` 1: the shortest decimal that names the float, and
//! of two equally near ones the even one.
//!
//! The standard library finds the digits. Where its choice and Postgres' differ (at exact ties, about one
//! float in ten thousand) the digits are taken again.

use std::fmt::{self, LowerExp, Write as _};

use bytes::BufMut;

use super::{Style, number::int};

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

/// `mantissa` × 2^`power`: what a float is, its sign apart.
#[derive(Clone, Copy)]
struct Binary {
    mantissa: u64,
    power: i32,
}

impl Binary {
    /// From the fields of an IEEE 754 number whose fraction has `bits` bits.
    fn new(fraction: u64, exponent: i32, bits: u32, bias: i32) -> Self {
        if exponent == 0 {
            return Self { mantissa: fraction, power: 1 - bias };
        }
        Self { mantissa: fraction | 1 << bits, power: exponent - bias }
    }

    /// Whether this is `number` × 10^`exponent`. Both sides are taken apart into an odd factor and a power of
    /// two. They fit, since neither a mantissa nor a number of 18 digits can hold a higher power of five than
    /// the 25th.
    fn equals(self, number: u64, exponent: i32) -> bool {
        if number == 0 || self.mantissa == 0 || exponent.abs() > 25 {
            return false;
        }
        let fives = 5_u128.pow(exponent.unsigned_abs());
        let (mut left, mut right) = (odd(self.mantissa), odd(number));
        *(if exponent < 0 { &mut left } else { &mut right }) *= fives;
        let twos = |factor: u64| factor.trailing_zeros().cast_signed();
        left == right && self.power + twos(self.mantissa) == exponent + twos(number)
    }

    /// Whether the decimal lies exactly between this and a neighbour. Reading it gives this float if the
    /// mantissa is even; Rust spells floats so, Postgres does not.
    fn has_midpoint(self, decimal: &Decimal) -> bool {
        let Self { mantissa, power } = self;
        if mantissa % 2 == 1 || mantissa == 0 {
            return false;
        }
        let midpoint = |mantissa, power| Self { mantissa, power }.equals(decimal.number(), decimal.exponent);
        midpoint(2 * mantissa + 1, power - 1)
            || midpoint(2 * mantissa - 1, power - 1)
            // Below a power of two floats lie twice as dense.
            || (mantissa.is_power_of_two() && midpoint(4 * mantissa - 1, power - 2))
    }

    /// Whether this lies exactly between the decimal and one beside it of as many digits.
    fn is_tie(self, decimal: &Decimal) -> bool {
        let (tenfold, exponent) = (decimal.number() * 10, decimal.exponent - 1);
        self.equals(tenfold + 5, exponent) || self.equals(tenfold.saturating_sub(5), exponent)
    }
}

fn odd(factor: u64) -> u128 {
    u128::from(factor >> factor.trailing_zeros())
}

/// A float as decimal `digits` (in ASCII) × 10^`exponent`.
#[derive(Clone, Copy)]
struct Decimal {
    negative: bool,
    digits: [u8; 17],
    len: usize,
    exponent: i32,
}

impl Decimal {
    fn of_f64(value: f64) -> Self {
        let bits = value.to_bits();
        let binary = Binary::new(bits & ((1 << 52) - 1), (bits >> 52 & 0x7FF) as i32, 52, 1_075);
        Self::of(value, binary, 17, |text| text.parse() == Ok(value))
    }

    fn of_f32(value: f32) -> Self {
        let bits = value.to_bits();
        let binary = Binary::new((bits & ((1 << 23) - 1)).into(), (bits >> 23 & 0xFF) as i32, 23, 150);
        Self::of(value, binary, 9, |text| text.parse() == Ok(value))
    }

    /// The digits that Postgres takes; `most` of them always name the float.
    fn of<F: LowerExp>(value: F, binary: Binary, most: usize, is_same: impl Fn(&str) -> bool) -> Self {
        let shortest = Self::parse(&Buffer::of(format_args!("{value:e}")));
        let between = binary.has_midpoint(&shortest);
        if !between && !binary.is_tie(&shortest) {
            return shortest;
        }
        for len in shortest.len..=most {
            // With a given number of digits Rust rounds to even.
            let text = Buffer::of(format_args!("{value:.*e}", len - 1));
            let rounded = Self::parse(&text);
            if is_same(text.as_str()) && !binary.has_midpoint(&rounded) {
                return rounded;
            }
            if !between {
                break;
            }
        }
        shortest
    }

    /// Reads what `{:e}` wrote.
    fn parse(text: &Buffer) -> Self {
        let mut decimal = Self { negative: false, digits: [0; 17], len: 0, exponent: 0 };
        let (digits, power) = text.as_str().split_once('e').unwrap_or((text.as_str(), "0"));
        let mut after_point = None;
        for byte in digits.bytes() {
            match byte {
                b'-' => decimal.negative = true,
                b'.' => after_point = Some(0),
                digit => {
                    decimal.digits[decimal.len] = digit;
                    decimal.len += 1;
                    after_point = after_point.map(|count| count + 1);
                }
            }
        }
        decimal.exponent = power.parse::<i32>().unwrap_or(0) - after_point.unwrap_or(0);
        decimal.trim();
        decimal
    }

    fn trim(&mut self) {
        while self.len > 1 && self.digits[self.len - 1] == b'0' {
            self.len -= 1;
            self.exponent += 1;
        }
    }

    fn digits(&self) -> &[u8] {
        &self.digits[..self.len]
    }

    fn number(&self) -> u64 {
        self.digits().iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))
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
            out.put_slice(&self.digits()[1..]);
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
        let whole = self.exponent + self.len as i32;
        if whole <= 0 {
            out.put_slice(b"0.");
            out.put_bytes(b'0', whole.unsigned_abs() as usize);
            out.put_slice(self.digits());
        } else if self.exponent >= 0 {
            out.put_slice(self.digits());
            out.put_bytes(b'0', self.exponent as usize);
        } else {
            let (whole, fraction) = self.digits().split_at(whole as usize);
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

/// Room on the stack for one float in scientific notation: sign, 17 digits, point, `e`, sign and three
/// digits.
#[derive(Default)]
struct Buffer {
    bytes: [u8; 24],
    len: usize,
}

impl Buffer {
    fn of(text: fmt::Arguments<'_>) -> Self {
        let mut buffer = Self::default();
        buffer.write_fmt(text).expect("no float needs more room");
        buffer
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl fmt::Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.len..self.len + text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(value: f64) -> String {
        let mut text = Vec::new();
        float8(value, &mut text);
        String::from_utf8(text).expect("digits")
    }

    #[test]
    fn floats_are_spelled_as_postgres_spells_them() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (1_234_567_890_123_456.0, "1.234567890123456e+15"),
            (0.0001, "0.0001"),
            (0.000_01, "1e-05"),
            (f64::MIN, "-1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(spelled(value), text);
        }
    }

    #[test]
    fn ties_and_midpoints_are_settled_as_postgres_settles_them() {
        // Exactly …455.125: the even digit. Rust takes the upper.
        assert_eq!(spelled(1_259_464_529_371_641.0 / 8.0), "157433066171455.12");
        // Reading 1e23 gives this float only because its mantissa is even. Rust spells it 1e23.
        assert_eq!(spelled(1e23), "9.999999999999999e+22");
        assert_eq!(spelled(4e23), "3.9999999999999997e+23");
    }
}
