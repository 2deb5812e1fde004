//! Instants and spans in whole milliseconds.
//!
//! Knows the calendar only to read and write RFC 3339. There is no `now()` here: time is always handed in (the one clock
//! lives in `runtime::clock`).

use std::fmt;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

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
        text.parse::<jiff::Timestamp>()
            .map(|instant| Timestamp(instant.as_millisecond()))
            .map_err(|_| ParseTimeError(format!("{text:?} is not an instant; write it as 2026-11-22T10:00:00Z (RFC 3339)")))
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
            if name == "w" || rest / unit == 0 {
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
}
