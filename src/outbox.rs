//! The port between the delivery of interventions and its log: what is read, what must be kept, and where it goes on.
//!
//! Knows neither Kafka nor a store, and nothing of what is delivered.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::shard::ShardId;
use crate::time::Timestamp;
use crate::touchpoint::Touchpoint;

/// What a log has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A shard is this process's from now on, with what was kept of it last, by key.
    Assigned {
        /// Which.
        shard: ShardId,
        /// Keys, and what was kept.
        kept: Vec<(String, Vec<u8>)>,
    },
    /// It is somebody else's from now on.
    Revoked(ShardId),
    /// A record of the topic `interventions`.
    Record {
        /// Of which shard.
        shard: ShardId,
        /// Its place there.
        offset: u64,
        /// As published.
        value: Vec<u8>,
    },
}

/// What must be durable.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// What is kept under a key of a shard; nothing any more where there is no value.
    Keep {
        /// Of which shard.
        shard: ShardId,
        /// Under which key.
        key: String,
        /// What is kept.
        value: Option<Vec<u8>>,
    },
    /// A touchpoint, into an input of the service.
    Touchpoint {
        /// As it is meant.
        touchpoint: Box<Touchpoint>,
        /// Encoded as the input is.
        value: Vec<u8>,
    },
    /// A record that cannot be delivered.
    DeadLetter {
        /// From which shard, and its place there.
        from: (ShardId, u64),
        /// The customer's id.
        key: String,
        /// As published.
        value: Vec<u8>,
        /// Why, in words.
        reason: String,
        /// Where it was to go; empty where it cannot be read.
        destination: String,
    },
}

/// A log as delivery sees it.
pub trait Outbox: Send {
    /// What has come, waiting so long for the first.
    ///
    /// # Errors
    /// Why it cannot go on.
    fn poll(&mut self, wait: Duration) -> Result<Vec<Event>, String>;

    /// Writes in this order; durable once this returns. An outage is waited out.
    ///
    /// # Errors
    /// Why it cannot go on, or that it is to stop.
    fn write(&mut self, writes: Vec<Write>, now: Timestamp) -> Result<(), String>;

    /// Goes on at these offsets after a restart.
    ///
    /// # Errors
    /// Why it cannot go on.
    fn commit(&mut self, positions: &BTreeMap<ShardId, u64>) -> Result<(), String>;
}
