//! Writing fields: the same statements write JSON and Avro, so that the two cannot drift apart.
//!
//! Avro has no names in its bytes: fields must be written in the order of the schema file. What is absent is null in both.
//! Outcomes are written for each touchpoint that moves something, so nothing is allocated here but room at the end.

use std::fmt::{self, Display, Write};

use crate::time::{Timestamp, WRITTEN_BYTES};
use crate::touchpoint::{Money, Value};

use super::avro;
use super::scan::first_special;

/// The name of a field, made ready for JSON by [`name!`].
#[derive(Clone, Copy)]
pub(super) struct Name {
    /// What stands before the value, with the comma after the field before.
    before: &'static str,
    /// The whole field where it is null.
    null: &'static str,
}

impl Name {
    /// To be called by [`name!`], which knows the parts to belong together.
    pub(super) const fn of(before: &'static str, null: &'static str) -> Name {
        Name { before, null }
    }
}

/// The name of a field, which needs no escapes.
macro_rules! name {
    ($name:literal) => {
        const { $crate::wire::fields::Name::of(concat!(",\"", $name, "\":"), concat!(",\"", $name, "\":null")) }
    };
}
pub(super) use name;

/// Something that fields can be written to, one after the other.
pub(super) trait Fields {
    fn text(&mut self, name: Name, value: &str);
    /// The text that a value is shown as.
    fn shown(&mut self, name: Name, value: &dyn Display);
    fn whole(&mut self, name: Name, value: i64);
    fn flag(&mut self, name: Name, value: bool);
    fn instant(&mut self, name: Name, value: Timestamp);
    /// An exact amount.
    fn amount(&mut self, name: Name, value: Money);
    /// A list of texts.
    fn list(&mut self, name: Name, texts: &[impl AsRef<str>]);
    /// Lists of texts by name, of pairs of a name and a text.
    fn texts(&mut self, name: Name, pairs: &[(impl AsRef<str>, impl AsRef<str>)]);
    /// Texts by names of which each stands once.
    fn by_name(&mut self, name: Name, entries: &[(impl AsRef<str>, impl AsRef<str>)]);
    fn properties(&mut self, name: Name, entries: &[(impl AsRef<str>, Value)]);
    /// A value that may be null; `write` writes it as a field of the same name.
    fn or_null<T>(&mut self, name: Name, value: Option<T>, write: impl FnOnce(&mut Self, Name, T));
    /// A record within.
    fn record(&mut self, name: Name, write: impl FnOnce(&mut Self));

    fn text_or_null(&mut self, name: Name, value: Option<&str>) {
        self.or_null(name, value, Self::text);
    }

    fn whole_or_null(&mut self, name: Name, value: Option<i64>) {
        self.or_null(name, value, Self::whole);
    }

    fn instant_or_null(&mut self, name: Name, value: Option<Timestamp>) {
        self.or_null(name, value, Self::instant);
    }
}

/// The names of pairs, each once, in the order in which they come first. Pairs are few.
fn names<N: AsRef<str>, T>(pairs: &[(N, T)]) -> impl Iterator<Item = &str> + Clone {
    let is_first = |at: usize, name: &str| !pairs[..at].iter().any(|(earlier, _)| earlier.as_ref() == name);
    let all = pairs.iter().enumerate().map(|(at, (name, _))| (at, name.as_ref()));
    all.filter(move |(at, name)| is_first(*at, name)).map(|(_, name)| name)
}

/// The texts of one name.
fn texts_of<'a>(pairs: &'a [(impl AsRef<str>, impl AsRef<str>)], name: &'a str) -> impl Iterator<Item = &'a str> + Clone {
    pairs.iter().filter(move |(known, _)| known.as_ref() == name).map(|(_, text)| text.as_ref())
}

/// One JSON object without white space.
pub(super) struct Json<'a> {
    bytes: &'a mut Vec<u8>,
    /// No field of the object is written yet, and neither is its brace.
    begins: bool,
}

