//! Instants and spans in whole milliseconds.
//!
//! Knows the calendar only to read and write RFC 3339; `forms` knows how else sources write an instant. There is no `now()` here: time is always handed in (the one clock
//! lives in `runtime::clock`).

use std::fmt;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

mod forms;

pub use forms::Zone;

/// An instant: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Timestamp(i64);

/// A length of time in milliseconds; never negative where it comes from a model or a configuration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Span(i64);

/// Why a text is not an instant or a span; the message names what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseTimeError(String);

impl fmt::Display for ParseTimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ParseTimeError {}

impl Timestamp {
    /// The latest instant there is; nothing is ever due then.
    pub const MAX: Timestamp = Timestamp(i64::MAX);
    /// The earliest instant there is.
    pub const MIN: Timestamp = Timestamp(i64::MIN);

    /// Makes an instant of milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Timestamp(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Reads RFC 3339 (`2026-11-22T10:00:00.5+01:00`); digits finer than a millisecond are cut off.
    ///
    /// # Errors
    /// A text that is not RFC 3339, or an instant outside the calendar's range (years −9999 to 9999).
    pub fn parse(text: &str) -> Result<Self, ParseTimeError> {
        if let Some(instant) = usual(text.as_bytes()) {
            return Ok(instant);
        }
        text.parse::<jiff::Timestamp>()
            .map(|instant| Timestamp(instant.as_millisecond()))
            .map_err(|_| ParseTimeError(format!("{text:?} is not an instant; write it as 2026-11-22T10:00:00Z (RFC 3339)")))
    }

    /// The text that [`Display`](fmt::Display) writes, put into a buffer; `None` for an instant before 1970 or beyond the
    /// calendar, which nobody needs to be written fast.
    pub fn write(self, buffer: &mut [u8; WRITTEN_BYTES]) -> Option<&str> {
        if !(0..=CALENDAR_END).contains(&self.0) {
            return None;
        }
        let (days, millis) = (self.0 / DAY, (self.0 % DAY) as u32);
        let (year, month, day) = date_of(days);
        *buffer = *b"0000-00-00T00:00:00.000Z";
        digits(&mut buffer[0..4], year);
        digits(&mut buffer[5..7], month);
        digits(&mut buffer[8..10], day);
        digits(&mut buffer[11..13], millis / 3_600_000);
        digits(&mut buffer[14..16], millis / 60_000 % 60);
        digits(&mut buffer[17..19], millis / 1_000 % 60);
        digits(&mut buffer[20..23], millis % 1_000);
        std::str::from_utf8(buffer).ok()
    }

    /// The span since `earlier`; zero when `earlier` lies ahead.
    pub fn since(self, earlier: Timestamp) -> Span {
        Span(self.0.saturating_sub(earlier.0).max(0))
    }
}

