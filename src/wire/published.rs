//! Outcomes in JSON, in whichever of the two formats they were published.

use std::borrow::Cow;
use std::sync::LazyLock;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;

use super::avro;
use super::fields::{put_amount, put_whole, quote};
use crate::time::Timestamp;

/// A record whose lengths lie makes room for no more than this.
const LARGEST: usize = 16 << 20;

/// What outcomes are written by.
static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    apache_avro::util::max_allocation_bytes(LARGEST);
    let parsed = Schema::parse_str(include_str!("../../schemas/outcome.avsc"));
    parsed.unwrap_or_else(|fault| unreachable!("schemas/outcome.avsc cannot be read: {fault}"))
});

/// The bytes of an outcome in JSON, with the fields in the order of the schema; entries of maps stand by name. What is no Avro is
/// given back as it is.
///
/// # Errors
/// What is wrong with the record.
pub fn outcome_in_json(bytes: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    if !avro::is_single_object(bytes) {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut datum = avro::datum(bytes, avro::OUTCOME, "outcome.avsc")?;
    let reader = GenericDatumReader::builder(&SCHEMA).build().map_err(|fault| fault.to_string())?;
    let outcome = reader.read_value(&mut datum).map_err(|fault| format!("broken Avro: {fault}"))?;
    if !datum.is_empty() {
        return Err(format!("{} bytes follow the Avro datum", datum.len()));
    }
    let mut json = Vec::with_capacity(bytes.len() * 4);
    write(&outcome, &mut json)?;
    Ok(Cow::Owned(json))
}

/// # Errors
/// The record ended too early, or the schema has something that outcomes do not have.
fn write(value: &Value, json: &mut Vec<u8>) -> Result<(), String> {
    match value {
        // Where a text should be, and the record ends within it, `apache-avro` reads null.
        Value::Null => return Err("broken Avro: it ends too early".to_owned()),
        Value::Union(_, value) if **value == Value::Null => json.extend_from_slice(b"null"),
        Value::Boolean(flag) => json.extend_from_slice(if *flag { b"true" } else { b"false" }),
        Value::Long(whole) => put_whole(*whole, json),
        Value::String(text) => quote(text, json),
        Value::TimestampMillis(millis) => quote(&Timestamp::from_millis(*millis).to_string(), json),
        Value::Decimal(amount) => {
            let bytes = <Vec<u8>>::try_from(amount).map_err(|fault| fault.to_string())?;
            put_amount(micros(&bytes)?, json);
        }
        Value::Union(_, value) => write(value, json)?,
        Value::Array(values) => {
            json.push(b'[');
            for (place, value) in values.iter().enumerate() {
                json.extend((place > 0).then_some(b','));
                write(value, json)?;
            }
            json.push(b']');
        }
        Value::Record(fields) => write_entries(fields.iter().map(|(name, value)| (name, value)), json)?,
        Value::Map(entries) => {
            let mut entries: Vec<(&String, &Value)> = entries.iter().collect();
            entries.sort_by_key(|(name, _)| *name);
            write_entries(entries.into_iter(), json)?;
        }
        other => return Err(format!("an outcome has no {other:?}")),
    }
    Ok(())
}

fn write_entries<'a>(entries: impl Iterator<Item = (&'a String, &'a Value)>, json: &mut Vec<u8>) -> Result<(), String> {
    json.push(b'{');
    for (place, (name, value)) in entries.enumerate() {
        json.extend((place > 0).then_some(b','));
        quote(name, json);
        json.push(b':');
        write(value, json)?;
    }
    json.push(b'}');
    Ok(())
}

/// A whole number in two's complement, the highest byte first.
fn micros(bytes: &[u8]) -> Result<i64, String> {
    let fill = if bytes.first().is_some_and(|first| *first >= 0x80) { 0xFF } else { 0 };
    let mut all = [fill; 8];
    let begin = all.len().checked_sub(bytes.len()).ok_or("an amount has more than 64 bits")?;
    all[begin..].copy_from_slice(bytes);
    Ok(i64::from_be_bytes(all))
}
