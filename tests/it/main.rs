//! All integration tests but those on a real broker, in one binary: librdkafka is linked once.

mod cli;
mod configuration;
mod diagnostics;
mod documentation;
mod http;
mod journeys;
mod laws;
mod real_data;
mod reference;
mod scenarios;
mod shard;
mod tidy;
mod world;