impl Add<Span> for Timestamp {
    type Output = Timestamp;
    fn add(self, span: Span) -> Timestamp {
        Timestamp(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Timestamp {
    type Output = Timestamp;
    fn sub(self, span: Span) -> Timestamp {
        Timestamp(self.0.saturating_sub(span.0))
    }
}

/// RFC 3339 in UTC with three digits, as in every outcome: `2026-11-22T10:00:00.000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = self.write(&mut [0; WRITTEN_BYTES]) {
            return f.write_str(text);
        }
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => write!(f, "{instant:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// So many bytes has an instant as it is written.
pub const WRITTEN_BYTES: usize = 24;
/// Milliseconds of a day.
const DAY: i64 = 86_400_000;
/// The last instant of `jiff`'s calendar: 9999-12-30T22:00:00.999Z.
const CALENDAR_END: i64 = 253_402_207_200_999;

/// Reads `2026-11-22T10:00:00Z`, with up to nine digits after a point and with an offset instead of the `Z`, from 1970 on:
/// nearly every touchpoint is written so, and `jiff`, which reads far more, takes several times as long. `None` means that
/// `jiff` is to be asked, not that the text is no instant.
fn usual(text: &[u8]) -> Option<Timestamp> {
    let (clock, rest) = text.split_first_chunk::<19>()?;
    let [_, _, _, _, b'-', _, _, b'-', _, _, b'T', _, _, b':', _, _, b':', _, _] = clock else { return None };
    let (year, month, day) = (number(&clock[0..4])?, number(&clock[5..7])?, number(&clock[8..10])?);
    let (hour, minute, second) = (number(&clock[11..13])?, number(&clock[14..16])?, number(&clock[17..19])?);
    // A second 60 is for jiff.
    if !(1970..=9998).contains(&year) || !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, zone) = match rest {
        [b'.', rest @ ..] => rest.split_at(rest.iter().take_while(|byte| byte.is_ascii_digit()).count()),
        _ => (&b"0"[..], rest),
    };
    let millis = match fraction {
        [] => return None,
        [a] => number(&[*a, b'0', b'0'])?,
        [a, b] => number(&[*a, *b, b'0'])?,
        [a, b, c, finer @ ..] if finer.len() <= 6 => number(&[*a, *b, *c])?,
        _ => return None,
    };
    let offset = match zone {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
            // "-00:00" says that the offset is not known, which is for jiff to judge.
            if hours > 23 || minutes > 59 || (*sign == b'-' && hours + minutes == 0) {
                return None;
            }
            i64::from(hours * 60 + minutes) * if *sign == b'-' { -60_000 } else { 60_000 }
        }
        _ => return None,
    };
    let of_day = i64::from((hour * 60 + minute) * 60 + second) * 1_000 + i64::from(millis);
    let instant = days_to(year, month, day) * DAY + of_day - offset;
    // Before 1970 digits finer than a millisecond are cut off the other way.
    (instant >= 0).then_some(Timestamp(instant))
}

/// The number that is written in decimal digits, and nothing but digits.
fn number(text: &[u8]) -> Option<u32> {
    text.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0')))
}

/// Writes a number in as many digits as there is room.
fn digits(text: &mut [u8], mut number: u32) {
    for place in text.iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn days_in(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a day in a year from 1970 on. Years begin in March here, so that the day of a leap year is
/// their last one.
fn days_to(year: u32, month: u32, day: u32) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    i64::from(days) - DAYS_BEFORE_1970
}

/// Days from the beginning of March in the year 0 until 1970.
const DAYS_BEFORE_1970: i64 = 719_468;

/// The year, the month and the day of a day from 1970 on; the inverse of [`days_to`].
fn date_of(days: i64) -> (u32, u32, u32) {
    let days = (days + DAYS_BEFORE_1970) as u32;
    // By four centuries, which all have as many days.
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    (era * 400 + year, month, day)
}

/// The units a span is written in, longest first: name and milliseconds. A year is 365 days.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);

    /// Makes a span of milliseconds.
    pub const fn from_millis(millis: i64) -> Self {
        Span(millis)
    }

    /// Makes a span of whole seconds.
    pub const fn from_secs(secs: i64) -> Self {
        Span(secs * 1_000)
    }

    /// Makes a span of days of 24 hours.
    pub const fn from_days(days: i64) -> Self {
        Span(days * 86_400_000)
    }

    /// The span in milliseconds.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Reads a span with its units: `90s`, `1h 30m`, `7d`, `2y`. A unit is always needed.
    ///
    /// # Errors
    /// A number without a unit, an unknown unit, nothing at all, or more than about 290 million years.
    pub fn parse(text: &str) -> Result<Self, ParseTimeError> {
        let fault =
            || ParseTimeError(format!("{text:?} is not a duration; write a number with a unit, such as 30m, 1h 30m or 7d"));
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(fault());
        }
        let mut total: i64 = 0;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: i64 = rest[..digits].parse().map_err(|_| fault())?;
            let after = rest[digits..].trim_start();
            let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (_, unit) = UNITS.iter().find(|(name, _)| *name == &after[..letters]).ok_or_else(fault)?;
            total = number.checked_mul(*unit).and_then(|part| total.checked_add(part)).ok_or_else(fault)?;
            rest = after[letters..].trim_start();
        }
        Ok(Span(total))
    }
}

