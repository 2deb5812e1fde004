//! Touchpoints in Avro's single-object encoding, written by hand in the order of `schemas/touchpoint.avsc`.

use crate::load::{self, Deed, Value};

/// The fingerprint of the schema (CRC-64-AVRO, little-endian), behind the mark of a single object.
const HEAD: [u8; 10] = [0xC3, 0x01, 51, 71, 43, 8, 119, 76, 229, 254];
/// The branches of a property's value.
const TEXT: i64 = 0;
const DOUBLE: i64 = 1;
const TRUTH: i64 = 2;
const LONG: i64 = 3;

/// The record's value; `at` in milliseconds since 1970.
pub fn touchpoint(deed: &Deed, at: i64, out: &mut Vec<u8>) {
    let (mut id, mut customer, mut session) = (String::new(), String::new(), String::new());
    load::id(deed, &mut id);
    load::key(deed, &mut customer);
    load::session(deed, &mut session);
    out.clear();
    head(&id, &customer, at, deed.kind(), deed.channel(), &session, out);
    let properties = deed.properties();
    long(properties.len() as i64, out);
    for (name, value) in &properties {
        text(name, out);
        match value {
            Value::Text(..) | Value::Page(..) => {
                long(TEXT, out);
                text(&value.to_string(), out);
            }
            Value::Cents(cents) => {
                long(DOUBLE, out);
                out.extend_from_slice(&(f64::from(*cents) / 100.0).to_le_bytes());
            }
            Value::Truth(truth) => {
                long(TRUTH, out);
                out.push(u8::from(*truth));
            }
            Value::Whole(number) => {
                long(LONG, out);
                long((*number).into(), out);
            }
        }
    }
    long(0, out);
}

/// The same as [`load::closing`].
pub fn closing(partition: i32, customer: &str, at: i64) -> Vec<u8> {
    let mut out = Vec::new();
    head(&format!("end-{partition}"), customer, at, "page.left", "web", "s-end", &mut out);
    long(0, &mut out);
    out
}

fn head(id: &str, customer: &str, at: i64, kind: &str, channel: &str, session: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&HEAD);
    some(id, out);
    some(customer, out);
    // No anonymous id.
    long(0, out);
    long(at, out);
    text(kind, out);
    some(channel, out);
    some(session, out);
}

/// A text where there could be none.
fn some(value: &str, out: &mut Vec<u8>) {
    long(1, out);
    text(value, out);
}

fn text(value: &str, out: &mut Vec<u8>) {
    long(value.len() as i64, out);
    out.extend_from_slice(value.as_bytes());
}

/// Zigzag, seven bits at a time.
fn long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closing_touchpoint_is_one_single_object() {
        let bytes = closing(1, "c", 1);
        let expected = b"\x02\x0aend-1\x02\x02c\x00\x02\x12page.left\x02\x06web\x02\x0as-end\x00";
        assert_eq!((&bytes[..10], &bytes[10..]), (&HEAD[..], &expected[..]));
    }
}
