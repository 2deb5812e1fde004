//! What must be asked of a log with transactions, and in which order, so that nothing is lost and nothing comes twice
//! (rules 20 to 23).
//!
//! A worker's commits and their uncertain ends ([`LedgerSink`]), the state log that is written with them and read back
//! ([`restore`]), the judgement whether it and the committed offsets agree ([`Seating`]), and what a member of a group does when
//! partitions come and go ([`group`]). Knows no client and no broker: what it needs of one is in [`Transactions`] and
//! [`StateReader`], which Kafka's side implements, and a simulation.

pub mod group;
pub mod offset_metadata;
mod reading;
mod restore;
mod seating;
mod sink;
mod writer;

use std::collections::BTreeMap;

use crate::port::ShardId;
use crate::shard::{self, Progress};
use crate::time::Timestamp;
use crate::wire::Format;
use crate::wire::outputs;
use crate::wire::pages::Mark;

pub use offset_metadata::OffsetMetadata;
pub use reading::{Reading, Unfit};
pub use restore::{Restored, Restoring, Step};
pub use seating::{Found, Seating, seating};
pub use sink::LedgerSink;

/// So many topics are read beside the inputs: the control topic, and what shards hand to each other.
pub const BESIDE: usize = 2;

/// What a ledger is about: what is read, what is written, by which models.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// The consumer group.
    pub group: String,
    /// Input topics, sorted by name.
    pub inputs: Vec<String>,
    /// Prefix of the output topics, the state log among them.
    pub output: String,
    /// Partitions of every input.
    pub partitions: u32,
    /// Format of the outcomes.
    pub format: Format,
    /// A dead letter with more bytes goes without its value.
    pub dead_letter_bytes: usize,
    /// The models, as the state log names them.
    pub models: Vec<Mark>,
}

impl Ledger {
    /// What tests read and write: `in`, and `out.…`.
    #[cfg(test)]
    pub(crate) fn sample(partitions: u32) -> Ledger {
        Ledger {
            group: "shop".to_owned(),
            inputs: vec!["in".to_owned()],
            output: "out".to_owned(),
            partitions,
            format: Format::Json,
            dead_letter_bytes: 1,
            models: Vec::new(),
        }
    }

    /// The full name of an output topic.
    pub fn topic(&self, output: &str) -> String {
        outputs::topic(&self.output, output)
    }

    /// The control topic: it is read with the inputs, by number after them.
    pub fn control(&self) -> String {
        self.topic(outputs::CONTROL)
    }

    /// What shards hand to each other: read with the inputs, by number after the control topic.
    pub fn handoff(&self) -> String {
        self.topic(outputs::HANDOFF)
    }

    /// The number of that topic among those that a shard reads.
    pub fn handoff_number(&self) -> usize {
        self.inputs.len() + 1
    }

    /// Progress with positions in the control topic and in what shards hand to each other: from their beginning, where the log
    /// was written before there was one.
    pub fn complete(&self, mut progress: Progress) -> Progress {
        if progress.positions.len() >= self.inputs.len() {
            progress.positions.resize(self.inputs.len() + BESIDE, shard::Position { offset: 0, log_time: Timestamp::MIN });
        }
        progress
    }

    /// Everything that a shard reads, in the order of its positions.
    pub fn topics(&self) -> Vec<String> {
        self.inputs.iter().cloned().chain([self.control(), self.handoff()]).collect()
    }
}

/// A record to be written in the open transaction.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The full name of the topic.
    pub topic: &'a str,
    /// Where it belongs to a shard: a page of the state log, whose first offset by shard is to be noted.
    pub page_of: Option<ShardId>,
    /// The partition, where neither the key nor `page_of` says which.
    pub partition: Option<ShardId>,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: &'a [(&'static str, &'a str)],
}

/// An offset to be committed.
#[derive(Clone, Debug)]
pub struct Position<'a> {
    /// Index of the topic among all that is read ([`Ledger::topics`]).
    pub input: usize,
    /// Partition.
    pub shard: ShardId,
    /// The next record to be read.
    pub offset: i64,
    /// What is written beside it.
    pub metadata: OffsetMetadata,
    /// The name of the topic.
    pub topic: &'a str,
}

/// How a call to the transaction coordinator failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The transaction must and can be aborted: it certainly is not committed.
    Abort(String),
    /// Nobody can say what became of it.
    Unclear(String),
}

/// What a successful call to the transaction coordinator says about the producer that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProducerState {
    /// It was answered at once: the producer can go on.
    Clean,
    /// It was answered slowly, or over a connection that was disturbed: a repeated request may still be on its way, and could
    /// end a later transaction of this producer.
    Suspect,
}

/// One transactional producer at a time, always with the same transactional id, and what else a commit needs.
pub trait Transactions: Send {
    /// Begins a transaction.
    ///
    /// # Errors
    /// Why this producer cannot.
    fn begin(&mut self) -> Result<(), String>;
    /// Hands a record over to be written in the open transaction; whether it arrives, the commit says.
    ///
    /// # Errors
    /// Why it can never be written.
    fn send(&mut self, record: Outgoing<'_>) -> Result<(), String>;
    /// Waits for what was sent, then adds these offsets to the transaction.
    ///
    /// # Errors
    /// How it failed.
    fn send_offsets(&mut self, offsets: &[Position<'_>]) -> Result<(), Failure>;
    /// Ends the transaction as committed.
    ///
    /// # Errors
    /// How it failed.
    fn commit(&mut self) -> Result<ProducerState, Failure>;
    /// Ends the transaction as undone.
    ///
    /// # Errors
    /// How it failed.
    fn abort(&mut self) -> Result<ProducerState, Failure>;
    /// A new producer in place of this one: nothing of the old one changes anything any more.
    ///
    /// # Errors
    /// There is none to be had: the worker must stop.
    fn replace(&mut self) -> Result<(), String>;
    /// What is written beside the committed offset of the first input, by shard; absent where there is none of ours.
    ///
    /// # Errors
    /// Nobody answers: the worker must stop.
    fn committed(&mut self, shards: &[ShardId]) -> Result<BTreeMap<ShardId, OffsetMetadata>, String>;
    /// By shard: the first offset of the pages that were written since this was last asked.
    fn take_first_pages(&mut self) -> BTreeMap<ShardId, i64>;
    /// Asks for the state log of a shard to be deleted before this offset, some time.
    fn cut(&mut self, shard: ShardId, offset: i64);
    /// Asks for what others handed to a shard to be deleted before this offset, some time: it is personal data, and nobody reads it
    /// again. Where nothing is ever deleted there, retention does it.
    fn cut_handed(&mut self, _shard: ShardId, _offset: i64) {}
}

/// What a look into one shard's state log found.
#[derive(Debug)]
pub enum Look<'a> {
    /// The next committed page and its offset.
    Page(i64, &'a [u8]),
    /// Nothing came for now; reading would go on at this offset, control records counted.
    Nothing(Option<i64>),
}

/// Reads one shard's state log from its beginning, committed records only.
pub trait StateReader {
    /// Begins again at the beginning.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn rewind(&mut self) -> Result<(), String>;
    /// Looks for the next page, and hands it to `take`.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn look<R>(&mut self, take: impl FnOnce(Look<'_>) -> R) -> Result<R, String>;
    /// Whether its connections have failed since this was last asked: that nothing comes says nothing about the log then.
    fn was_disturbed(&mut self) -> bool {
        false
    }
}
