//! The embedded log: Sillage without Kafka. One SQLite store in one directory holds touchpoints, state, outcomes and
//! positions, so that a commit is one local transaction.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use compact_str::CompactString;

use crate::model::Model;
use crate::port::{Now, Seat, ShardId, Sink};
use crate::time::{Span, Timestamp};
use crate::touchpoint::Identity;

/// Where the store lies and what it keeps.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its directory; made where it is missing.
    pub dir: PathBuf,
    /// Number of shards; fixed once the store exists (rule 26).
    pub partitions: u32,
    /// Processed touchpoints are kept for so long.
    pub keep_touchpoints: Span,
    /// Outcomes and dead letters are kept for so long.
    pub keep_outcomes: Span,
}

/// A touchpoint to be appended.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Whose it is; decides the shard. `None` for bytes that cannot be read: they go to the dead letters.
    pub identity: Option<Identity>,
    /// Its id, by which repeats are dropped (rule 17).
    pub id: Option<CompactString>,
    /// Its event time; the log time of a history being loaded.
    pub event_time: Timestamp,
    /// The record's bytes.
    pub value: Vec<u8>,
}

/// What an append did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Touchpoints that are durable now for the first time.
    pub accepted: u64,
    /// Repeats that were dropped.
    pub duplicates: u64,
}

/// Whether a touchpoint enters the log now, or stands for what happened long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entering {
    /// Log time is the instant of the durable append.
    Live,
    /// Log time is event time (rule 6); needs an open load.
    History,
}

/// Why an append was refused; nothing of the batch is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The disk is full. What is stored stays.
    Full(String),
    /// A history is being loaded, so live touchpoints must wait; or there is no load open for history.
    Loading(String),
    /// Stream time has already passed the beginning of this history.
    TooLate(String),
    /// The store is broken or closed.
    Broken(String),
}

/// A committed outcome or dead letter, with the position after which a reader goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// 1, 2, … over all topics; never used twice.
    pub position: u64,
    /// `transitions`, `completions`, `abandonments`, `recoveries`, `dead-letters`.
    pub topic: String,
    /// The JSON that was published.
    pub value: Vec<u8>,
    /// Decided long after its deadline (rule 24).
    pub stale: bool,
}

/// An open store. One process at a time.
#[derive(Debug)]
pub struct Store {}

impl Store {
    /// Opens or makes the store.
    ///
    /// # Errors
    /// A directory in use, not writable, made for other partitions or other models, with the next action.
    pub fn open(_settings: &Settings, _models: &[Arc<Model>], _now: &Now) -> Result<Arc<Self>, String> {
        Err("not built yet".to_owned())
    }

    /// Appends a batch; returns when it is durable.
    ///
    /// # Errors
    /// Why nothing of it was stored.
    pub fn append(&self, _batch: Vec<Entry>, _entering: Entering) -> Result<Appended, Refusal> {
        Err(Refusal::Broken("not built yet".to_owned()))
    }

    /// Outcomes and dead letters after a position, waiting up to `wait` for the first.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn stored_after(&self, _position: u64, _limit: usize, _wait: Duration) -> Result<Vec<Stored>, String> {
        Err("not built yet".to_owned())
    }

    /// Opens the load of a history that begins at `first`; opening one that is open already goes on with it.
    ///
    /// # Errors
    /// Where stream time has already passed `first`.
    pub fn begin_history(&self, _first: Timestamp) -> Result<(), Refusal> {
        Err(Refusal::Broken("not built yet".to_owned()))
    }

    /// Ends the load of a history: stream time may go on to the present.
    ///
    /// # Errors
    /// A store that cannot be written.
    pub fn end_history(&self) -> Result<(), Refusal> {
        Err(Refusal::Broken("not built yet".to_owned()))
    }
}

/// Runs one worker's side of the store on this thread until `stop` is set or something ends it. Worker `worker` of `workers`
/// owns the shards whose number leaves that remainder.
///
/// # Errors
/// The reason why the worker cannot go on.
pub fn drive(
    _store: &Arc<Store>,
    _worker: usize,
    _workers: usize,
    _now: &Now,
    _stop: &AtomicBool,
    _seat: impl FnOnce(Box<dyn Sink>) -> Arc<Mutex<dyn Seat>>,
) -> Result<(), String> {
    let _: ShardId = 0;
    Err("not built yet".to_owned())
}
