//! A touchpoint as its source wrote it, and what it means: limits, identity (rule 19), event time (rule 1), id (rule 17).
//!
//! JSON, mapped JSON and Avro all end here, so that one record means the same in each of them. Knows no format.

use std::fmt::Display;

use compact_str::{CompactString, ToCompactString, format_compact};

use super::{Arrival, Decoded, Limits};
use crate::diagnostic::quoted;
use crate::time::{Span, Timestamp};
use crate::touchpoint::{Identity, MAX_NAME_BYTES, MAX_TEXT_BYTES, Touchpoint, Value};

/// 1990-01-01T00:00:00Z: what lies before is a broken clock or a number in the wrong unit (rule 1).
const EARLIEST: Timestamp = Timestamp::from_millis(631_152_000_000);
/// 9999-12-30T00:00:00Z: what lies after cannot be written as RFC 3339. Matters where no log time bounds it (a history).
const LATEST: Timestamp = Timestamp::from_millis(253_402_128_000_000);
/// So far ahead of log time, a touchpoint is clamped; further ahead, it is refused (rule 1).
const MAX_AHEAD: Span = Span::from_days(1);
/// The longest text that is tried as an instant: RFC 3339 with nine digits, an offset and a zone's name fits.
const MAX_INSTANT_BYTES: usize = 80;
/// Whole numbers from here on are kept in digits: as a 64-bit float they would become another number.
const INEXACT: i128 = 1_000_000_000_000_000;

/// A single value, before it is known what it is for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Scalar {
    /// Absent, or null, which means the same.
    #[default]
    Null,
    Text(CompactString),
    Whole(i128),
    Number(f64),
    Flag(bool),
    /// An object, whatever it held.
    Object,
    /// A list, whatever it held.
    List,
}

impl Scalar {
    fn what(&self) -> &'static str {
        match self {
            Scalar::Null => "null",
            Scalar::Text(_) => "a text",
            Scalar::Whole(_) | Scalar::Number(_) => "a number",
            Scalar::Flag(_) => "true or false",
            Scalar::Object => "an object",
            Scalar::List => "a list",
        }
    }

    /// Whether it says nothing: null, or a text of white space.
    pub(super) fn is_blank(&self) -> bool {
        match self {
            Scalar::Null => true,
            Scalar::Text(text) => text.trim().is_empty(),
            Scalar::Whole(_) | Scalar::Number(_) | Scalar::Flag(_) | Scalar::Object | Scalar::List => false,
        }
    }
}

/// The fields beside the properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    EventId,
    CustomerId,
    AnonymousId,
    OccurredAt,
    Channel,
    Kind,
    Session,
}

impl Field {
    pub(super) const ALL: [Field; 7] = [
        Field::EventId,
        Field::CustomerId,
        Field::AnonymousId,
        Field::OccurredAt,
        Field::Channel,
        Field::Kind,
        Field::Session,
    ];

    /// The field of this canonical name.
    pub(super) fn of(name: &str) -> Option<Field> {
        Field::ALL.into_iter().find(|field| field.name() == name)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Field::EventId => "event_id",
            Field::CustomerId => "customer_id",
            Field::AnonymousId => "anonymous_id",
            Field::OccurredAt => "occurred_at",
            Field::Channel => "channel",
            Field::Kind => "type",
            Field::Session => "session_id",
        }
    }
}

/// A touchpoint as written: nothing but the property limits is checked yet.
#[derive(Debug)]
pub(super) struct Written {
    fields: [Scalar; Field::ALL.len()],
    pub(super) properties: Properties,
}

impl Written {
    pub(super) fn new(limits: Limits) -> Self {
        Written { fields: Default::default(), properties: Properties::new(limits.properties) }
    }

    /// Sets a field; the last one written counts.
    pub(super) fn set(&mut self, field: Field, value: Scalar) {
        self.fields[field as usize] = value;
    }

    /// Finds out what it means.
    pub(super) fn settle(mut self, arrival: &Arrival<'_>) -> Result<Decoded, String> {
        let (event_time, clamped) = self.event_time(arrival.log_time)?;
        let (identity, linked) = match (self.id(Field::CustomerId)?, self.id(Field::AnonymousId)?) {
            (Some(customer), anonymous) => (Identity::customer(customer), anonymous),
            (None, Some(anonymous)) => (Identity::anonymous(anonymous), None),
            (None, None) => return Err("no customer: give `customer_id`, `anonymous_id` or both".to_owned()),
        };
        let kind = self.text(Field::Kind)?.ok_or("no `type`: it must say what happened")?;
        let given = self.id(Field::EventId)?;
        let touchpoint = Touchpoint {
            id_given: given.is_some(),
            id: given.unwrap_or_else(|| derived_id(arrival)),
            identity,
            linked,
            event_time,
            kind,
            channel: self.text(Field::Channel)?,
            session: self.id(Field::Session)?,
            properties: self.properties.sorted(),
        };
        Ok(Decoded { touchpoint, clamped })
    }

    fn take(&mut self, field: Field) -> Scalar {
        std::mem::take(&mut self.fields[field as usize])
    }

    /// An id: a text, or a whole number taken as its digits. Blank means absent.
    fn id(&mut self, field: Field) -> Result<Option<CompactString>, String> {
        match self.take(field) {
            Scalar::Whole(number) => Ok(Some(number.to_compact_string())),
            // Some JSON writers know one sort of number only and write 42.0.
            Scalar::Number(number) if number.fract() == 0.0 && number.abs() < INEXACT as f64 => {
                Ok(Some(format_compact!("{}", number as i64)))
            }
            other => named(field, other, "a text or a whole number"),
        }
    }

