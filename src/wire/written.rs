//! A touchpoint as its source wrote it, and what it means: limits, identity (rule 19), event time (rule 1), id (rule 17).
//!
//! JSON, mapped JSON and Avro all end here, so that one record means the same in each of them. Knows no format. Texts are
//! borrowed from the record until it is known where they go, and a touchpoint that is read into keeps the room it has.

use std::borrow::Cow;
use std::fmt::{Display, Write};

use compact_str::{CompactString, ToCompactString};

use super::losses::{Expected, Loss, Lost, Misfit, lose};
use super::mend::Mended;
use super::wanted::{Interest, Wanted};
use super::{Arrival, Limits};
use crate::time::{Span, Timestamp, Zone};
use crate::touchpoint::{
    CURRENCY, IdentityKind, MAX_NAME_BYTES, MAX_TEXT_BYTES, Touchpoint, Value, is_placeholder, put_text,
};

/// 1990-01-01T00:00:00Z: what lies before is a broken clock or a number in the wrong unit (rule 1).
const EARLIEST: Timestamp = Timestamp::from_millis(631_152_000_000);
/// 9999-12-30T00:00:00Z: what lies after cannot be written as RFC 3339. Matters where no log time bounds it (a history).
const LATEST: Timestamp = Timestamp::from_millis(253_402_128_000_000);
/// So far ahead of log time, a touchpoint is clamped; further ahead, it is refused (rule 1).
pub const MAX_AHEAD: Span = Span::from_days(1);
/// Whole numbers from here on are kept in digits: as a 64-bit float they would become another number.
pub(super) const INEXACT: i128 = 1_000_000_000_000_000;

/// What an example shows of a text, in bytes.
const EXAMPLE_BYTES: usize = 40;

/// Dotted names have at most so many parts; objects further down are dropped.
pub(super) const MAX_DEPTH: usize = 4;
/// What is wrong with `properties` that are a text, a number, a list …
pub(super) const NO_OBJECT: &str = "`properties` is no object; write it as {\"name\": value, …}";

/// A single value, before it is known what it is for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Scalar<'a> {
    /// Absent, or null, which means the same.
    #[default]
    Null,
    Text(Cow<'a, str>),
    Whole(i128),
    Number(f64),
    Flag(bool),
    /// An object, whatever it held.
    Object,
    /// A list, whatever it held.
    List,
}

