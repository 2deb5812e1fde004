//! The commands.

pub mod ndjson;
