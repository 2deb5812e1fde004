//! Avro's single-object encoding of our own schemas: C3 01, the schema's fingerprint (CRC-64-AVRO, little-endian), the datum.
//!
//! Records are read and written by hand in the order of the schema files; tests hold them against `apache-avro`. There is no
//! registry and no schema resolution here: a record under any other schema is refused.

use std::borrow::Cow;

use super::written::{Field, Properties, Scalar, Unit, Written};

/// The fingerprint of `schemas/touchpoint.avsc`.
pub(super) const TOUCHPOINT: [u8; 8] = [51, 71, 43, 8, 119, 76, 229, 254];
/// The fingerprint of `schemas/outcome.avsc`.
pub(super) const OUTCOME: [u8; 8] = [0xCA, 0x91, 0x6A, 0x4D, 0x5F, 0x7D, 0x77, 0xE4];
/// What a single object begins with.
const MARKER: [u8; 2] = [0xC3, 0x01];

/// The branches of a property's union, in the order of the schema.
pub(super) const BRANCH_STRING: i64 = 0;
pub(super) const BRANCH_DOUBLE: i64 = 1;
pub(super) const BRANCH_BOOLEAN: i64 = 2;
pub(super) const BRANCH_LONG: i64 = 3;

/// Reads a touchpoint.
pub(super) fn read<'a>(bytes: &'a [u8], written: &mut Written<'a>, properties: &mut Properties<'_>) -> Result<(), String> {
    let mut datum = Reader { rest: datum(bytes, TOUCHPOINT, "touchpoint.avsc")? };
    for field in [Field::EventId, Field::CustomerId, Field::AnonymousId] {
        written.set(field, datum.text_or_null(field)?);
    }
    let millis = datum.long(Field::OccurredAt.name())?;
    written.set(Field::OccurredAt, Scalar::Whole(millis.into()));
    written.unit = Unit::Milliseconds;
    written.set(Field::Kind, Scalar::Text(Cow::Borrowed(datum.text(Field::Kind.name())?)));
    for field in [Field::Channel, Field::Session] {
        written.set(field, datum.text_or_null(field)?);
    }
    datum.properties(properties)?;
    if datum.rest.is_empty() { Ok(()) } else { Err(format!("{} bytes follow the Avro datum", datum.rest.len())) }
}

/// Appends a zigzag number in groups of seven bits.
pub(super) fn put_long(value: i64, bytes: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

/// Appends what a single object of this schema begins with.
pub(super) fn header(fingerprint: [u8; 8], bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&MARKER);
    bytes.extend_from_slice(&fingerprint);
}

/// Whether it begins as a single object does, of whatever schema.
pub(super) fn is_single_object(bytes: &[u8]) -> bool {
    bytes.starts_with(&MARKER)
}

/// What follows the header, if the record is under our schema of this file; else what was found instead.
pub(super) fn datum<'a>(bytes: &'a [u8], schema: [u8; 8], file: &str) -> Result<&'a [u8], String> {
    if let Some((fingerprint, datum)) = bytes.strip_prefix(&MARKER).and_then(<[u8]>::split_first_chunk::<8>) {
        if *fingerprint == schema {
            return Ok(datum);
        }
        let (found, known) = (u64::from_le_bytes(*fingerprint), u64::from_le_bytes(schema));
        return Err(format!("Avro under an unknown schema: fingerprint {found:016x}, {file} has {known:016x}"));
    }
    let found = match bytes {
        [] => "nothing".to_owned(),
        [0, a, b, c, d, ..] => {
            format!("a schema registry's frame (schema id {})", u32::from_be_bytes([*a, *b, *c, *d]))
        }
        [b'O', b'b', b'j', 1, ..] => "an Avro container file".to_owned(),
        [b'{' | b'[', ..] => "what looks like JSON".to_owned(),
        [0xC3, 0x01, ..] => "only a part of a header".to_owned(),
        [first, ..] => format!("a first byte {first:02x}, perhaps a bare datum"),
    };
    Err(format!("{found}; Avro's single-object encoding of {file} is expected (C3 01, fingerprint, datum)"))
}

/// Reads a datum from the front. What is missing is told by the field's name.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn long(&mut self, what: &str) -> Result<i64, String> {
        let mut value: u64 = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or_else(|| ends_within(what))?;
            self.rest = rest;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(format!("broken Avro: the number in `{what}` has more than 64 bits"))
    }

    fn take(&mut self, bytes: usize, what: &str) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or_else(|| ends_within(what))?;
        self.rest = rest;
        Ok(taken)
    }

    fn text(&mut self, what: &str) -> Result<&'a str, String> {
        let length = self.long(what)?;
        let length = usize::try_from(length).map_err(|_| format!("broken Avro: `{what}` has a negative length"))?;
        let bytes = self.take(length, what)?;
        std::str::from_utf8(bytes).map_err(|_| format!("broken Avro: `{what}` is not UTF-8"))
    }

    fn text_or_null(&mut self, field: Field) -> Result<Scalar<'a>, String> {
        match self.long(field.name())? {
            0 => Ok(Scalar::Null),
            1 => Ok(Scalar::Text(Cow::Borrowed(self.text(field.name())?))),
            branch => Err(no_branch(field.name(), branch)),
        }
    }

    fn properties(&mut self, properties: &mut Properties<'_>) -> Result<(), String> {
        const WHAT: &str = "properties";
        loop {
            let entries = self.long(WHAT)?;
            if entries == 0 {
                return Ok(());
            }
            if entries < 0 {
                // A block with its size in bytes, so that it could be skipped; we read it.
                self.long(WHAT)?;
            }
            // No room is made beforehand: a count that lies ends at the limit or at the record's end.
            for _ in 0..entries.unsigned_abs() {
                let name = self.text(WHAT)?;
                let interest = properties.meet(name);
                let value = self.property()?;
                if interest.value {
                    properties.keep(name, &value, interest.expected);
                }
            }
        }
    }

    fn property(&mut self) -> Result<Scalar<'a>, String> {
        const WHAT: &str = "properties";
        match self.long(WHAT)? {
            BRANCH_STRING => Ok(Scalar::Text(Cow::Borrowed(self.text(WHAT)?))),
            BRANCH_DOUBLE => {
                let bytes = self.rest.first_chunk::<8>().ok_or_else(|| ends_within(WHAT))?;
                self.rest = &self.rest[8..];
                Ok(Scalar::Number(f64::from_le_bytes(*bytes)))
            }
            BRANCH_BOOLEAN => match self.take(1, WHAT)? {
                [0] => Ok(Scalar::Flag(false)),
                [1] => Ok(Scalar::Flag(true)),
                _ => Err("broken Avro: a flag in `properties` is neither 0 nor 1".to_owned()),
            },
            BRANCH_LONG => Ok(Scalar::Whole(self.long(WHAT)?.into())),
            branch => Err(no_branch(WHAT, branch)),
        }
    }
}

fn ends_within(what: &str) -> String {
    format!("broken Avro: the record ends within `{what}`")
}

fn no_branch(what: &str, branch: i64) -> String {
    format!("broken Avro: `{what}` has no branch {branch}")
}
