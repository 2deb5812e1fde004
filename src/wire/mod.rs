//! Bytes to touchpoints, outcomes to bytes: JSON and Avro by the schemas in `schemas/`, field mappings, limits.
//!
//! Pure: the same bytes give the same touchpoint. Knows nothing of topics beyond the names it is handed.
//!
//! `written` says what a record means, whatever its format (`json`, `mapping`, `avro`), and `wanted` which of its properties
//! anybody reads; `outcome` lists what is
//! published, field by field, and `fields` turns that into bytes of either format. `state` is a
//! customer's state as bytes, `pages` what the state log is made of, `succession` how it goes on under other models,
//! `erasures` what asks for a customer to be forgotten, `export` a whole state as lines.

mod avro;
pub mod erasures;
pub mod export;
mod fields;
mod journeys;
mod json;
mod mapping;
mod outcome;
pub mod outputs;
pub mod pages;
mod scan;
pub mod state;
pub mod succession;
#[cfg(test)]
mod tests;
mod wanted;
mod written;

use crate::journey::Outcome;
use crate::time::Timestamp;
use crate::touchpoint::Touchpoint;

pub use journeys::customer_json;
pub use mapping::{FIELDS, Mapping};
pub use wanted::{Names, Wanted};

use fields::{Datum, Json};
use mapping::Node;
use written::{Properties, Written};

/// How records are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a record.
    Json,
    /// Avro's single-object encoding.
    Avro,
}

/// What a record may hold; more makes it unusable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a record.
    pub bytes: usize,
    /// Properties of a touchpoint.
    pub properties: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { bytes: 1 << 20, properties: 200 }
    }
}

/// Where and when a record came in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Its log time (rule 2).
    pub log_time: Timestamp,
    /// Its topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: i64,
    /// What it may hold.
    pub limits: Limits,
}

/// A touchpoint read from a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The touchpoint.
    pub touchpoint: Touchpoint,
    /// Whether its event time lay ahead of log time and was clamped (rule 1).
    pub clamped: bool,
}

/// Reads a touchpoint.
///
/// Ids are texts or whole numbers, taken as their digits; blank ones count as absent. Ids and names that are too long make
/// the record unusable, long texts of properties are cut at [`crate::touchpoint::MAX_TEXT_BYTES`]. Objects within
/// `properties` become dotted names, at most four parts deep; nulls and lists are dropped. Of a name that comes twice, the
/// last counts. Avro records follow our own schema, so a mapping does not concern them.
///
/// # Errors
/// Why the record cannot be used, in at most a few hundred bytes and without customer data beyond short quotes.
pub fn decode(format: Format, mapping: Option<&Mapping>, bytes: &[u8], arrival: &Arrival<'_>) -> Result<Decoded, String> {
    let mut touchpoint = Touchpoint::default();
    let clamped = decode_into(format, mapping, &Wanted::All, bytes, arrival, &mut touchpoint)?;
    Ok(Decoded { touchpoint, clamped })
}

/// Reads a touchpoint as [`decode`] does, into one that is used again and again: what it held is gone, and the room that it
/// took is kept. Says whether the event time was clamped (rule 1).
///
/// Properties that are not wanted are left out. They count towards [`Limits::properties`], and they must be JSON, or Avro;
/// beyond that they cannot make the record unusable, whatever their names and values.
///
/// # Errors
/// As [`decode`]; what the touchpoint holds then means nothing.
pub fn decode_into(
    format: Format,
    mapping: Option<&Mapping>,
    wanted: &Wanted,
    bytes: &[u8],
    arrival: &Arrival<'_>,
    touchpoint: &mut Touchpoint,
) -> Result<bool, String> {
    let limits = arrival.limits;
    if bytes.len() > limits.bytes {
        return Err(format!("the record has {} bytes; at most {} are allowed", bytes.len(), limits.bytes));
    }
    let tree;
    let mut written = Written::default();
    let mut properties = Properties::new(limits, wanted, &mut touchpoint.properties);
    match (format, mapping) {
        (Format::Json, None) => json::read(bytes, &mut written, &mut properties)?,
        (Format::Json, Some(mapping)) => {
            tree = Node::read(bytes)?;
            mapping.read(&tree, &mut written, &mut properties)?;
        }
        (Format::Avro, _) => avro::read(bytes, &mut written, &mut properties)?,
    }
    properties.end();
    written.settle(arrival, touchpoint)
}

/// Appends an outcome's bytes: in JSON one object without a line end. What does not apply is null in both formats.
pub fn encode_outcome(format: Format, outcome: &Outcome, bytes: &mut Vec<u8>) {
    match format {
        Format::Json => Json::object(bytes, |fields| outcome::write(outcome, fields)),
        Format::Avro => {
            avro::header(avro::OUTCOME, bytes);
            outcome::write(outcome, &mut Datum(bytes));
        }
    }
}

/// Appends a touchpoint's bytes, as `decode` reads them without a mapping.
pub fn encode_touchpoint(format: Format, touchpoint: &Touchpoint, bytes: &mut Vec<u8>) {
    match format {
        Format::Json => Json::object(bytes, |fields| outcome::write_touchpoint(touchpoint, fields)),
        Format::Avro => {
            avro::header(avro::TOUCHPOINT, bytes);
            outcome::write_touchpoint(touchpoint, &mut Datum(bytes));
        }
    }
}
