//! What the bytes mean, and that no bytes do harm.

mod avro;
mod json;
mod laws;
mod mapping;
mod outcome;
mod schema;
mod sums;
mod wanted;

use super::*;

const TOUCHPOINT_AVSC: &str = include_str!("../../../schemas/touchpoint.avsc");
const OUTCOME_AVSC: &str = include_str!("../../../schemas/outcome.avsc");

/// 2026-01-01T00:00:00Z is log time in these tests.
const LOG_TIME: Timestamp = Timestamp::from_millis(1_767_225_600_000);

fn arrival() -> Arrival<'static> {
    Arrival { log_time: LOG_TIME, topic: "shop", partition: 3, offset: 17, limits: Limits::default() }
}

fn from_json(text: &str) -> Result<Decoded, String> {
    decode(Format::Json, None, text.as_bytes(), &arrival())
}

/// A usable record with these further fields (each with its comma in front).
fn with(fields: &str) -> Result<Decoded, String> {
    from_json(&format!(r#"{{"customer_id":"c","type":"t","occurred_at":"2025-12-31T00:00:00Z"{fields}}}"#))
}

fn properties(decoded: &Decoded) -> String {
    let all = decoded.touchpoint.properties.iter().map(|(name, value)| match value {
        crate::touchpoint::Value::Text(text) => format!("{name}={text:?}"),
        crate::touchpoint::Value::Number(number) => format!("{name}={number}"),
        crate::touchpoint::Value::Flag(flag) => format!("{name}={flag}"),
    });
    all.collect::<Vec<_>>().join(" ")
}

fn schema_of(text: &str) -> apache_avro::Schema {
    apache_avro::Schema::parse_str(text).expect("a good schema file")
}