impl Json<'_> {
    /// Appends an object.
    pub(super) fn object(bytes: &mut Vec<u8>, write: impl FnOnce(&mut Json<'_>)) {
        let mut json = Json { bytes, begins: true };
        write(&mut json);
        json.close();
    }

    fn close(&mut self) {
        if self.begins {
            self.bytes.push(b'{');
        }
        self.bytes.push(b'}');
        self.begins = false;
    }

    /// Appends a field that is known as bytes, or the part of it before its value.
    fn known(&mut self, field: &'static str) {
        if self.begins {
            self.bytes.push(b'{');
            self.bytes.extend_from_slice(&field.as_bytes()[1..]);
            self.begins = false;
        } else {
            self.bytes.extend_from_slice(field.as_bytes());
        }
    }

    fn name(&mut self, name: Name) {
        self.known(name.before);
    }

    /// A name that is not known beforehand.
    fn key(&mut self, name: &str) {
        self.bytes.push(if self.begins { b'{' } else { b',' });
        self.begins = false;
        self.quoted(name);
        self.bytes.push(b':');
    }

    fn quoted(&mut self, text: &str) {
        quote(text, self.bytes);
    }

    fn quoted_list<'t>(&mut self, texts: impl Iterator<Item = &'t str>) {
        self.bytes.push(b'[');
        for (at, text) in texts.enumerate() {
            if at > 0 {
                self.bytes.push(b',');
            }
            self.quoted(text);
        }
        self.bytes.push(b']');
    }

    fn plain(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }
}

impl Fields for Json<'_> {
    fn text(&mut self, name: Name, value: &str) {
        self.name(name);
        self.quoted(value);
    }

    fn shown(&mut self, name: Name, value: &dyn Display) {
        self.name(name);
        self.bytes.push(b'"');
        // Writing to memory does not fail.
        let _ = write!(Escaped(self.bytes), "{value}");
        self.bytes.push(b'"');
    }

    fn flag(&mut self, name: Name, value: bool) {
        self.name(name);
        self.plain(if value { "true" } else { "false" });
    }

    fn whole(&mut self, name: Name, value: i64) {
        self.name(name);
        put_whole(value, self.bytes);
    }

    fn instant(&mut self, name: Name, value: Timestamp) {
        match value.write(&mut [0; WRITTEN_BYTES]) {
            Some(text) => {
                self.name(name);
                self.bytes.push(b'"');
                self.plain(text);
                self.bytes.push(b'"');
            }
            None => self.shown(name, &value),
        }
    }

    fn amount(&mut self, name: Name, value: Money) {
        self.name(name);
        put_amount(value.micros, self.bytes);
    }

    fn list(&mut self, name: Name, texts: &[impl AsRef<str>]) {
        self.name(name);
        self.quoted_list(texts.iter().map(AsRef::as_ref));
    }

    fn texts(&mut self, name: Name, pairs: &[(impl AsRef<str>, impl AsRef<str>)]) {
        self.record(name, |object| {
            for name in names(pairs) {
                object.key(name);
                object.quoted_list(texts_of(pairs, name));
            }
        });
    }

    fn by_name(&mut self, name: Name, entries: &[(impl AsRef<str>, impl AsRef<str>)]) {
        self.record(name, |object| {
            for (name, text) in entries {
                object.key(name.as_ref());
                object.quoted(text.as_ref());
            }
        });
    }

    fn properties(&mut self, name: Name, entries: &[(impl AsRef<str>, Value)]) {
        self.record(name, |object| {
            for (name, value) in entries {
                object.key(name.as_ref());
                match value {
                    Value::Text(text) => object.quoted(text),
                    Value::Flag(flag) => object.plain(if *flag { "true" } else { "false" }),
                    Value::Number(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
                        put_whole(*number as i64, object.bytes);
                    }
                    Value::Number(number) => drop(serde_json::to_writer(&mut *object.bytes, number)),
                }
            }
        });
    }

    fn or_null<T>(&mut self, name: Name, value: Option<T>, write: impl FnOnce(&mut Self, Name, T)) {
        match value {
            Some(value) => write(self, name, value),
            None => self.known(name.null),
        }
    }

    fn record(&mut self, name: Name, write: impl FnOnce(&mut Self)) {
        self.name(name);
        self.begins = true;
        write(self);
        self.close();
    }
}

/// Text within quotes of JSON.
struct Escaped<'a>(&'a mut Vec<u8>);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(text, self.0);
        Ok(())
    }
}

