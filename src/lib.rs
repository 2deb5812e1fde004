pub mod journey;
pub mod model;
pub mod shard;
pub mod time;
pub mod touchpoint;
