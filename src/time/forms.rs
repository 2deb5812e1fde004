//! The forms in which sources write an instant (rule 1): texts of several standards, numbers in four units, local time.
//!
//! Nothing is guessed: a text that could mean two instants is refused with what to do about it, and a number has the one
//! unit in which it lies between 1990 and the end of the calendar. The time zones are those that are built in, so that the
//! same bytes mean the same on every machine.

use std::fmt;

use jiff::civil;
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;

use super::{ParseTimeError, Timestamp, number, usual};

/// The longest text that is tried as an instant: RFC 3339 with nine digits, an offset and a zone's name fits.
const MAX_BYTES: usize = 80;
/// What a refusal shows of a text.
const SHOWN_BYTES: usize = 40;
/// 1990-01-01T00:00:00Z and 9999-12-30T00:00:00Z in seconds. In no two units does one number lie between them.
const FIRST: i128 = 631_152_000;
const LAST: i128 = 253_402_128_000;
/// How many of each unit a second has.
const UNITS: [i128; 4] = [1, 1_000, 1_000_000, 1_000_000_000];
const EXAMPLE: &str = "write it as 2026-11-22T10:00:00Z (RFC 3339)";

/// A time zone by its name in the IANA database.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Zone {
    /// The zone of a name such as `Europe/Paris` or `UTC`.
    pub fn named(name: &str) -> Option<Zone> {
        // The database knows `Etc/Unknown` for whoever does not know better.
        let zone = TimeZone::get(name).ok().filter(|zone| !zone.is_unknown())?;
        zone.iana_name().is_some().then_some(Zone(zone))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// The names that are known.
    pub fn names() -> Vec<String> {
        jiff::tz::db().available().map(|name| name.as_str().to_owned()).collect()
    }

    /// How many minutes after midnight clocks there show at an instant.
    pub fn minute_of_day(&self, at: Timestamp) -> u16 {
        let Ok(at) = jiff::Timestamp::from_millisecond(at.0) else { return 0 };
        let shown = self.0.to_datetime(at);
        shown.hour() as u16 * 60 + shown.minute() as u16
    }

    /// The first instant after another at which clocks there show so many minutes after midnight.
    pub fn next(&self, after: Timestamp, minute: u16) -> Option<Timestamp> {
        let today = self.0.to_datetime(jiff::Timestamp::from_millisecond(after.0).ok()?).date();
        let shown = civil::Time::new((minute / 60) as i8, (minute % 60) as i8, 0, 0).ok()?;
        let mut day = today;
        for _ in 0..3 {
            let instant = self.instant(day.to_datetime(shown))?;
            if instant > after {
                return Some(instant);
            }
            day = day.tomorrow().ok()?;
        }
        None
    }

    /// The instant at which clocks there show this time. Where they are set back they show it twice, and the first counts;
    /// where they are set forward they never show it, and it counts as if they had not been.
    fn instant(&self, shown: civil::DateTime) -> Option<Timestamp> {
        let zoned = self.0.to_ambiguous_zoned(shown).compatible().ok()?;
        Some(Timestamp(zoned.timestamp().as_millisecond()))
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Timestamp {
    /// Reads an instant in any form that means one instant only; see `docs/semantics.md`. A text without an offset, or a
    /// bare day, is local time of `zone`, and refused where there is none.
    ///
    /// # Errors
    /// Whatever else, by what it looks like and with what to do.
    pub fn read(text: &str, zone: Option<&Zone>) -> Result<Self, ParseTimeError> {
        match usual(text.as_bytes()) {
            Some(instant) => Ok(instant),
            None => unusual(text.trim(), zone),
        }
    }

    /// The instant that a whole number counts to since 1970, in the unit that its magnitude tells.
    ///
    /// # Errors
    /// A number that is before 1990 in every unit, after the calendar's end, or the digits of a date.
    pub fn of_whole(number: i128) -> Result<Self, ParseTimeError> {
        let unit = unit(number)?;
        Ok(Timestamp((number * 1_000).div_euclid(unit) as i64))
    }

    /// The same for a number with a fraction; what is finer than a millisecond is cut off.
    ///
    /// # Errors
    /// As [`Timestamp::of_whole`].
    pub fn of_number(number: f64) -> Result<Self, ParseTimeError> {
        let unit = unit(number as i128)?;
        let millis = number * (1_000.0 / unit as f64);
        // A 64-bit float has not all digits of a far instant; what is missing of a whole millisecond is rounding.
        Ok(Timestamp((millis + 0.05).floor() as i64))
    }
}

/// How many of the number's unit a second has.
fn unit(number: i128) -> Result<i128, ParseTimeError> {
    if is_calendar(number) {
        let cause = format!("{number} looks like the digits of a date and a time");
        return Err(ParseTimeError(format!("{cause}; {EXAMPLE}, or as seconds or milliseconds since 1970")));
    }
    let fits = |unit: &&i128| (FIRST * **unit..=LAST * **unit).contains(&number);
    UNITS.iter().find(fits).copied().ok_or_else(|| {
        let which = if number < FIRST { "is before 1990 in every unit" } else { "is no instant from 1990 on in any unit" };
        ParseTimeError(format!("{number} {which} (seconds, milliseconds, microseconds, nanoseconds since 1970)"))
    })
}

/// Whether the digits are those of `20261122100000`, with or without seconds and milliseconds. Taken for a count, such a
/// number would be an instant in a far century.
fn is_calendar(number: i128) -> bool {
    let minutes = match number {
        100_000_000_000..1_000_000_000_000 => number,
        10_000_000_000_000..100_000_000_000_000 => number / 100,
        10_000_000_000_000_000..100_000_000_000_000_000 => number / 100_000,
        _ => return false,
    };
    let (minute, hour, day) = (minutes % 100, minutes / 100 % 100, minutes / 10_000 % 100);
    let (month, year) = (minutes / 1_000_000 % 100, minutes / 100_000_000);
    minute < 60 && hour < 24 && (1..=31).contains(&day) && (1..=12).contains(&month) && (1970..2200).contains(&year)
}

/// Reads what is not written as nearly all are.
fn unusual(text: &str, zone: Option<&Zone>) -> Result<Timestamp, ParseTimeError> {
    if text.len() > MAX_BYTES {
        return Err(refused(text, "is too long for an instant"));
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return match text.parse::<i128>() {
            Ok(number) => Timestamp::of_whole(number),
            Err(_) => Err(refused(text, "has too many digits")),
        };
    }
    if digits.split('.').count() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return text.parse().map_err(|_| refused(text, "is no instant")).and_then(Timestamp::of_number);
    }
    if text.contains('[') {
        // Offset and zone must agree, which is looked at only where both are asked for.
        return match text.parse::<jiff::Zoned>() {
            Ok(zoned) => Ok(of(zoned.timestamp())),
            Err(_) => Err(refused(text, "contradicts itself, or names an unknown zone")),
        };
    }
    let standard = text.parse().ok().or_else(|| with_utc(text)).or_else(|| with_gap(text));
    if let Some(instant) = standard.or_else(|| rfc2822::DateTimeParser::new().parse_timestamp(text).ok()) {
        return Ok(of(instant));
    }
    match (local(text), zone) {
        (Some(shown), Some(zone)) => zone.instant(shown).ok_or_else(|| refused(text, "is beyond the calendar")),
        (Some(_), None) => {
            let what = if text.len() == 10 { "is a day" } else { "has no zone" };
            Err(ParseTimeError(format!(
                "{} {what}, and no `timezone` is named to read it in; name it in the model or with the fields of the \
                 source (timezone: Europe/Paris), or send it with an offset (2026-11-22T10:00:00+01:00)",
                shown(text)
            )))
        }
        (None, _) => Err(refused(text, what_it_may_be(text))),
    }
}

fn of(instant: jiff::Timestamp) -> Timestamp {
    Timestamp(instant.as_millisecond())
}

/// `2026-11-22 10:00:00 UTC`, which databases write.
fn with_utc(text: &str) -> Option<jiff::Timestamp> {
    let (shown, zone) = text.split_at_checked(text.len().checked_sub(3)?)?;
    let utc = ["UTC", "GMT"].iter().any(|name| zone.eq_ignore_ascii_case(name));
    let shown = local(shown.trim_end()).filter(|_| utc && shown.len() > 10)?;
    Some(TimeZone::UTC.to_ambiguous_zoned(shown).compatible().ok()?.timestamp())
}

/// `2026-11-22 10:00:00.5 +0100`: with a gap before the offset.
fn with_gap(text: &str) -> Option<jiff::Timestamp> {
    let (shown, offset) = text.rsplit_once(' ')?;
    let is_offset = offset == "Z" || offset.starts_with(['+', '-']);
    local(shown).filter(|_| is_offset && shown.len() > 10)?;
    format!("{shown}{offset}").parse().ok()
}

/// A day, or a day and a time of day, with nothing about where.
fn local(text: &str) -> Option<civil::DateTime> {
    let day = text.as_bytes().get(..4)?;
    number(day)?;
    if text.len() == 10 {
        let is_day = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        return is_day.then(|| text.parse::<civil::Date>().ok()).flatten().map(civil::DateTime::from);
    }
    let rest = text.get(10..)?;
    let plain = |byte: u8| byte.is_ascii_digit() || matches!(byte, b':' | b'.' | b',' | b' ' | b'T' | b't');
    (text.len() > 10 && rest.bytes().all(plain)).then(|| text.parse().ok()).flatten()
}

fn what_it_may_be(text: &str) -> &'static str {
    let head = text.as_bytes();
    let slashed = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'/' | b'.');
    if text.starts_with("/Date(") {
        "is Microsoft's form of a date in JSON, which is not read"
    } else if head.len() >= 8 && head[..8].iter().all(slashed) && head[..8].iter().any(|byte| *byte == b'/' || *byte == b'.')
    {
        "is a date whose day and month cannot be told apart"
    } else if head.len() > 10 && head[..4].iter().all(u8::is_ascii_digit) && head[4] == b'-' {
        "is almost RFC 3339, but names no instant of the calendar"
    } else {
        "is no instant"
    }
}

