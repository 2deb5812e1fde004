//! Bytes to touchpoints, outcomes to bytes: JSON and Avro by the schemas in `schemas/`, field mappings, limits.
//!
//! Pure: the same bytes give the same touchpoint. Knows nothing of topics beyond the names it is handed.
//!
//! `mend` makes JSON of what is nearly JSON, and `losses` counts what that cost and what is nothing of what models declare.
//! `written` says what a record means, whatever its format (`json`, `mapping`, `avro`), and `wanted` which of its properties
//! anybody reads; `outcome` lists what is
//! published, field by field, and `fields` turns that into bytes of either format. `state` is a
//! customer's state as bytes, `pages` what the state log is made of, `succession` how it goes on under other models,
//! `erasures` what asks for a customer to be forgotten, `export` a whole state as lines.

mod avro;
pub mod erasures;
pub mod export;
mod fields;
pub mod handing;
mod interventions;
mod journeys;
mod json;
mod losses;
mod mapping;
mod mend;
mod outcome;
pub mod outputs;
pub mod pages;
mod published;
mod scan;
mod source;
pub mod state;
pub mod succession;
mod sums;
#[cfg(test)]
mod tests;
mod tree;
mod wanted;
mod written;

use crate::journey::Outcome;
use crate::time::Timestamp;
use crate::touchpoint::Touchpoint;

pub use interventions::interventions_json;
pub use journeys::customer_json;
pub use losses::{Loss, Losses, Misfit};
pub use mapping::{FIELDS, Mapping};
pub use published::outcome_in_json;
pub use wanted::{Names, Wanted};
pub use written::MAX_AHEAD;

use fields::{Datum, Json};
use losses::Lost;
use written::{Properties, Written};

/// How records are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a record.
    Json,
    /// Avro's single-object encoding.
    Avro,
}

/// What a record may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a record; more make it unusable.
    pub bytes: usize,
    /// Properties of a touchpoint that are kept where all are wanted; more are left out. Those that models read are always
    /// kept.
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

/// What is to be told of a record beside its touchpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Its event time lay ahead of log time and was clamped (rule 1).
    pub clamped: bool,
    /// What it lost; nothing, mostly.
    pub losses: Option<Box<Losses>>,
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
/// Ids are texts or whole numbers, taken as their digits; blank ones count as absent. Ids and types that are too long make
/// the record unusable, long texts of properties are cut at [`crate::touchpoint::MAX_TEXT_BYTES`]. Objects within
/// `properties` become dotted names, at most four parts deep; nulls and lists are dropped. Of a name that comes twice, the
/// last counts. Avro records follow our own schema, so a mapping does not concern them.
///
/// # Errors
/// Why the record cannot be used, in at most a few hundred bytes and without customer data beyond short quotes.
pub fn decode(format: Format, mapping: Option<&Mapping>, bytes: &[u8], arrival: &Arrival<'_>) -> Result<Decoded, String> {
    let mut touchpoint = Touchpoint::default();
    let told = decode_into(format, mapping, &Wanted::All, bytes, arrival, &mut touchpoint)?;
    Ok(Decoded { touchpoint, clamped: told.clamped })
}

/// Reads a touchpoint as [`decode`] does, into one that is used again and again: what it held is gone, and the room that it
/// took is kept.
///
/// Properties that are not wanted are left out. They must be JSON, or Avro; beyond that they cannot make the record unusable,
/// whatever their names and values. A bad part costs that part (see [`Loss`]); it makes the record unusable only where it is
/// an id, the type or the time.
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
) -> Result<Told, String> {
    let limits = arrival.limits;
    if bytes.len() > limits.bytes {
        return Err(format!("the record has {} bytes; at most {} are allowed", bytes.len(), limits.bytes));
    }
    let (mended, tree, mended_tree);
    let mut written = Written::default();
    let mut properties = Properties::new(limits, wanted, &mut touchpoint.properties);
    let routes = mapping.filter(|mapping| !mapping.is_plain());
    match (format, routes) {
        (Format::Json, None) => {
            if let Err(reason) = json::read(bytes, &mut written, &mut properties) {
                mended = mend::mend(bytes).ok_or(reason)?;
                written = Written::of_mended();
                properties.begin_anew(&mended);
                json::read_anything(&mended.text, &mut written, &mut properties)?;
            }
        }
        (Format::Json, Some(mapping)) => match mapping::read(bytes, wanted.sums_lists()) {
            Ok(node) => {
                tree = node;
                mapping.read(&tree, &mut written, &mut properties)?;
            }
            Err(reason) => {
                mended = mend::mend(bytes).ok_or(reason)?;
                mended_tree = mapping::read(mended.text.as_bytes(), wanted.sums_lists())?;
                written = Written::of_mended();
                properties.begin_anew(&mended);
                mapping.read(&mended_tree, &mut written, &mut properties)?;
            }
        },
        (Format::Avro, _) => avro::read(bytes, &mut written, &mut properties)?,
    }
    let mut losses: Lost = properties.end();
    let zone = mapping.and_then(Mapping::zone);
    let clamped = written.settle(arrival, zone, touchpoint, &mut losses)?;
    Ok(Told { clamped, losses })
}

/// JSON with nothing in place of numbers that are none (`NaN`), which some writers put there; `None` where there are none, or where
/// texts are broken as well. Those are for [`decode`] to judge, value by value.
pub fn without_bad_numbers(bytes: &[u8]) -> Option<String> {
    mend::mend(bytes).filter(|mended| mended.texts == 0 && mended.numbers > 0).map(|mended| mended.text)
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
