//! One integration binary: librdkafka links once. A list of rooms and nothing else.

mod journeys;
mod world;
