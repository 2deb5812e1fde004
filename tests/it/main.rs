//! One integration binary: librdkafka links once. A list of rooms and nothing else.

mod diagnostics;
mod journeys;
mod laws;
mod reference;
mod shard;
mod tidy;
mod world;
