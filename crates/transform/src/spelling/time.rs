//! Dates and times in ISO 8601, as `to_json` spells them, for the whole range that Postgres can store.

use bytes::BufMut;

use super::Malformed;

const MICROS_PER_DAY: i64 = 86_400_000_000;
/// 4713-11-24 BC to 5874897-12-31, in days from 2000-01-01.
const DATES: std::ops::Range<i32> = -2_451_545..2_145_031_949;
/// 4713-11-24 BC to 294276-12-31, in microseconds from 2000-01-01.
const TIMESTAMPS: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

/// Days from 2000-01-01.
pub(super) fn date<B: BufMut>(days: i32, out: &mut B) -> Result<(), Malformed> {
    match days {
        i32::MAX => out.put_slice(b"infinity"),
        i32::MIN => out.put_slice(b"-infinity"),
        _ if !DATES.contains(&days) => return Err(Malformed),
        _ => {
            let before_christ = put_date(days.into(), out);
            put_era(before_christ, out);
        }
    }
    Ok(())
}

/// Microseconds from midnight; 24:00:00 is a time of its own.
pub(super) fn time<B: BufMut>(micros: i64, out: &mut B) -> Result<(), Malformed> {
    if !(0..=MICROS_PER_DAY).contains(&micros) {
        return Err(Malformed);
    }
    put_time(micros, out);
    Ok(())
}

/// Microseconds from 2000-01-01 00:00; `zone` follows the time of day.
pub(super) fn timestamp<B: BufMut>(micros: i64, zone: &str, out: &mut B) -> Result<(), Malformed> {
    match micros {
        i64::MAX => out.put_slice(b"infinity"),
        i64::MIN => out.put_slice(b"-infinity"),
        _ if !TIMESTAMPS.contains(&micros) => return Err(Malformed),
        _ => {
            let before_christ = put_date(micros.div_euclid(MICROS_PER_DAY), out);
            out.put_u8(b'T');
            put_time(micros.rem_euclid(MICROS_PER_DAY), out);
            out.put_slice(zone.as_bytes());
            put_era(before_christ, out);
        }
    }
    Ok(())
}

/// Puts year, month and day, and tells whether the era has to follow.
fn put_date<B: BufMut>(days: i64, out: &mut B) -> bool {
    let (year, month, day) = civil(days);
    let (year, before_christ) = if year > 0 { (year, false) } else { (1 - year, true) };
    if year < 10_000 {
        put_pair(year / 100, out);
        put_pair(year % 100, out);
    } else {
        super::number::int(year, out);
    }
    out.put_u8(b'-');
    put_pair(month, out);
    out.put_u8(b'-');
    put_pair(day, out);
    before_christ
}

fn put_era<B: BufMut>(before_christ: bool, out: &mut B) {
    if before_christ {
        out.put_slice(b" BC");
    }
}

fn put_time<B: BufMut>(micros: i64, out: &mut B) {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    put_pair(seconds / 3_600, out);
    out.put_u8(b':');
    put_pair(seconds / 60 % 60, out);
    out.put_u8(b':');
    put_pair(seconds % 60, out);
    if fraction != 0 {
        put_fraction(fraction, out);
    }
}

/// A point and up to six digits, without trailing zeros.
fn put_fraction<B: BufMut>(mut fraction: i64, out: &mut B) {
    let mut text = *b".000000";
    for digit in text[1..].iter_mut().rev() {
        *digit = b'0' + (fraction % 10) as u8;
        fraction /= 10;
    }
    let used = text.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
    out.put_slice(&text[..used]);
}

fn put_pair<B: BufMut>(number: i64, out: &mut B) {
    out.put_slice(&[b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]);
}

/// Year (astronomical: 0 is 1 BC), month and day in the proleptic Gregorian calendar, after Howard Hinnant's
/// `civil_from_days`: years begin in March, so that the leap day is the last of one.
fn civil(days_from_2000: i64) -> (i64, i64, i64) {
    let days = days_from_2000 + 730_425;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}