impl Scalar<'_> {
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

    /// The same, borrowing the text.
    pub(super) fn borrowed(&self) -> Scalar<'_> {
        match self {
            Scalar::Null => Scalar::Null,
            Scalar::Text(text) => Scalar::Text(Cow::Borrowed(text)),
            Scalar::Whole(number) => Scalar::Whole(*number),
            Scalar::Number(number) => Scalar::Number(*number),
            Scalar::Flag(flag) => Scalar::Flag(*flag),
            Scalar::Object => Scalar::Object,
            Scalar::List => Scalar::List,
        }
    }

    /// The value where it is a number or a text, as something to be added.
    pub(super) fn as_amount(&self) -> Option<Value> {
        match self {
            Scalar::Text(text) => Some(Value::Text(text.as_ref().into())),
            Scalar::Whole(number) => Some(Value::Number(*number as f64)),
            Scalar::Number(number) => Some(Value::Number(*number)),
            Scalar::Null | Scalar::Flag(_) | Scalar::Object | Scalar::List => None,
        }
    }

    /// What is added up where it is a number; what is none is no number either, and is not simply absent.
    pub(super) fn as_summand(&self) -> Option<Value> {
        match self {
            Scalar::Null => None,
            Scalar::Flag(flag) => Some(Value::Flag(*flag)),
            Scalar::Object | Scalar::List => Some(Value::Flag(false)),
            Scalar::Text(_) | Scalar::Whole(_) | Scalar::Number(_) => self.as_amount(),
        }
    }

    /// Whether it says nothing: null, or a text of white space.
    pub(super) fn is_blank(&self) -> bool {
        match self {
            Scalar::Null => true,
            // Most texts show something at once.
            Scalar::Text(text) => !text.as_bytes().first().is_some_and(u8::is_ascii_graphic) && text.trim().is_empty(),
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
        match name {
            "event_id" => Some(Field::EventId),
            "customer_id" => Some(Field::CustomerId),
            "anonymous_id" => Some(Field::AnonymousId),
            "occurred_at" => Some(Field::OccurredAt),
            "channel" => Some(Field::Channel),
            "type" => Some(Field::Kind),
            "session_id" => Some(Field::Session),
            _ => None,
        }
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

/// A touchpoint as written, without its properties: nothing is checked yet.
#[derive(Debug, Default)]
pub(super) struct Written<'a> {
    fields: [Scalar<'a>; Field::ALL.len()],
    /// What a number in `occurred_at` counts.
    pub(super) unit: Unit,
    /// Its texts were mended, so that an id may be another than its source's.
    mended: bool,
}

/// What a number that stands for an instant counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Unit {
    /// What its magnitude tells.
    #[default]
    ByMagnitude,
    /// Milliseconds, by the schema or by the mapping.
    Milliseconds,
}

impl<'a> Written<'a> {
    /// Nothing yet of a record that was mended.
    pub(super) fn of_mended() -> Self {
        Written { mended: true, ..Written::default() }
    }

    /// Sets a field; the last one written counts.
    pub(super) fn set(&mut self, field: Field, value: Scalar<'a>) {
        self.fields[field as usize] = value;
    }

    /// Finds out what it means, and puts that into a touchpoint, whose properties are left alone. Says whether the event
    /// time was clamped.
    pub(super) fn settle(
        &self,
        arrival: &Arrival<'_>,
        zone: Option<&Zone>,
        touchpoint: &mut Touchpoint,
        losses: &mut Lost,
    ) -> Result<bool, String> {
        let (event_time, clamped) = self.event_time(arrival.log_time, zone)?;
        touchpoint.event_time = event_time;
        let customer = self.id(Field::CustomerId)?.filter(|id| !id.is_placeholder());
        let anonymous = self.id(Field::AnonymousId)?.filter(|id| !id.is_placeholder());
        let (kind, id, linked) = match (customer, anonymous) {
            (Some(customer), anonymous) => (IdentityKind::Customer, customer, anonymous),
            (None, Some(anonymous)) => (IdentityKind::Anonymous, anonymous, None),
            (None, None) => return Err(self.nobody()),
        };
        touchpoint.identity.kind = kind;
        id.put(&mut touchpoint.identity.id);
        put(linked, &mut touchpoint.linked);
        self.unbroken(Field::Kind)?;
        let kind = self.text(Field::Kind)?.ok_or("no `type`: it must say what happened")?;
        kind.put(&mut touchpoint.kind);
        let given = self.id(Field::EventId)?;
        touchpoint.id_given = given.is_some();
        match given {
            Some(id) => id.put(&mut touchpoint.id),
            None => derive_id(arrival, &mut touchpoint.id),
        }
        let mut left = |part: Result<_, String>| {
            part.unwrap_or_else(|_| {
                lose(losses, Loss::Field);
                None
            })
        };
        put(left(self.text(Field::Channel)), &mut touchpoint.channel);
        // A broken text is counted already.
        let session = if self.unbroken(Field::Session).is_ok() { left(self.id(Field::Session)) } else { None };
        put(session, &mut touchpoint.session);
        Ok(clamped)
    }

    /// Why it is nobody's.
    fn nobody(&self) -> String {
        for field in [Field::CustomerId, Field::AnonymousId] {
            if let Ok(Some(id)) = self.id(field) {
                return format!("no customer: `{}` is {id}, which is a placeholder and nobody's id", field.name());
            }
        }
        "no customer: give `customer_id`, `anonymous_id` or both".to_owned()
    }

    fn get(&self, field: Field) -> &Scalar<'a> {
        &self.fields[field as usize]
    }

    /// An id: a text, or a whole number taken as its digits. Blank means absent.
    fn id(&self, field: Field) -> Result<Option<Named<'_>>, String> {
        match self.get(field) {
            Scalar::Whole(number) => Ok(Some(Named::Digits(*number))),
            // Some JSON writers know one sort of number only and write 42.0.
            Scalar::Number(number) if number.fract() == 0.0 && number.abs() < INEXACT as f64 => {
                Ok(Some(Named::Digits(*number as i128)))
            }
            other => {
                self.unbroken(field)?;
                named(field, other, "a text or a whole number")
            }
        }
    }

    /// A text that was broken may be another than its source's.
    fn unbroken(&self, field: Field) -> Result<(), String> {
        match self.get(field) {
            Scalar::Text(text) if self.mended && text.contains(char::REPLACEMENT_CHARACTER) => {
                Err(format!("`{}` is a broken text, and two may have become one; send it as UTF-8", field.name()))
            }
            _ => Ok(()),
        }
    }

    fn text(&self, field: Field) -> Result<Option<Named<'_>>, String> {
        named(field, self.get(field), "a text")
    }

    /// The event time by rule 1, and whether it was clamped.
    fn event_time(&self, log_time: Timestamp, zone: Option<&Zone>) -> Result<(Timestamp, bool), String> {
        let instant = instant(self.get(Field::OccurredAt), self.unit, zone)?;
        if instant < EARLIEST {
            return Err(format!("`occurred_at` is {instant}, before 1990"));
        }
        if instant > LATEST {
            return Err("`occurred_at` is after the year 9999".to_owned());
        }
        if instant <= log_time {
            return Ok((instant, false));
        }
        if instant.since(log_time) <= MAX_AHEAD {
            return Ok((log_time, true));
        }
        Err(format!("`occurred_at` is {instant}, more than 24h ahead of log time {log_time}"))
    }
}