    fn text(&mut self, field: Field) -> Result<Option<CompactString>, String> {
        let value = self.take(field);
        named(field, value, "a text")
    }

    /// The event time by rule 1, and whether it was clamped.
    fn event_time(&mut self, log_time: Timestamp) -> Result<(Timestamp, bool), String> {
        let written = self.take(Field::OccurredAt);
        let instant = instant(&written)?;
        if instant < EARLIEST {
            return Err(format!("`occurred_at` is {instant}, before 1990{}", unit_hint(&written)));
        }
        if instant > LATEST {
            return Err(format!("`occurred_at` is after the year 9999{}", unit_hint(&written)));
        }
        if instant <= log_time {
            return Ok((instant, false));
        }
        if instant.since(log_time) <= MAX_AHEAD {
            return Ok((log_time, true));
        }
        Err(format!("`occurred_at` is {instant}, more than 24h ahead of log time {log_time}{}", unit_hint(&written)))
    }
}

/// A text of at most [`MAX_NAME_BYTES`]; blank means absent.
fn named(field: Field, value: Scalar, expected: &str) -> Result<Option<CompactString>, String> {
    if value.is_blank() {
        return Ok(None);
    }
    let Scalar::Text(text) = value else {
        return Err(format!("`{}` is {}; write {expected}", field.name(), value.what()));
    };
    if text.len() > MAX_NAME_BYTES {
        return Err(too_long(field.name(), text.len()));
    }
    Ok(Some(text))
}

fn too_long(name: impl Display, bytes: usize) -> String {
    format!("`{name}` is {bytes} bytes long; at most {MAX_NAME_BYTES} are allowed")
}

fn derived_id(arrival: &Arrival<'_>) -> CompactString {
    format_compact!("{}/{}/{}", arrival.topic, arrival.partition, arrival.offset)
}

fn instant(written: &Scalar) -> Result<Timestamp, String> {
    match written {
        _ if written.is_blank() => Err("no `occurred_at`: it must say when it happened".to_owned()),
        Scalar::Text(text) => {
            let parsed = (text.len() <= MAX_INSTANT_BYTES).then(|| Timestamp::parse(text).ok()).flatten();
            parsed.ok_or_else(|| {
                let text = quoted(text);
                format!("`occurred_at` is {text}, which is no instant; write it as 2026-11-22T10:00:00Z (RFC 3339)")
            })
        }
        // Saturating: what does not fit is far outside what is accepted anyway.
        Scalar::Whole(millis) => {
            Ok(Timestamp::from_millis(i64::try_from(*millis).unwrap_or(if *millis < 0 { i64::MIN } else { i64::MAX })))
        }
        Scalar::Number(millis) if millis.is_finite() => Ok(Timestamp::from_millis(*millis as i64)),
        Scalar::Null | Scalar::Number(_) | Scalar::Flag(_) | Scalar::Object | Scalar::List => {
            Err(format!("`occurred_at` is {}; write an RFC 3339 text or milliseconds since 1970", written.what()))
        }
    }
}

/// What a number that gives an absurd instant was probably meant as.
fn unit_hint(written: &Scalar) -> &'static str {
    let number = match written {
        Scalar::Whole(number) => *number as f64,
        Scalar::Number(number) => *number,
        Scalar::Null | Scalar::Text(_) | Scalar::Flag(_) | Scalar::Object | Scalar::List => return "",
    };
    if (6.3e8..6.3e9).contains(&number) {
        "; the number looks like seconds, and milliseconds are expected"
    } else if (6.3e14..6.3e15).contains(&number) {
        "; the number looks like microseconds, and milliseconds are expected"
    } else {
        ""
    }
}

/// Properties as they come in, under the limit of how many there may be.
#[derive(Debug)]
pub(super) struct Properties {
    limit: usize,
    entries: usize,
    kept: Vec<(CompactString, Value)>,
}

impl Properties {
    fn new(limit: usize) -> Self {
        Properties { limit, entries: 0, kept: Vec::new() }
    }

    /// Counts an entry of the source, kept or not, so that a record with ten thousand is refused at its two hundred and first.
    pub(super) fn count(&mut self, name: &str) -> Result<(), String> {
        self.entries += 1;
        if self.entries > self.limit {
            return Err(format!("more than {} properties", self.limit));
        }
        if name.len() > MAX_NAME_BYTES {
            return Err(too_long(format_args!("properties.{}…", cut(name, 24)), name.len()));
        }
        Ok(())
    }

    /// Keeps a value. What is no value (nothing, lists, numbers that are none) is dropped; long texts are cut.
    pub(super) fn keep(&mut self, name: &str, value: Scalar) {
        let value = match value {
            Scalar::Text(text) if text.len() > MAX_TEXT_BYTES => Value::Text(cut(&text, MAX_TEXT_BYTES).into()),
            Scalar::Text(text) => Value::Text(text),
            Scalar::Whole(number) if number.abs() < INEXACT => Value::Number(number as f64),
            Scalar::Whole(number) => Value::Text(number.to_compact_string()),
            Scalar::Number(number) if number.is_finite() => Value::Number(number),
            Scalar::Flag(flag) => Value::Flag(flag),
            Scalar::Null | Scalar::Number(_) | Scalar::Object | Scalar::List => return,
        };
        self.kept.push((name.into(), value));
    }

    /// Forgets what came before: a second `properties` object replaces the first.
    pub(super) fn clear(&mut self) {
        self.kept.clear();
    }

    /// By name, each once; of several the last counts.
    fn sorted(mut self) -> Vec<(CompactString, Value)> {
        self.kept.sort_by(|(left, _), (right, _)| left.cmp(right));
        self.kept.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
        self.kept
    }
}

fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}
