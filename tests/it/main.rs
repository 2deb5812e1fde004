//! All integration tests but those on a real broker, in one binary: librdkafka is linked once.

mod changes;
mod cli;
mod configuration;
mod diagnostics;
mod documentation;
mod erasure;
mod explain;
mod expressions;
mod graph;
mod http;
mod init;
mod journeys;
mod judge;
mod laws;
mod model_check;
mod model_diff;
mod ready_made;
mod real_data;
mod reference;
mod scenarios;
mod schema;
mod shard;
mod simulation;
mod tidy;
mod two_models;
mod world;