/// An id or a name that is there and fits.
enum Named<'a> {
    Text(&'a str),
    Digits(i128),
}

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Named::Text(text) => write!(f, "\"{text}\""),
            Named::Digits(number) => write!(f, "{number}"),
        }
    }
}

impl Named<'_> {
    /// Whether it identifies nobody.
    fn is_placeholder(&self) -> bool {
        match self {
            Named::Text(text) => is_placeholder(text),
            Named::Digits(number) => matches!(number, 0 | -1),
        }
    }

    fn put(&self, place: &mut CompactString) {
        match self {
            Named::Text(text) => put_text(text, place),
            Named::Digits(number) => {
                place.clear();
                // Writing a number to memory does not fail.
                let _ = match i64::try_from(*number) {
                    Ok(number) => write!(place, "{number}"),
                    Err(_) => write!(place, "{number}"),
                };
            }
        }
    }
}

/// Puts what is there into a place that may have room for it already.
fn put(named: Option<Named<'_>>, place: &mut Option<CompactString>) {
    match named {
        Some(named) => named.put(place.get_or_insert_default()),
        None => *place = None,
    }
}

/// A text of at most [`MAX_NAME_BYTES`]; blank means absent.
fn named<'a>(field: Field, value: &'a Scalar<'_>, expected: &str) -> Result<Option<Named<'a>>, String> {
    if value.is_blank() {
        return Ok(None);
    }
    let Scalar::Text(text) = value else {
        return Err(format!("`{}` is {}; write {expected}", field.name(), value.what()));
    };
    if text.len() > MAX_NAME_BYTES {
        return Err(too_long(field.name(), text.len()));
    }
    Ok(Some(Named::Text(text)))
}

fn too_long(name: impl Display, bytes: usize) -> String {
    format!("`{name}` is {bytes} bytes long; at most {MAX_NAME_BYTES} are allowed")
}

fn derive_id(arrival: &Arrival<'_>, id: &mut CompactString) {
    id.clear();
    let _ = write!(id, "{}/{}/{}", arrival.topic, arrival.partition, arrival.offset);
}

fn instant(written: &Scalar<'_>, unit: Unit, zone: Option<&Zone>) -> Result<Timestamp, String> {
    let read = match (written, unit) {
        _ if written.is_blank() => return Err("no `occurred_at`: it must say when it happened".to_owned()),
        (Scalar::Text(text), _) => Timestamp::read(text, zone),
        (Scalar::Whole(number), Unit::ByMagnitude) => Timestamp::of_whole(*number),
        // Saturating: what does not fit is far outside what is accepted anyway.
        (Scalar::Whole(millis), Unit::Milliseconds) => {
            Ok(Timestamp::from_millis(i64::try_from(*millis).unwrap_or(if *millis < 0 { i64::MIN } else { i64::MAX })))
        }
        (Scalar::Number(number), Unit::ByMagnitude) if number.is_finite() => Timestamp::of_number(*number),
        (Scalar::Number(millis), Unit::Milliseconds) if millis.is_finite() => Ok(Timestamp::from_millis(*millis as i64)),
        (Scalar::Null | Scalar::Number(_) | Scalar::Flag(_) | Scalar::Object | Scalar::List, _) => {
            let what = written.what();
            return Err(format!("`occurred_at` is {what}; write an RFC 3339 text, or seconds or milliseconds since 1970"));
        }
    };
    read.map_err(|error| format!("`occurred_at`: {error}"))
}

