//! Writing fields: the same statements write JSON and Avro, so that the two cannot drift apart.
//!
//! Avro has no names in its bytes: fields must be written in the order of the schema file. What is absent is null in both.

use std::fmt::Display;
use std::io::Write;

use crate::time::Timestamp;
use crate::touchpoint::{Money, Value};

use super::avro;

/// Something that fields can be written to, one after the other.
pub(super) trait Fields {
    fn text(&mut self, name: &str, value: &str);
    fn whole(&mut self, name: &str, value: i64);
    fn instant(&mut self, name: &str, value: Timestamp);
    /// An exact amount.
    fn amount(&mut self, name: &str, value: Money);
    /// A list of texts.
    fn list(&mut self, name: &str, texts: &[&str]);
    /// Texts by name.
    fn texts(&mut self, name: &str, entries: &[(&str, Vec<&str>)]);
    fn properties(&mut self, name: &str, entries: &[(impl AsRef<str>, Value)]);
    /// A value that may be null; `write` writes it as a field of the same name.
    fn or_null<T>(&mut self, name: &str, value: Option<T>, write: impl FnOnce(&mut Self, &str, T));
    /// A record within.
    fn record(&mut self, name: &str, write: impl FnOnce(&mut Self));

    fn text_or_null(&mut self, name: &str, value: Option<&str>) {
        self.or_null(name, value, Self::text);
    }

    fn whole_or_null(&mut self, name: &str, value: Option<i64>) {
        self.or_null(name, value, Self::whole);
    }

    fn instant_or_null(&mut self, name: &str, value: Option<Timestamp>) {
        self.or_null(name, value, Self::instant);
    }
}

/// One JSON object without white space.
pub(super) struct Json<'a> {
    bytes: &'a mut Vec<u8>,
    /// Stands before the next name.
    separator: u8,
}

impl Json<'_> {
    /// Appends an object.
    pub(super) fn object(bytes: &mut Vec<u8>, write: impl FnOnce(&mut Json<'_>)) {
        let mut json = Json { bytes, separator: b'{' };
        write(&mut json);
        json.close();
    }

    fn close(&mut self) {
        if self.separator == b'{' {
            self.bytes.push(b'{');
        }
        self.bytes.push(b'}');
        self.separator = b',';
    }

    fn name(&mut self, name: &str) {
        self.bytes.push(self.separator);
        self.quoted(name);
        self.bytes.push(b':');
        self.separator = b',';
    }

    fn quoted(&mut self, text: &str) {
        // Writing a text to memory does not fail.
        let _ = serde_json::to_writer(&mut *self.bytes, text);
    }

    fn plain(&mut self, value: impl Display) {
        let _ = write!(self.bytes, "{value}");
    }
}

impl Fields for Json<'_> {
    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.quoted(value);
    }

    fn whole(&mut self, name: &str, value: i64) {
        self.name(name);
        self.plain(value);
    }

    fn instant(&mut self, name: &str, value: Timestamp) {
        self.name(name);
        self.plain(format_args!("\"{value}\""));
    }

    /// The shortest decimal number: `499`, `19.9`. Through a float, large amounts would change.
    fn amount(&mut self, name: &str, value: Money) {
        self.name(name);
        let (units, millionths) = (value.micros.unsigned_abs() / 1_000_000, value.micros.unsigned_abs() % 1_000_000);
        self.plain(format_args!("{}{units}", if value.micros < 0 { "-" } else { "" }));
        if millionths > 0 {
            let digits = format!("{millionths:06}");
            self.plain(format_args!(".{}", digits.trim_end_matches('0')));
        }
    }

    fn list(&mut self, name: &str, texts: &[&str]) {
        self.name(name);
        let _ = serde_json::to_writer(&mut *self.bytes, texts);
    }

    fn texts(&mut self, name: &str, entries: &[(&str, Vec<&str>)]) {
        self.record(name, |object| {
            for (name, texts) in entries {
                object.name(name);
                let _ = serde_json::to_writer(&mut *object.bytes, texts);
            }
        });
    }

    fn properties(&mut self, name: &str, entries: &[(impl AsRef<str>, Value)]) {
        self.record(name, |object| {
            for (name, value) in entries {
                object.name(name.as_ref());
                match value {
                    Value::Text(text) => object.quoted(text),
                    Value::Flag(flag) => object.plain(flag),
                    Value::Number(number) if number.fract() == 0.0 && number.abs() < 1e15 => object.plain(*number as i64),
                    Value::Number(number) => drop(serde_json::to_writer(&mut *object.bytes, number)),
                }
            }
        });
    }

    fn or_null<T>(&mut self, name: &str, value: Option<T>, write: impl FnOnce(&mut Self, &str, T)) {
        match value {
            Some(value) => write(self, name, value),
            None => {
                self.name(name);
                self.plain("null");
            }
        }
    }

    fn record(&mut self, name: &str, write: impl FnOnce(&mut Self)) {
        self.name(name);
        self.separator = b'{';
        write(self);
        self.close();
    }
}

/// One Avro datum: names are left out, the order is the schema's.
pub(super) struct Datum<'a>(pub(super) &'a mut Vec<u8>);

impl Datum<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        avro::put_long(bytes.len() as i64, self.0);
        self.0.extend_from_slice(bytes);
    }

    /// A map or an array: one block with its length, where there is something, and the end.
    fn block<T>(&mut self, entries: &[T], mut write: impl FnMut(&mut Self, &T)) {
        if !entries.is_empty() {
            avro::put_long(entries.len() as i64, self.0);
            entries.iter().for_each(|entry| write(self, entry));
        }
        avro::put_long(0, self.0);
    }
}

impl Fields for Datum<'_> {
    fn text(&mut self, _name: &str, value: &str) {
        self.bytes(value.as_bytes());
    }

    fn whole(&mut self, _name: &str, value: i64) {
        avro::put_long(value, self.0);
    }

    fn instant(&mut self, _name: &str, value: Timestamp) {
        avro::put_long(value.as_millis(), self.0);
    }

    /// Avro's decimal with six digits after the point: the number of millionths, big-endian, in as few bytes as it needs.
    fn amount(&mut self, _name: &str, value: Money) {
        let all = value.micros.to_be_bytes();
        let sign = if value.micros < 0 { 0xFF } else { 0x00 };
        let superfluous = all.windows(2).take_while(|pair| pair[0] == sign && (pair[1] & 0x80) == (sign & 0x80)).count();
        self.bytes(&all[superfluous..]);
    }

    fn list(&mut self, _name: &str, texts: &[&str]) {
        self.block(texts, |datum, text| datum.bytes(text.as_bytes()));
    }

    fn texts(&mut self, _name: &str, entries: &[(&str, Vec<&str>)]) {
        self.block(entries, |datum, (name, texts)| {
            datum.bytes(name.as_bytes());
            datum.block(texts, |datum, text| datum.bytes(text.as_bytes()));
        });
    }

    fn properties(&mut self, _name: &str, entries: &[(impl AsRef<str>, Value)]) {
        self.block(entries, |datum, (name, value)| {
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
    fn or_null<T>(&mut self, name: &str, value: Option<T>, write: impl FnOnce(&mut Self, &str, T)) {
        avro::put_long(i64::from(value.is_some()), self.0);
        if let Some(value) = value {
            write(self, name, value);
        }
    }

    fn record(&mut self, _name: &str, write: impl FnOnce(&mut Self)) {
        write(self);
    }
}
