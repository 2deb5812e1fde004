//! The real log: Apache Kafka through rdkafka.
//!
//! One consumer and one transactional producer per worker. Offsets, outcomes and dead letters commit in one transaction; the
//! offsets' metadata carry stream time and the commit's name, so that an uncertain commit can be looked up (rule 22). The
//! state log is written in the same transactions (`state_log`) and read when a shard comes (`restore`).
//! Knows nothing of models or journeys beyond publishing what the worker hands over.

mod bookmark;
mod client;
mod ends;
pub mod produce;
mod rebalance;
mod restore;
mod sink;
mod source;
mod state_log;
mod topics;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use crate::port::{Now, Seat, Sink};
use crate::time::Timestamp;
use crate::wire::Format;
use crate::wire::pages::Mark;

pub use topics::{Create, Facts, Stamps, Trouble, prepare, remove};

/// How to reach the brokers, and what is read and written there.
#[derive(Clone, Debug)]
pub struct Connection {
    /// `host:port`, separated by commas.
    pub brokers: String,
    /// The consumer group.
    pub group: String,
    /// Tells the instances of a group apart; stable across restarts, since the transactional ids derive from it.
    pub instance: String,
    /// Input topics, sorted by name.
    pub inputs: Vec<String>,
    /// Prefix of the output topics.
    pub output: String,
    /// Format of the outcomes.
    pub format: Format,
    /// Where a group without offsets starts.
    pub start: Start,
    /// Any librdkafka property, for all clients.
    pub properties: BTreeMap<String, String>,
    /// An input is paused when so many of its records wait in a shard.
    pub buffered_records: usize,
}

/// Where a group without offsets starts (rule 24).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the beginning.
    Earliest,
    /// At what is new.
    Latest,
    /// At the first record stamped with this instant or later.
    At(Timestamp),
}

/// Runs one worker's side of Kafka on this thread until `stop` is set or something ends it.
///
/// `seat` makes the worker around the sink that it is given.
///
/// # Errors
/// The reason why the worker cannot go on.
pub fn drive(
    connection: &Arc<Connection>,
    facts: &Facts,
    models: Vec<Mark>,
    worker: usize,
    now: &Now,
    stop: &Arc<AtomicBool>,
    seat: impl FnOnce(Box<dyn Sink>) -> Arc<Mutex<dyn Seat>>,
) -> Result<(), String> {
    let membership = Arc::new(sink::Membership::default());
    let sink = sink::KafkaSink::new(Arc::clone(connection), facts, models.clone(), worker, Arc::clone(&membership), stop)?;
    let seat = seat(Box::new(sink));
    let restorer = restore::Restorer::new(Arc::clone(connection), facts.partitions, models, stop);
    source::drive(connection, &membership, seat, restorer, now, stop)
}
