//! A posted body to entries of the embedded log: split, checked, each with an id. All or nothing, with every fault named.
//!
//! A touchpoint's bytes are stored as they came, so that the worker reads what the client wrote; only an id that is
//! missing is put in.

use std::borrow::Cow;
use std::fmt;

use compact_str::{CompactString, format_compact};
use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Service;
use super::problem::{Kind, Problem};
use crate::embedded::{Entering, Entry};
use crate::time::Timestamp;
use crate::wire::{self, Arrival, Decoded, Mapping};

/// Touchpoints in one request.
pub(super) const MOST: usize = 10_000;
/// Faults named in one answer.
const FAULTS: usize = 100;

/// How the body says where one touchpoint ends and the next begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One a line, whatever the lines say.
    Lines,
    /// To be seen from the body: an array, one object, or lines.
    Any,
}

/// What becomes of a batch that holds touchpoints that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnUnusable {
    /// All of it is refused.
    Refuse,
    /// They go to the dead letters, the others are taken.
    DeadLetter,
}

/// What a batch is read by.
pub(super) struct Terms<'a> {
    pub(super) service: &'a Service,
    pub(super) shape: Shape,
    pub(super) on_unusable: OnUnusable,
    pub(super) entering: Entering,
    /// Gives ids to touchpoints that have none.
    pub(super) key: Option<&'a str>,
}

/// A checked batch.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) entries: Vec<Entry>,
    /// How many of them cannot be used.
    pub(super) unusable: usize,
}

/// Reads a body.
///
/// # Errors
/// A body that cannot be split, or holds what cannot be stored.
pub(super) fn read(body: &[u8], terms: &Terms<'_>) -> Result<Batch, Problem> {
    let mended;
    let parts = match split(body, terms.shape) {
        Ok(parts) => parts,
        Err(problem) => {
            mended = wire::without_bad_numbers(body).ok_or(problem)?;
            split(mended.as_bytes(), terms.shape)?
        }
    };
    let now = (terms.service.now)();
    let mut batch = Batch { entries: Vec::with_capacity(parts.len()), unusable: 0 };
    let mut faults = Faults::default();
    for (index, bytes) in parts.into_iter().enumerate() {
        match entry(bytes, index, now, terms) {
            Ok(entry) => batch.entries.push(entry),
            Err(Fault::NoId) => faults.add(index, "it has no id"),
            Err(Fault::Unusable(reason)) => match terms.on_unusable {
                OnUnusable::Refuse => {
                    faults.unusable = true;
                    faults.add(index, &reason);
                }
                OnUnusable::DeadLetter => {
                    batch.unusable += 1;
                    let id = terms.key.map(|key| given_id(key, index));
                    batch.entries.push(Entry { identity: None, id, event_time: now, value: bytes.to_vec() });
                }
            },
        }
    }
    if faults.count > 0 {
        return Err(faults.problem());
    }
    if terms.entering == Entering::History {
        date(&mut batch.entries);
    }
    Ok(batch)
}

/// Gives touchpoints of a history that cannot be used the time of their neighbours, as log time is event time there.
fn date(entries: &mut [Entry]) {
    let usable = |entry: &Entry| entry.identity.is_some().then_some(entry.event_time);
    let mut time = entries.iter().find_map(usable).unwrap_or_default();
    for entry in entries {
        match usable(entry) {
            Some(own) => time = time.max(own),
            None => entry.event_time = time,
        }
    }
}

enum Fault {
    NoId,
    Unusable(String),
}

fn entry(bytes: &[u8], index: usize, now: Timestamp, terms: &Terms<'_>) -> Result<Entry, Fault> {
    let decoded = decode(bytes, now, terms.service)?;
    if decoded.touchpoint.id_given {
        return Ok(whole(decoded, bytes.to_vec()));
    }
    let Some(key) = terms.key else { return Err(Fault::NoId) };
    let id = given_id(key, index);
    let path = terms.service.mapping.as_ref().map_or("event_id", Mapping::event_id_path);
    let elsewhere = || Fault::Unusable(format!("no id can be put where the mapping reads it ({path})"));
    let bytes = with_id(bytes, path, &id).ok_or_else(elsewhere)?;
    // Read again, as the worker will: only so it is certain that the id is found where it was put.
    let decoded = decode(&bytes, now, terms.service)?;
    if decoded.touchpoint.id_given && decoded.touchpoint.id == id { Ok(whole(decoded, bytes)) } else { Err(elsewhere()) }
}