/// Appends a text in quotes.
pub(super) fn quote(text: &str, bytes: &mut Vec<u8>) {
    bytes.push(b'"');
    escape(text, bytes);
    bytes.push(b'"');
}

/// Appends a text with the escapes that JSON needs, in runs between them. The bytes are those of `serde_json`.
fn escape(text: &str, bytes: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    while let Some(at) = first_special(rest) {
        bytes.extend_from_slice(&rest[..at]);
        let short = match rest[at] {
            b'\x08' => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            b'\x0C' => b'f',
            b'\r' => b'r',
            other => other,
        };
        if short < 0x20 {
            let digits = b"0123456789abcdef";
            bytes.extend_from_slice(b"\\u00");
            bytes.push(digits[usize::from(short >> 4)]);
            bytes.push(digits[usize::from(short & 0xF)]);
        } else {
            bytes.extend_from_slice(&[b'\\', short]);
        }
        rest = &rest[at + 1..];
    }
    bytes.extend_from_slice(rest);
}

pub(super) fn put_whole(value: i64, bytes: &mut Vec<u8>) {
    if value < 0 {
        bytes.push(b'-');
    }
    put_digits(value.unsigned_abs(), bytes);
}

/// The shortest decimal number: `499`, `19.9`. Through a float, large amounts would change.
pub(super) fn put_amount(micros: i64, bytes: &mut Vec<u8>) {
    let (units, millionths) = (micros.unsigned_abs() / 1_000_000, micros.unsigned_abs() % 1_000_000);
    if micros < 0 {
        bytes.push(b'-');
    }
    put_digits(units, bytes);
    if millionths > 0 {
        bytes.push(b'.');
        let (mut place, mut rest) = (100_000, millionths);
        while rest > 0 {
            bytes.push(b'0' + (rest / place) as u8);
            rest %= place;
            place /= 10;
        }
    }
}

fn put_digits(mut value: u64, bytes: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len() - 1;
    while value > 9 {
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        at -= 1;
    }
    digits[at] = b'0' + value as u8;
    bytes.extend_from_slice(&digits[at..]);
}

/// One Avro datum: names are left out, the order is the schema's.
pub(super) struct Datum<'a>(pub(super) &'a mut Vec<u8>);

impl Datum<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        avro::put_long(bytes.len() as i64, self.0);
        self.0.extend_from_slice(bytes);
    }

    /// A map or an array: one block with its length, where there is something, and the end.
    fn block<T>(&mut self, entries: impl Iterator<Item = T> + Clone, mut write: impl FnMut(&mut Self, T)) {
        let count = entries.clone().count();
        if count > 0 {
            avro::put_long(count as i64, self.0);
            entries.for_each(|entry| write(self, entry));
        }
        avro::put_long(0, self.0);
    }
}