/// Properties as they come in, under the limit of how many are kept. They are kept in place of those that a touchpoint had
/// before.
#[derive(Debug)]
pub(super) struct Properties<'a> {
    wanted: &'a Wanted,
    places: &'a mut Vec<(CompactString, Value)>,
    /// So many places are taken by properties of this record.
    kept: usize,
    /// So many may be taken.
    most: usize,
    losses: Lost,
    /// What was summed up over lists, by the place of the sum among those that are wanted; how a part of it is written that is no
    /// number, where there is one.
    totals: Vec<(usize, Result<f64, CompactString>)>,
}

/// Where not all are wanted, names that come again and again take places until so many are taken, and then give them back.
const SOME: usize = 32;

impl<'a> Properties<'a> {
    pub(super) fn new(limits: Limits, wanted: &'a Wanted, places: &'a mut Vec<(CompactString, Value)>) -> Self {
        let most = wanted.most().map_or(limits.properties, |names| names.saturating_mul(2).max(SOME));
        Properties { wanted, places, kept: 0, most, losses: None, totals: Vec::new() }
    }

    /// What is wanted of an entry of the source.
    pub(super) fn meet(&mut self, name: &str) -> Interest {
        let interest = self.wanted.interest(name);
        if name.len() > MAX_NAME_BYTES && interest != Interest::NONE {
            lose(&mut self.losses, Loss::Name);
            return Interest::NONE;
        }
        interest
    }

    /// Keeps a value. What is no value (nothing, lists, numbers that are none) is dropped; long texts are cut. What is
    /// nothing of what is expected is kept, and told.
    pub(super) fn keep(&mut self, name: &str, written: &Scalar<'_>, expected: Expected) {
        let digits;
        let value = match written {
            Scalar::Text(text) => {
                if text.len() > MAX_TEXT_BYTES {
                    lose(&mut self.losses, Loss::Long);
                }
                Part::Text(cut(text, MAX_TEXT_BYTES))
            }
            Scalar::Whole(number) if number.abs() < INEXACT && !expected.is_text() => {
                Part::Other(Value::Number(*number as f64))
            }
            Scalar::Whole(number) => {
                digits = number.to_compact_string();
                Part::Text(&digits)
            }
            Scalar::Number(number) if number.is_finite() => Part::Other(Value::Number(*number)),
            Scalar::Flag(flag) => Part::Other(Value::Flag(*flag)),
            Scalar::Null => return,
            Scalar::Number(_) => return lose(&mut self.losses, Loss::Number),
            Scalar::Object | Scalar::List => {
                if let Some(words) = expected.in_words() {
                    self.misfit(name, words, written);
                }
                return;
            }
        };
        if self.kept == self.most && !self.make_room() {
            return lose(&mut self.losses, Loss::Limit);
        }
        match (self.places.get_mut(self.kept), value) {
            (Some((place, Value::Text(known))), Part::Text(text)) => {
                put_text(name, place);
                put_text(text, known);
            }
            (Some((place, known)), value) => {
                put_text(name, place);
                *known = value.into();
            }
            (None, value) => self.places.push((name.into(), value.into())),
        }
        if let Some(words) = expected.misses(&self.places[self.kept].1) {
            self.misfit(name, words, written);
        }
        self.kept += 1;
    }

    #[cold]
    fn misfit(&mut self, property: &str, expected: &'static str, written: &Scalar<'_>) {
        self.tell_misfit(property, expected, example(written));
    }

    fn tell_misfit(&mut self, property: &str, expected: &'static str, example: CompactString) {
        let misfits = &mut self.losses.get_or_insert_default().misfits;
        if misfits.iter().all(|known| known.property != property) {
            misfits.push(Misfit { property: property.into(), expected, example });
        }
    }

    /// Gives back the places of names that came again; says whether there were any. Of all that are wanted there are fewer
    /// than places.
    #[cold]
    fn make_room(&mut self) -> bool {
        self.places.truncate(self.kept);
        sort_by_name(self.places);
        let before = std::mem::replace(&mut self.kept, self.places.len());
        self.kept < before
    }

