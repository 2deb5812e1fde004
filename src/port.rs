//! The port between a worker and a log: Kafka, the embedded log, or a simulated one.
//!
//! A log tells its worker what happened through [`ShardOwner`], always on one thread; the worker tells the log what to write
//! through [`Sink`]. Neither side knows more of the other. Kafka's rebalance callback is the reason for two traits: a log
//! must be able to say "these shards are about to go" in the middle of a poll, and the worker must commit before it answers.

use std::sync::Arc;

use crate::journey::Outcome;
use crate::memory::Waiting;
use crate::shard::{Customers, HandOff, Progress, Unusable, Written};
use crate::time::Timestamp;
use crate::touchpoint::Identity;

pub use crate::shard::ShardId;

/// Reads the worker clock (rule 3). Handed in, so that nobody else looks at a clock.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Where a record came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Partition number.
    pub shard: ShardId,
    /// Index of the topic among the inputs, which are sorted by name; the control topic and what shards hand to each other
    /// come after them.
    pub input: usize,
    /// Offset.
    pub offset: i64,
}

/// A record as it stands in the log.
#[derive(Clone, Copy, Debug)]
pub struct RawRecord<'a> {
    /// Where it came from.
    pub origin: Origin,
    /// The record's timestamp.
    pub timestamp: Timestamp,
    /// Whose time the timestamp is.
    pub stamped: Stamped,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; absent for a tombstone.
    pub value: Option<&'a [u8]>,
}

/// Whose time a record's timestamp is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamped {
    /// The log's, or a client's: log time is the lesser of it and the worker clock at receipt (rule 2).
    OnEntry,
    /// The touchpoint's own: a history being loaded, where log time is event time.
    History,
}

/// A shard that a worker is given, and where it goes on.
#[derive(Debug)]
pub struct Assignment {
    /// Which.
    pub shard: ShardId,
    /// Where its last commit left it, with a position for every input.
    pub progress: Progress,
    /// Its customers as of that commit.
    pub customers: Known,
    /// A log of changes is needed from this commit on, as far as is known; 0 where nothing is.
    pub retain_from: u64,
}

/// The customers of a shard that a worker is given.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there are few, and none is kept")]
pub enum Known {
    /// Read from the log; nobody where it keeps no state.
    Restored(Customers),
    /// Those that this worker kept when it gave the shard up ([`ShardOwner::kept`]): nobody has committed since.
    Kept,
}

/// How a commit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is in the log.
    Committed,
    /// It certainly is not; state must be undone.
    Aborted(String),
    /// Nobody can say any more, or another owner has taken over: this worker must stop.
    Lost(String),
}

/// What a worker does to its log. Everything between two commits belongs to one transaction; a write that fails makes the
/// commit end as aborted or lost.
pub trait Sink: Send {
    /// Writes an outcome. `stale` marks one decided long after its deadline (rule 24).
    fn publish(&mut self, shard: ShardId, outcome: &Outcome, stale: bool);
    /// Writes a record that cannot be used to the dead letters (rule 21).
    fn dead_letter(&mut self, origin: Origin, record: &Unusable);
    /// Writes a customer's state as of this transaction. Without what was before, the whole state is to be written. Returns
    /// how many bytes that adds to a log of changes, which must be written anew in turn and can then be cut; 0 where the log
    /// keeps each customer's latest state, or none.
    fn remember(&mut self, shard: ShardId, written: Written<'_>) -> usize;
    /// Writes a word of a shard's dictionary, by its number. Returns bytes as `remember` does.
    fn word(&mut self, shard: ShardId, number: u32, text: &str) -> usize;
    /// Lets nothing be left of a customer in what the log keeps, as of this transaction. Returns bytes as `remember` does.
    fn forget(&mut self, shard: ShardId, who: &Identity) -> usize;
    /// Lets nothing that was published of a customer so far stay where a topic keeps the latest record of each key (rule 28).
    fn tombstone(&mut self, who: &Identity);
    /// Lets every shard, this one included, hear in this transaction that an identity is to be erased ([`ShardOwner::control`]).
    fn announce(&mut self, who: &Identity);
    /// Hands something to another shard in this transaction ([`ShardOwner::handed_over`]).
    fn hand_over(&mut self, to: ShardId, hand_off: &HandOff);
    /// A log of changes is needed from this commit of the shard on, once the transaction is committed.
    fn keep_from(&mut self, shard: ShardId, sequence: u64);
    /// Commits with the progress of these shards, and says for certain how it ended (rule 22).
    fn commit(&mut self, progress: &[(ShardId, Progress)]) -> Verdict;
    /// Undoes everything since the last commit: `Aborted`, or `Lost` where that cannot be had.
    fn abort(&mut self) -> Verdict;
}

/// What a log tells its worker.
pub trait ShardOwner: Send {
    /// These shards are the worker's from now on.
    fn assigned(&mut self, shards: Vec<Assignment>);
    /// These shards are the worker's as soon as their state has been read; until then readers are told to come again.
    fn awaiting(&mut self, shards: &[ShardId]);
    /// A shard that the worker was given cannot be used: it is parked, the others go on.
    fn park(&mut self, shard: ShardId, reason: String);
    /// The shards that the worker itself had to park since this was last asked: the log should pause their inputs.
    fn take_parked(&mut self) -> Vec<ShardId>;
    /// How far the state of a shard had come that this worker gave up last and still has.
    fn kept(&self, shard: ShardId) -> Option<Progress>;
    /// Records follow that have just been received.
    fn begin_batch(&mut self);
    /// The next record of one of its inputs. It may wait with others, which are decided on together, until the next call that
    /// is about something else.
    fn record(&mut self, record: RawRecord<'_>);
    /// The next record that is no touchpoint but says that somebody is to be erased (`wire::erasures`).
    fn control(&mut self, record: RawRecord<'_>);
    /// The next record that another shard has handed over (`wire::handing`).
    fn handed_over(&mut self, record: RawRecord<'_>);
    /// A query sent at `at` showed that `position` is the end of this input, and all before it has been handed over (rule 4).
    fn caught_up(&mut self, shard: ShardId, input: usize, position: i64, at: Timestamp);
    /// What of this input waits for its turn; the log should pause an input that has too much.
    fn buffered(&self, shard: ShardId, input: usize) -> Waiting;
    /// Shards that wait to know that all has been read that other shards have handed over: of a log where that stands in a topic
    /// of its own.
    fn asking(&self) -> Vec<ShardId> {
        Vec::new()
    }
    /// A query sent at `at` showed the end of that topic, and all before it has been handed over.
    fn has_read(&mut self, _shard: ShardId, _at: Timestamp) {}
    /// These shards are about to go: commit or abort now, and forget them.
    fn revoking(&mut self, shards: &[ShardId]);
    /// These shards have gone: forget them without a commit.
    fn lost(&mut self, shards: &[ShardId]);
    /// A round of polling is over: commit if it is time.
    ///
    /// # Errors
    /// The reason why this worker must stop.
    fn turn(&mut self) -> Result<(), String>;
}