impl Fields for Datum<'_> {
    fn text(&mut self, _name: Name, value: &str) {
        self.bytes(value.as_bytes());
    }

    /// The length comes first and is known last: it is appended, and then turned to the front.
    fn shown(&mut self, _name: Name, value: &dyn Display) {
        let begin = self.0.len();
        let _ = write!(Plain(self.0), "{value}");
        let end = self.0.len();
        avro::put_long((end - begin) as i64, self.0);
        let length = self.0.len() - end;
        self.0[begin..].rotate_right(length);
    }

    fn flag(&mut self, _name: Name, value: bool) {
        self.0.push(u8::from(value));
    }

    fn whole(&mut self, _name: Name, value: i64) {
        avro::put_long(value, self.0);
    }

    fn instant(&mut self, _name: Name, value: Timestamp) {
        avro::put_long(value.as_millis(), self.0);
    }

    /// Avro's decimal with six digits after the point: the number of millionths, big-endian, in as few bytes as it needs.
    fn amount(&mut self, _name: Name, value: Money) {
        let all = value.micros.to_be_bytes();
        let sign = if value.micros < 0 { 0xFF } else { 0x00 };
        let superfluous = all.windows(2).take_while(|pair| pair[0] == sign && (pair[1] & 0x80) == (sign & 0x80)).count();
        self.bytes(&all[superfluous..]);
    }

    fn list(&mut self, _name: Name, texts: &[impl AsRef<str>]) {
        self.block(texts.iter(), |datum, text| datum.bytes(text.as_ref().as_bytes()));
    }

    fn texts(&mut self, _name: Name, pairs: &[(impl AsRef<str>, impl AsRef<str>)]) {
        self.block(names(pairs), |datum, name| {
            datum.bytes(name.as_bytes());
            datum.block(texts_of(pairs, name), |datum, text| datum.bytes(text.as_bytes()));
        });
    }

    fn by_name(&mut self, _name: Name, entries: &[(impl AsRef<str>, impl AsRef<str>)]) {
        self.block(entries.iter(), |datum, (name, text)| {
            datum.bytes(name.as_ref().as_bytes());
            datum.bytes(text.as_ref().as_bytes());
        });
    }

    fn properties(&mut self, _name: Name, entries: &[(impl AsRef<str>, Value)]) {
        self.block(entries.iter(), |datum, (name, value)| {
            datum.bytes(name.as_ref().as_bytes());
            match value {
                Value::Text(text) => {
                    avro::put_long(avro::BRANCH_STRING, datum.0);
                    datum.bytes(text.as_bytes());
                }
                Value::Number(number) => {
                    avro::put_long(avro::BRANCH_DOUBLE, datum.0);
                    datum.0.extend_from_slice(&number.to_le_bytes());
                }
                Value::Flag(flag) => {
                    avro::put_long(avro::BRANCH_BOOLEAN, datum.0);
                    datum.0.push(u8::from(*flag));
                }
            }
        });
    }

    /// Every union with null names null first.
    fn or_null<T>(&mut self, name: Name, value: Option<T>, write: impl FnOnce(&mut Self, Name, T)) {
        avro::put_long(i64::from(value.is_some()), self.0);
        if let Some(value) = value {
            write(self, name, value);
        }
    }

    fn record(&mut self, _name: Name, write: impl FnOnce(&mut Self)) {
        write(self);
    }
}

/// Text as it is.
struct Plain<'a>(&'a mut Vec<u8>);

impl fmt::Write for Plain<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn texts_and_numbers_are_as_serde_json_writes_them(
            text in "(\\PC|[\"\\\\\u{0}-\u{1f}\u{7f}]|[a-z0-9 ]{1,20}){0,6}",
            number in any::<i64>(),
        ) {
            let written = |write: &dyn Fn(&mut Vec<u8>)| {
                let mut bytes = Vec::new();
                write(&mut bytes);
                String::from_utf8(bytes).expect("text")
            };
            let judged = serde_json::to_string(&text).expect("a text");
            prop_assert_eq!(written(&|bytes| Json { bytes, begins: true }.quoted(&text)), judged.clone());
            let shown = written(&|bytes| Json { bytes, begins: false }.shown(name!("n"), &text));
            prop_assert_eq!(shown, format!(",\"n\":{judged}"));
            for number in [number, number >> 50, i64::MIN, i64::MAX] {
                prop_assert_eq!(written(&|bytes| put_whole(number, bytes)), number.to_string());
            }
        }

        #[test]
        fn avro_of_what_is_shown_is_that_of_its_text(text in "\\PC{0,90}", before in "[a-z]{0,9}") {
            let (mut shown, mut told) = (before.clone().into_bytes(), before.into_bytes());
            Datum(&mut shown).shown(name!("n"), &text);
            Datum(&mut told).text(name!("n"), &text);
            prop_assert_eq!(shown, told);
        }
    }

    #[test]
    fn texts_of_one_name_come_together() {
        let pairs = [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4"), ("b", "5")];
        assert_eq!(names(&pairs).collect::<Vec<_>>(), ["a", "b", "c"]);
        let mut bytes = Vec::new();
        Json::object(&mut bytes, |json| json.texts(name!("ids"), &pairs));
        assert_eq!(String::from_utf8(bytes).as_deref(), Ok(r#"{"ids":{"a":["1","3"],"b":["2","5"],"c":["4"]}}"#));
        let mut bytes = Vec::new();
        Datum(&mut bytes).texts(name!("ids"), &pairs[1..3]);
        assert_eq!(bytes, b"\x04\x02b\x02\x022\x00\x02a\x02\x023\x00\x00");
    }
}
