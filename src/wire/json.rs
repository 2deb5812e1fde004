//! Reading JSON: one pass from bytes to what was written, without a tree between. `scan` reads what is written as usual,
//! `serde_json` the rest, and all that is at fault.
//!
//! Objects within `properties` become dotted names down to a depth; lists are dropped. What is not looked at, or wanted by
//! nobody, is skipped by `serde_json` without recursion, and what is looked at is never deeper than [`MAX_DEPTH`]. Texts
//! without escapes are borrowed from the record.

use std::borrow::Cow;
use std::fmt;

use compact_str::CompactString;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::scan;
use super::sums::SumOver;
use super::tree::{Key, Node, Single};
use super::wanted::Interest;
use super::written::{Field, MAX_DEPTH, NO_OBJECT, Properties, Scalar, Written, dotted};

/// Reads a record with the canonical field names.
pub(super) fn read<'a>(bytes: &'a [u8], written: &mut Written<'a>, properties: &mut Properties<'_>) -> Result<(), String> {
    let text = text(bytes)?;
    if scan::read(text, written, properties).is_some() {
        return Ok(());
    }
    *written = Written::default();
    properties.restart();
    read_anything(text, written, properties)
}

/// The same for records of any kind.
pub(super) fn read_anything<'a>(
    text: &'a str,
    written: &mut Written<'a>,
    properties: &mut Properties<'_>,
) -> Result<(), String> {
    let mut fault = None;
    let mut source = serde_json::Deserializer::from_str(text);
    let record = Record { written, properties, fault: &mut fault };
    record.deserialize(&mut source).and_then(|()| source.end()).map_err(|error| fault.unwrap_or_else(|| reason(&error)))
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
struct Record<'a, 'r, 'p> {
    written: &'a mut Written<'r>,
    properties: &'a mut Properties<'p>,
    fault: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Record<'_, 'de, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<(), D::Error> {
        source.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Record<'_, 'de, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Name)? {
            match name {
                Known::Field(field) => self.written.set(field, map.next_value_seed(Single)?),
                Known::Properties => {
                    self.properties.clear();
                    map.next_value_seed(Inside::all(self.properties, self.fault))?;
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

/// The value of `properties`, at depth 0, or of the property `name` within.
struct Inside<'a, 'p> {
    properties: &'a mut Properties<'p>,
    name: &'a str,
    depth: usize,
    interest: Interest,
    fault: &'a mut Option<String>,
}

impl<'a, 'p> Inside<'a, 'p> {
    fn all(properties: &'a mut Properties<'p>, fault: &'a mut Option<String>) -> Self {
        let interest = Interest { within: true, ..Interest::NONE };
        Inside { properties, name: "", depth: 0, interest, fault }
    }

    fn keep<E: Error>(self, value: Scalar<'_>) -> Result<(), E> {
        if self.depth > 0 {
            if self.interest.value {
                self.properties.keep(self.name, &value, self.interest.expected);
            }
            return Ok(());
        }
        match value {
            Scalar::Null => Ok(()),
            Scalar::Text(_) | Scalar::Whole(_) | Scalar::Number(_) | Scalar::Flag(_) | Scalar::Object | Scalar::List => {
                Err(refuse(self.fault, NO_OBJECT.to_owned()))
            }
        }
    }
}

impl Inside<'_, '_> {
    /// Passes over a value that is not wanted. What it holds does not matter, down to numbers and escapes that nobody could
    /// read; but if it is an object, some of its entries may be wanted.
    fn skip<E: Error>(self, skipped: &RawValue) -> Result<(), E> {
        let looked_into = match skipped.get().as_bytes().first() {
            Some(b'{') => self.interest.within && self.depth < MAX_DEPTH,
            Some(b'[') => self.interest.summed,
            _ => false,
        };
        if !looked_into {
            return Ok(());
        }
        let Inside { properties, name, depth, interest, fault } = self;
        let inside = Inside { properties, name, depth, interest, fault: &mut *fault };
        inside.deserialize(&mut serde_json::Deserializer::from_str(skipped.get())).map_err(|error| {
            let reason = fault.take().unwrap_or_else(|| reason(&error));
            refuse(fault, reason)
        })
    }
}

/// Ends the reading; what `serde_json` says then is replaced by the fault.
fn refuse<E: Error>(fault: &mut Option<String>, reason: String) -> E {
    *fault = Some(reason);
    E::custom("refused")
}

impl<'de> DeserializeSeed<'de> for Inside<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<(), D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Inside<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("properties")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Inside { properties, name: above, depth, interest, fault } = self;
        let Interest { within: wanted, value, expected, .. } = interest;
        if depth > 0 && value && !wanted {
            // An object where a value is read is none; without entries it says nothing.
            if map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                properties.keep(above, &Scalar::Object, expected);
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            }
            return Ok(());
        }
        if depth == MAX_DEPTH {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        let mut path = CompactString::default();
        while let Some(key) = map.next_key_seed(Key)? {
            let (name, interest) = match wanted {
                true => {
                    let name = dotted(above, &key, &mut path);
                    (name, properties.meet(name))
                }
                false => (above, Interest::NONE),
            };
            let inside = Inside { properties, name, depth: depth + 1, interest, fault };
            if interest.value {
                map.next_value_seed(inside)?;
            } else {
                inside.skip(map.next_value()?)?;
            }
        }
        Ok(())
    }

    /// An empty list says nothing, and is how PHP writes an object without entries.
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if self.interest.summed {
            let mut sums = SumOver::all(self.properties, self.name);
            while let Some(part) = list.next_element::<Node<'_>>()? {
                sums.iter_mut().for_each(|sum| sum.add(&part));
            }
            sums.iter().for_each(|sum| sum.keep(self.properties));
            return Ok(());
        }
        if list.next_element::<IgnoredAny>()?.is_none() {
            return Ok(());
        }
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
        self.keep(Scalar::Text(Cow::Borrowed(text)))
    }
}