    /// What is wanted.
    pub(super) fn wanted(&self) -> &'a Wanted {
        self.wanted
    }

    /// Keeps what was summed up over a list, for where the record has no property of the sum's name. The place is the sum's among those
    /// that are wanted.
    pub(super) fn keep_total(&mut self, place: usize, total: f64) {
        self.totals.push((place, Ok(total)));
    }

    /// A part of a sum is no number, so that there is none; for where the record has no property of the sum's name.
    pub(super) fn miss_total(&mut self, place: usize, written: &CompactString) {
        self.totals.push((place, Err(written.clone())));
    }

    fn settle_sums(&mut self) {
        for (place, total) in std::mem::take(&mut self.totals) {
            let sum = &self.wanted.sums()[place];
            if self.places[..self.kept].iter().any(|(name, value)| *name == sum.name && !value.is_blank()) {
                continue;
            }
            match total {
                Ok(total) => self.keep(&sum.name, &Scalar::Number(total), self.wanted.interest(&sum.name).expected),
                Err(written) => self.tell_misfit(&sum.name, sum.expected(), written),
            }
        }
    }

    /// Forgets the record so far, to read it anew.
    pub(super) fn restart(&mut self) {
        self.kept = 0;
        self.totals.clear();
        self.losses = None;
    }

    /// The same, to read it as it was mended.
    pub(super) fn begin_anew(&mut self, mended: &Mended) {
        self.restart();
        for (loss, count) in [(Loss::Text, mended.texts), (Loss::Number, mended.numbers)] {
            if count > 0 {
                self.losses.get_or_insert_default().add(loss, count);
            }
        }
    }

    /// Forgets what came before: a second `properties` object replaces the first.
    pub(super) fn clear(&mut self) {
        self.kept = 0;
        self.totals.clear();
    }

    /// Ends the reading: sorts what was kept, and says what was lost.
    pub(super) fn end(mut self) -> Lost {
        if !self.totals.is_empty() {
            self.settle_sums();
        }
        self.places.truncate(self.kept);
        sort_by_name(self.places);
        if self.wanted.needs_currency() {
            self.ask_for_currency();
        }
        self.losses
    }

    /// An amount is none without a currency, of its own or of the model.
    fn ask_for_currency(&mut self) {
        if self.places.iter().any(|(name, value)| name == CURRENCY && !value.is_blank()) {
            return;
        }
        let lacks = |(name, value): &&(CompactString, Value)| {
            !value.is_blank() && self.wanted.interest(name).expected.lacks_currency()
        };
        let lacking: Vec<(CompactString, CompactString)> =
            self.places.iter().filter(lacks).map(|(name, value)| (name.clone(), example(&as_written(value)))).collect();
        for (name, written) in lacking {
            self.tell_misfit(&name, "an amount with a `currency`, beside it or in the model", written);
        }
    }
}

/// The name of a property within the one that is named `above`.
pub(super) fn dotted<'a>(above: &str, key: &'a str, path: &'a mut CompactString) -> &'a str {
    if above.is_empty() {
        return key;
    }
    path.clear();
    path.push_str(above);
    path.push('.');
    path.push_str(key);
    path
}

/// Sorts by name, each once; of several the last counts.
pub(super) fn sort_by_name<N: Ord, T>(entries: &mut Vec<(N, T)>) {
    if entries.is_sorted_by(|(left, _), (right, _)| left < right) {
        return;
    }
    entries.sort_by(|(left, _), (right, _)| left.cmp(right));
    entries.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            std::mem::swap(later, earlier);
        }
        same
    });
}

/// A value whose text is still borrowed.
enum Part<'a> {
    Text(&'a str),
    Other(Value),
}

impl From<Part<'_>> for Value {
    fn from(part: Part<'_>) -> Value {
        match part {
            Part::Text(text) => Value::Text(text.into()),
            Part::Other(value) => value,
        }
    }
}

fn as_written(value: &Value) -> Scalar<'_> {
    match value {
        Value::Text(text) => Scalar::Text(Cow::Borrowed(text)),
        Value::Number(number) => Scalar::Number(*number),
        Value::Flag(flag) => Scalar::Flag(*flag),
    }
}

/// How a value is written, so that somebody finds it again.
pub(super) fn example(value: &Scalar<'_>) -> CompactString {
    match value {
        Scalar::Text(text) => {
            let shown = cut(text, EXAMPLE_BYTES);
            compact_str::format_compact!("{shown:?}{}", if shown.len() < text.len() { "…" } else { "" })
        }
        Scalar::Whole(number) => compact_str::format_compact!("{number}"),
        Scalar::Number(number) => compact_str::format_compact!("{number}"),
        Scalar::Flag(flag) => compact_str::format_compact!("{flag}"),
        Scalar::Null | Scalar::Object | Scalar::List => value.what().into(),
    }
}

/// The beginning of a text, of at most so many bytes.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}