fn decode(bytes: &[u8], now: Timestamp, service: &Service) -> Result<Decoded, Fault> {
    let arrival = Arrival { log_time: now, topic: "touchpoints", partition: 0, offset: 0, limits: service.limits };
    wire::decode(service.format, service.mapping.as_ref(), bytes, &arrival).map_err(Fault::Unusable)
}

fn whole(decoded: Decoded, value: Vec<u8>) -> Entry {
    let touchpoint = decoded.touchpoint;
    // The same id with another type is no repeat (rule 17); no id or type has a line break where a sender meant one.
    let id = format_compact!("{}\n{}", touchpoint.kind, touchpoint.id);
    Entry { identity: Some(touchpoint.identity), id: Some(id), event_time: touchpoint.event_time, value }
}

fn given_id(key: &str, index: usize) -> CompactString {
    format_compact!("{key}#{index}")
}

/// The object with an id at a dotted path, objects on the way made where they are missing; `None` where something else is in the
/// way. The id is put behind all members of the last object on the way, where the last of one name counts: nothing is taken
/// apart, which would take many times the room of what is written.
fn with_id(bytes: &[u8], path: &str, id: &str) -> Option<Vec<u8>> {
    let mended;
    let text = match serde_json::from_slice::<&RawValue>(bytes) {
        Ok(record) => record.get(),
        Err(_) => {
            mended = wire::without_bad_numbers(bytes)?;
            mended.trim()
        }
    };
    let (mut object, mut path) = (text, path);
    loop {
        let (key, within) = path.split_once('.').map_or((path, None), |(key, within)| (key, Some(within)));
        let known = Member(key).deserialize(&mut serde_json::Deserializer::from_str(object)).ok()?.map(RawValue::get);
        match (known, within) {
            (None | Some("null"), _) => break,
            (Some(value), Some(within)) if value.starts_with('{') => (object, path) = (value, within),
            (Some(value), None) if !value.starts_with(['{', '[']) => break,
            (Some(_), _) => return None,
        }
    }
    let end = object.as_ptr() as usize - text.as_ptr() as usize + object.len() - "}".len();
    let before = if object[1..object.len() - 1].trim().is_empty() { "" } else { "," };
    let member = path.rsplit('.').fold(json!(id), |within, key| json!({ key: within })).to_string();
    let member = member.strip_prefix('{')?.strip_suffix('}')?;
    Some([&text[..end], before, member, &text[end..]].concat().into_bytes())
}

/// Looks for the last member of this name in an object.
struct Member<'k>(&'k str);

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Self::Value, D::Error> {
        source.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key == self.0 {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

#[derive(Default)]
struct Faults {
    named: Vec<Value>,
    count: usize,
    unusable: bool,
}

impl Faults {
    fn add(&mut self, index: usize, reason: &str) {
        self.count += 1;
        if self.named.len() < FAULTS {
            self.named.push(json!({"index": index, "reason": reason}));
        }
    }

    fn problem(self) -> Problem {
        let (kind, detail) = if self.unusable {
            let detail = "Correct the touchpoints listed here (the first 100), or send them to the dead letters with \
                          ?unusable=dead-letter. Nothing was stored.";
            (Kind::Unusable, detail)
        } else {
            let detail = "Give each touchpoint an id, or send an Idempotency-Key header (1 to 128 visible ASCII characters, \
                          the same when you try again), from which ids are made. Nothing was stored.";
            (Kind::NoKey, detail)
        };
        Problem::new(kind, detail).with("faults", self.named.into()).with("fault_count", self.count.into())
    }
}

/// The bytes of each touchpoint.
fn split(body: &[u8], shape: Shape) -> Result<Vec<&[u8]>, Problem> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
    match (body.first(), shape) {
        (None, _) => {
            Err(Problem::new(Kind::BadBody, "The body is empty; send one JSON object, an array of them, or one a line."))
        }
        (Some(b'['), Shape::Any) => elements(body),
        (Some(_), Shape::Any) if is_one_value(body) => Ok(vec![body]),
        (Some(_), Shape::Any | Shape::Lines) => lines(body),
    }
}

fn is_one_value(body: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(body).is_ok()
}

fn lines(body: &[u8]) -> Result<Vec<&[u8]>, Problem> {
    let mut parts = Vec::new();
    for line in body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
        push(&mut parts, line)?;
    }
    Ok(parts)
}

