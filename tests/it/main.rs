//! All integration tests but those on a real broker, in one binary: librdkafka is linked once.

mod configuration;
mod http;
mod real_data;