fn refused(text: &str, what: &str) -> ParseTimeError {
    ParseTimeError(format!("{} {what}; {EXAMPLE}", shown(text)))
}

/// The beginning of a text, in quotes.
fn shown(text: &str) -> String {
    let end = text.floor_char_boundary(SHOWN_BYTES);
    let more = if end < text.len() { "…" } else { "" };
    format!("{:?}{more}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: i64 = 1_772_445_600_000;

    fn read(text: &str, zone: Option<&str>) -> Result<i64, String> {
        let zone = zone.map(|name| Zone::named(name).expect(name));
        Timestamp::read(text, zone.as_ref()).map(Timestamp::as_millis).map_err(|error| error.to_string())
    }

    #[test]
    fn what_means_one_instant_is_read() {
        for (text, millis) in [
            ("2026-03-02T10:00:00Z", 0),
            ("2026-03-02T10:00:00+0000", 0),
            ("2026-03-02T11:00:00+01", 0),
            ("2026-03-02 10:00:00 UTC", 0),
            ("2026-03-02 10:00:00.250 gmt", 250),
            ("2026-03-02 10:00:00UTC", 0),
            ("2026-03-02T10:00:00,500Z", 500),
            ("2026-03-02T11:00:00+01:00[Europe/Paris]", 0),
            ("1772445600000", 0),
            ("1772445600", 0),
            ("1772445600.5", 500),
            ("1772445600000000", 0),
            ("1772445600123456789", 123),
            ("2026-03-02T10:00Z", 0),
            ("Mon, 02 Mar 2026 10:00:00 GMT", 0),
            ("Mon, 2 Mar 2026 11:00:00 +0100", 0),
            ("2026-03-02t10:00:00z", 0),
            ("2026-03-02T10:00:00.123456789Z", 123),
            (" 2026-03-02T10:00:00Z\n", 0),
            ("2026-03-02 10:00:00+00", 0),
            ("2026-03-02 10:00:00.123 +0000", 123),
            ("2026-03-02 10:00:00 Z", 0),
            ("20260302T100000Z", 0),
        ] {
            for zone in [None, Some("America/New_York")] {
                assert_eq!(read(text, zone), Ok(TEN + millis), "{text}");
            }
        }
    }

    #[test]
    fn what_could_mean_two_or_none_is_refused_with_what_to_do() {
        for (text, told) in [
            ("2026-03-02 10:00:00", "has no zone, and no `timezone` is named"),
            ("2026-03-02T10:00:00.5", "has no zone, and no `timezone` is named"),
            ("2026-03-02", "is a day, and no `timezone` is named"),
            ("2026-03-02T11:00:00+02:00[Europe/Paris]", "contradicts itself"),
            ("2026-03-02T11:00:00+02:00[Europe/Atlantis]", "unknown zone"),
            ("Tue, 02 Mar 2026 10:00:00 GMT", "is no instant"),
            ("/Date(1772445600000)/", "Microsoft's form"),
            ("02/03/2026 10:00", "day and month cannot be told apart"),
            ("02.03.2026", "day and month cannot be told apart"),
            ("2026-02-30T10:00:00Z", "names no instant of the calendar"),
            ("2026-3-2T10:00:00Z", "names no instant of the calendar"),
            ("-2026-03-02T10:00:00Z", "is no instant"),
            ("20260302", "before 1990 in every unit"),
            ("20260302100000", "the digits of a date and a time"),
            ("202603021000", "the digits of a date and a time"),
            ("20260302100000000", "the digits of a date and a time"),
            ("0", "before 1990 in every unit"),
            ("-1772445600", "before 1990 in every unit"),
            ("300000000000", "no instant from 1990 on in any unit"),
            ("99999999999999999999999999999999999999999999", "too many digits"),
            ("", "is no instant"),
            ("yesterday", "write it as 2026-11-22T10:00:00Z"),
        ] {
            let fault = read(text, None).expect_err(text);
            assert!(fault.contains(told) && fault.len() < 300, "{text}: {fault}");
        }
        let long = read(&"ä".repeat(1_000), None).expect_err("too long");
        assert!(long.len() < 200, "{long}");
    }

    #[test]
    fn local_time_is_that_of_the_zone() {
        for (text, zone, expected) in [
            ("2026-03-02 10:00:00", "Europe/Paris", "2026-03-02T09:00:00.000Z"),
            ("2026-07-02T10:00", "Europe/Paris", "2026-07-02T08:00:00.000Z"),
            ("2026-07-02", "America/New_York", "2026-07-02T04:00:00.000Z"),
            ("2026-03-30", "UTC", "2026-03-30T00:00:00.000Z"),
            // In the night when clocks are set forward there is no half past two, and in that when they are set back two.
            ("2026-03-29 02:30:00", "Europe/Paris", "2026-03-29T01:30:00.000Z"),
            ("2026-10-25 02:30:00", "Europe/Paris", "2026-10-25T00:30:00.000Z"),
        ] {
            let read = read(text, Some(zone)).map(|millis| Timestamp::from_millis(millis).to_string());
            assert_eq!(read.as_deref(), Ok(expected), "{text} in {zone}");
        }
        assert_eq!(Zone::named("Europe/Pari"), None);
        assert_eq!(Zone::named("Etc/Unknown"), None);
        assert_eq!(Zone::named("europe/paris").expect("known").name(), "Europe/Paris");
        assert!(Zone::names().len() > 300);
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

        /// The magnitude of a count tells its unit, for every instant since 1990.
        #[test]
        fn every_unit_counts_to_the_same_instant(millis in FIRST as i64 * 1_000..LAST as i64 * 1_000) {
            let expected = Ok(Timestamp::from_millis(millis));
            for number in [i128::from(millis), i128::from(millis) * 1_000, i128::from(millis) * 1_000_000] {
                if !is_calendar(number) {
                    proptest::prop_assert_eq!(Timestamp::of_whole(number), expected.clone());
                    proptest::prop_assert_eq!(Timestamp::read(&number.to_string(), None), expected.clone());
                }
            }
            let seconds = millis / 1_000;
            if !is_calendar(seconds.into()) {
                proptest::prop_assert_eq!(Timestamp::of_whole(seconds.into()), Ok(Timestamp::from_millis(seconds * 1_000)));
                proptest::prop_assert_eq!(Timestamp::of_number(millis as f64 / 1e3), expected);
            }
        }

        #[test]
        fn no_text_does_harm(text in "\\PC{0,60}|[0-9T:+\\-. \\[\\]Z]{0,40}") {
            let paris = Zone::named("Europe/Paris");
            let _ = (Timestamp::read(&text, None), Timestamp::read(&text, paris.as_ref()));
        }
    }
}