/// The elements of an array, as they are written.
fn elements(body: &[u8]) -> Result<Vec<&[u8]>, Problem> {
    let mut parts = Vec::new();
    let mut at = 1;
    loop {
        at += blanks(&body[at..]);
        if parts.is_empty() && body.get(at) == Some(&b']') {
            break;
        }
        let mut values = serde_json::Deserializer::from_slice(&body[at..]).into_iter::<IgnoredAny>();
        match values.next() {
            Some(Ok(IgnoredAny)) => {}
            Some(Err(_)) | None => return Err(broken(at)),
        }
        let end = at + values.byte_offset();
        push(&mut parts, &body[at..end])?;
        at = end + blanks(&body[end..]);
        match body.get(at) {
            Some(b',') => at += 1,
            Some(b']') => break,
            Some(_) | None => return Err(broken(at)),
        }
    }
    if at + 1 == body.len() { Ok(parts) } else { Err(broken(at + 1)) }
}

fn blanks(bytes: &[u8]) -> usize {
    bytes.len() - bytes.trim_ascii_start().len()
}

fn push<'a>(parts: &mut Vec<&'a [u8]>, part: &'a [u8]) -> Result<(), Problem> {
    if parts.len() == MOST {
        let detail = format!("a request may hold {MOST} touchpoints; send them in several");
        return Err(Problem::new(Kind::TooLarge, detail));
    }
    parts.push(part);
    Ok(())
}

fn broken(at: usize) -> Problem {
    Problem::new(Kind::BadBody, format!("The array is not JSON: see the value at byte {at}. Nothing was stored."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_split_as_it_is_written() {
        for (body, expected) in [
            ("{\"a\": 1}", vec!["{\"a\": 1}"]),
            ("{\n  \"a\": 1\n}\n", vec!["{\n  \"a\": 1\n}"]),
            ("{\"a\":1}\n{\"b\":2}\r\n\n", vec!["{\"a\":1}", "{\"b\":2}"]),
            ("\u{feff}{}", vec!["{}"]),
            ("[]", vec![]),
            (" [ {\"a\":[1,2]} , 3,\"x\" ,null] ", vec!["{\"a\":[1,2]}", "3", "\"x\"", "null"]),
            ("nonsense\n{}", vec!["nonsense", "{}"]),
        ] {
            let parts = split(body.as_bytes(), Shape::Any).expect(body);
            let parts: Vec<&str> = parts.into_iter().map(|part| std::str::from_utf8(part).expect("text")).collect();
            assert_eq!(parts, expected, "{body:?}");
        }
        assert_eq!(split(b"[1]\n{}", Shape::Lines).expect("lines").len(), 2);
    }

    #[test]
    fn arrays_that_are_not_json_are_refused_whole() {
        for body in ["", " \n", "[", "[1", "[1,", "[1,]", "[1 2]", "[1]2", "[,]", "[{]", "[1]]"] {
            assert!(split(body.as_bytes(), Shape::Any).is_err(), "{body:?} must not be split");
        }
        let many = format!("[{}1]", "1,".repeat(MOST));
        assert!(split(many.as_bytes(), Shape::Any).is_err(), "one more than there may be");
    }

    #[test]
    fn an_id_is_put_where_the_path_leads() {
        for (record, path, expected) in [
            (r#"{"a":1}"#, "event_id", Some(r#"{"a":1,"event_id":"k#0"}"#)),
            (r#"{"event_id":null} "#, "event_id", Some(r#"{"event_id":null,"event_id":"k#0"}"#)),
            (" { } ", "event_id", Some(r#"{ "event_id":"k#0"}"#)),
            (r#"{}"#, "meta.ids.event", Some(r#"{"meta":{"ids":{"event":"k#0"}}}"#)),
            (r#"{"meta":null}"#, "meta.id", Some(r#"{"meta":null,"meta":{"id":"k#0"}}"#)),
            (r#"{"meta":{"a":{"b":1}},"n":2}"#, "meta.a.id", Some(r#"{"meta":{"a":{"b":1,"id":"k#0"}},"n":2}"#)),
            (r#"{"meta":{"id":"old"}}"#, "meta.id", Some(r#"{"meta":{"id":"old","id":"k#0"}}"#)),
            (r#"{"event_id":[]}"#, "event_id", None),
            (r#"{"meta":3}"#, "meta.id", None),
            (r#"{"meta":{"id":[]}}"#, "meta.id", None),
            (r#"{"a":NaN}"#, "meta.id", Some(r#"{"a":null,"meta":{"id":"k#0"}}"#)),
            ("3", "event_id", None),
        ] {
            let bytes = with_id(record.as_bytes(), path, "k#0");
            assert_eq!(bytes.as_deref(), expected.map(str::as_bytes), "{record} at {path}");
        }
    }
}
