//! Reading JSON: one pass from bytes to what was written, without a tree between.
//!
//! Objects within `properties` become dotted names down to a depth; lists are dropped. What is not looked at is skipped by
//! `serde_json` without recursion, and what is looked at is never deeper than [`MAX_DEPTH`].

use std::fmt;

use compact_str::CompactString;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use super::Limits;
use super::written::{Field, Properties, Scalar, Written};

/// Dotted names have at most so many parts; objects further down are dropped.
const MAX_DEPTH: usize = 4;

/// Reads a record with the canonical field names.
pub(super) fn read(bytes: &[u8], limits: Limits) -> Result<Written, String> {
    let text = text(bytes)?;
    let mut written = Written::new(limits);
    let mut fault = None;
    let mut source = serde_json::Deserializer::from_str(text);
    let record = Record { written: &mut written, fault: &mut fault };
    match record.deserialize(&mut source).and_then(|()| source.end()) {
        Ok(()) => Ok(written),
        Err(error) => Err(fault.unwrap_or_else(|| reason(&error))),
    }
}

/// Checks once that it is text, which is cheaper than string by string.
pub(super) fn text(bytes: &[u8]) -> Result<&str, String> {
    if bytes.starts_with(&[0xC3, 0x01]) {
        return Err("not JSON: it begins like Avro's single-object encoding (C3 01)".to_owned());
    }
    std::str::from_utf8(bytes).map_err(|fault| format!("not JSON: no UTF-8 at byte {}", fault.valid_up_to()))
}

/// Why `serde_json` could not read it. Its words on syntax quote nothing; those on data would, and mean only one thing here.
pub(super) fn reason(error: &serde_json::Error) -> String {
    match error.classify() {
        Category::Data => "not a touchpoint: a JSON object is expected".to_owned(),
        Category::Eof => format!("not JSON: it ends too early, at line {} column {}", error.line(), error.column()),
        Category::Syntax | Category::Io => format!("not JSON: {error}"),
    }
}

/// The whole record.
struct Record<'a> {
    written: &'a mut Written,
    fault: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Record<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<(), D::Error> {
        source.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Record<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Name)? {
            match name {
                Known::Field(field) => self.written.set(field, map.next_value_seed(Single)?),
                Known::Properties => {
                    self.written.properties.clear();
                    let mut path = String::new();
                    let inside = Inside::all(&mut self.written.properties, &mut path, self.fault);
                    map.next_value_seed(inside)?;
                }
                Known::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// What a key of the record is.
enum Known {
    Field(Field),
    Properties,
    Other,
}

struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Known;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Known, D::Error> {
        source.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Known;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Known, E> {
        Ok(match Field::of(name) {
            Some(field) => Known::Field(field),
            None if name == "properties" => Known::Properties,
            None => Known::Other,
        })
    }
}

/// Any one value; of objects and lists only that they are.
pub(super) struct Single;

impl<'de> DeserializeSeed<'de> for Single {
    type Value = Scalar;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Scalar, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Single {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Scalar, E> {
        Ok(Scalar::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Scalar, E> {
        Ok(Scalar::Flag(flag))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Scalar, E> {
        Ok(Scalar::Whole(number.into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Scalar, E> {
        Ok(Scalar::Whole(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(CompactString::new(text)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Scalar, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::List)
    }
}

/// The value of `properties`, or of a property within: `path` is its dotted name so far.
pub(super) struct Inside<'a> {
    properties: &'a mut Properties,
    path: &'a mut String,
    depth: usize,
    fault: &'a mut Option<String>,
}

impl<'a> Inside<'a> {
    /// The object of all properties.
    pub(super) fn all(properties: &'a mut Properties, path: &'a mut String, fault: &'a mut Option<String>) -> Self {
        Inside { properties, path, depth: 0, fault }
    }

    /// The property whose name is `path`.
    pub(super) fn named(properties: &'a mut Properties, path: &'a mut String, fault: &'a mut Option<String>) -> Self {
        Inside { properties, path, depth: 1, fault }
    }

    fn keep<E: Error>(self, value: Scalar) -> Result<(), E> {
        if self.depth > 0 {
            self.properties.keep(self.path, value);
            return Ok(());
        }
        match value {
            Scalar::Null => Ok(()),
            Scalar::Text(_) | Scalar::Whole(_) | Scalar::Number(_) | Scalar::Flag(_) | Scalar::Object | Scalar::List => {
                *self.fault = Some("`properties` is no object; write it as {\"name\": value, …}".to_owned());
                Err(E::custom("no object"))
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Inside<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<(), D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Inside<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("properties")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if self.depth == MAX_DEPTH {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        let above = self.path.len();
        while map.next_key_seed(Append(self.path))?.is_some() {
            if let Err(fault) = self.properties.count(self.path) {
                *self.fault = Some(fault);
                return Err(A::Error::custom("beyond the limits"));
            }
            map.next_value_seed(Inside {
                properties: self.properties,
                path: self.path,
                depth: self.depth + 1,
                fault: self.fault,
            })?;
            self.path.truncate(above);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<(), A::Error> {
        let list = Single.visit_seq(list)?;
        self.keep(list)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.keep(Scalar::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<(), E> {
        self.keep(Scalar::Flag(flag))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.keep(Scalar::Whole(number.into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.keep(Scalar::Whole(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.keep(Scalar::Number(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.keep(Scalar::Text(CompactString::new(text)))
    }
}

/// Appends a key to the dotted name.
struct Append<'a>(&'a mut String);

impl<'de> DeserializeSeed<'de> for Append<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<(), D::Error> {
        source.deserialize_str(self)
    }
}

impl Visitor<'_> for Append<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<(), E> {
        if !self.0.is_empty() {
            self.0.push('.');
        }
        self.0.push_str(name);
        Ok(())
    }
}