/// The same words that [`Span::parse`] reads: `1h 30m`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        let mut first = true;
        for (name, unit) in UNITS {
            // Weeks are read but not written: nobody calls a month "4w 2d".
            if rest.unsigned_abs() < unit.unsigned_abs() || name == "w" {
                continue;
            }
            if !first {
                f.write_str(" ")?;
            }
            write!(f, "{}{name}", rest / unit)?;
            rest %= unit;
            first = false;
        }
        Ok(())
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written_with_units() {
        for (text, millis, shown) in [
            ("30m", 1_800_000, "30m"),
            ("1h 30m", 5_400_000, "1h 30m"),
            ("90s", 90_000, "1m 30s"),
            ("2w", 1_209_600_000, "14d"),
            ("1y", 31_536_000_000, "1y"),
            ("250ms", 250, "250ms"),
        ] {
            let span = Span::parse(text).expect(text);
            assert_eq!((span.as_millis(), span.to_string().as_str()), (millis, shown), "{text}");
        }
        for text in ["", "30", "m", "30 parsecs", "-1h", "999999999999y", "1h 30"] {
            assert!(Span::parse(text).is_err(), "{text:?} must not be a span");
        }
    }

    #[test]
    fn instants_are_read_with_any_offset_and_written_in_utc() {
        let instant = Timestamp::parse("2026-11-22T11:00:00.1239+01:00").expect("RFC 3339");
        assert_eq!(instant.to_string(), "2026-11-22T10:00:00.123Z");
        assert_eq!(Timestamp::from_millis(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert!(Timestamp::parse("22.11.2026").is_err());
    }

    fn by_jiff(text: &str) -> Option<Timestamp> {
        text.parse::<jiff::Timestamp>().ok().map(|instant| Timestamp(instant.as_millisecond()))
    }

    #[test]
    fn every_day_of_the_calendar_is_written_as_jiff_writes_it() {
        for day in (0..=CALENDAR_END / DAY).chain([-1, -40_000, -719_529]) {
            let millis = (day * DAY + day * 7_919 % DAY).min(CALENDAR_END);
            let jiff = jiff::Timestamp::from_millisecond(millis).expect("in the calendar");
            let text = Timestamp(millis).to_string();
            assert_eq!(text, format!("{jiff:.3}"), "{millis}");
            assert_eq!(Timestamp::parse(&text), Ok(Timestamp(millis)), "{text}");
        }
        assert!(jiff::Timestamp::from_millisecond(CALENDAR_END + 1).is_err());
        assert_eq!(Timestamp(CALENDAR_END + 1).to_string(), "253402207201000ms");
        assert_eq!(Timestamp::MIN.to_string(), "-9223372036854775808ms");
    }

    #[test]
    fn what_is_not_quite_usual_is_left_to_jiff() {
        for text in [
            "2026-11-22T23:59:60Z",
            "2026-11-22t10:00:00z",
            "2026-11-22 10:00:00Z",
            "2026-11-22T10:00Z",
            "2026-11-22T10:00:00-00:00",
            "2026-11-22T10:00:00+01",
            "2026-11-22T10:00:00+0100",
            "2026-11-22T10:00:00+24:00",
            "2026-11-22T10:00:00+01:00[Europe/Paris]",
            "2026-11-22T10:00:00,5Z",
            "2026-11-22T10:00:00.Z",
            "2026-11-22T10:00:00.1234567891Z",
            "2026-02-29T10:00:00Z",
            "2026-00-10T10:00:00Z",
            "2026-04-31T10:00:00Z",
            "2026-11-22T24:00:00Z",
            "1970-01-01T00:00:00+00:01",
            "1969-12-31T23:59:59.9999Z",
            "9999-12-31T23:59:59Z",
            "9999-12-30T21:00:00Z",
            "-002026-11-22T10:00:00Z",
            "2026-11-22T10:00:00",
            "",
        ] {
            assert_eq!(usual(text.as_bytes()), None, "{text}");
            assert_eq!(Timestamp::parse(text).ok(), by_jiff(text), "{text}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

        #[test]
        fn usual_texts_are_read_as_jiff_reads_them(
            (year, month, day) in (1968..10_001_u32, 0..14_u32, 0..33_u32),
            (hour, minute, second) in (0..25_u32, 0..61_u32, 0..62_u32),
            fraction in "(\\.[0-9]{0,10})?",
            zone in "Z|z|[+-][0-2][0-9]:[0-6][0-9]|[+-]00:00|",
        ) {
            let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}");
            proptest::prop_assert_eq!(Timestamp::parse(&text).ok(), by_jiff(&text), "{}", text);
        }
    }
}
