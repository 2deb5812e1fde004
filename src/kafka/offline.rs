//! What is done to a group's journeys from outside, while no worker has them: looking through its state log, and writing to it
//! in one transaction with the offsets.
//!
//! The judgement what may be done is the caller's; here is only how the brokers are asked.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::answers::{self, Patience};
use super::client;
use super::log_trimmer::Knife;
use super::offline_transaction::OfflineTransaction;
use super::restore::{Reader, read_through};
use super::{Connection, Facts, Protocol, Start};
use crate::ledger::{Found, Ledger, LedgerSink, Look, Restored, Restoring, StateReader};
use crate::port::ShardId;
use crate::wire::outputs;
use crate::wire::pages::Mark;

/// How long one question to the brokers may take.
const CALL: Duration = Duration::from_secs(10);
/// How long to go on asking: a transaction that a worker left open blocks answers until it times out.
const PATIENCE: Duration = Duration::from_secs(60);
/// A member's place is kept so long after it was last heard of, where the configuration does not say otherwise.
const SESSION: Duration = Duration::from_secs(45);

/// A group, its inputs and its state log, seen from outside.
pub struct Offline {
    connection: Arc<Connection>,
    ledger: Arc<Ledger>,
    facts: Facts,
    /// Belongs to the group without ever joining it.
    consumer: BaseConsumer,
    stop: Arc<AtomicBool>,
}

/// One shard's state log, read as a whole.
#[derive(Debug, Default)]
pub struct Kept {
    /// What it says.
    pub restored: Restored,
    /// How many pages it has.
    pub pages: u64,
    /// Bytes of the pages.
    pub bytes: u64,
}

/// Where an input of a shard begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The oldest record that is still there.
    pub low: i64,
    /// The offset after the last.
    pub high: i64,
}

impl Offline {
    /// Reaches the brokers; nothing is asked yet.
    ///
    /// # Errors
    /// A client that cannot be made.
    pub fn reach(connection: &Connection, facts: Facts, models: Vec<Mark>) -> Result<Self, String> {
        let connection = Arc::new(connection.clone());
        let mut config = client::asking(&connection, "read_committed");
        config.set("group.id", &connection.group).set("enable.auto.offset.store", "false");
        let consumer = config.create().map_err(|error| format!("cannot make a client: {error}"))?;
        let ledger = Arc::new(connection.ledger(&facts, models));
        let stop = Arc::new(AtomicBool::new(false));
        Ok(Offline { connection, ledger, facts, consumer, stop })
    }

    /// What the group's ledger is about.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// All shards.
    pub fn shards(&self) -> std::ops::Range<ShardId> {
        0..self.facts.partitions
    }

    /// Members of the group: those that live, and those whose places are kept because their sessions have not ended yet. Where
    /// the brokers deal the partitions, at most one is told of.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn members(&self) -> Result<usize, String> {
        match self.connection.protocol {
            Protocol::Classic => self.listed_members(),
            Protocol::Consumer => self.is_inhabited().map(usize::from),
        }
    }

    fn listed_members(&self) -> Result<usize, String> {
        let groups =
            self.persistently("who is in the group", || self.consumer.fetch_group_list(Some(&self.connection.group), CALL))?;
        let ours = groups.groups().iter().filter(|group| group.name() == self.connection.group);
        Ok(ours.map(|group| group.members().len()).sum())
    }

    /// The client cannot list the members of such a group (it shows as dead), but the brokers refuse offsets from outside while
    /// it has any. One of the state log is offered, which no member reads.
    fn is_inhabited(&self) -> Result<bool, String> {
        let mut offered = TopicPartitionList::new();
        let added = offered.add_partition_offset(&self.ledger.topic(outputs::STATE), 0, Offset::Offset(0));
        added.map_err(|error| format!("cannot ask who is in the group: {error}"))?;
        use RDKafkaErrorCode as Code;
        self.persistently("who is in the group", || match self.consumer.commit(&offered, CommitMode::Sync) {
            Ok(()) => Ok(false),
            Err(error) => match error.rdkafka_error_code() {
                Some(
                    Code::UnknownMemberId | Code::IllegalGeneration | Code::StaleMemberEpoch | Code::RebalanceInProgress,
                ) => Ok(true),
                Some(_) | None => Err(error),
            },
        })
    }

    /// How long a member that has gone is still seen. Where the brokers deal the partitions, who stops leaves at once.
    pub fn session(&self) -> Duration {
        let given = self.connection.properties.get("session.timeout.ms").and_then(|millis| millis.parse().ok());
        match self.connection.protocol {
            Protocol::Classic => given.map_or(SESSION, Duration::from_millis),
            Protocol::Consumer => Duration::ZERO,
        }
    }

    /// What the group's committed offsets say of each shard, those of the control topic among them.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn committed(&self) -> Result<Vec<Found>, String> {
        let asked = self.partitions(&self.ledger.topics(), Offset::Invalid)?;
        let committed = self.persistently("the committed offsets", || {
            self.consumer.committed_offsets(asked.clone(), CALL).and_then(answers::whole)
        })?;
        Ok(self.shards().map(|shard| answers::found(&self.ledger, &committed, shard)).collect())
    }

    /// Where each input of a shard begins and ends.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn extents(&self, shard: ShardId) -> Result<Vec<Extent>, String> {
        let extent = |topic: &String| {
            let asked = || self.consumer.fetch_watermarks(topic, shard as i32, CALL);
            let (low, high) = self.persistently("where the inputs end", asked)?;
            Ok(Extent { low, high })
        };
        self.ledger.inputs.iter().map(extent).collect()
    }

    /// Where what other shards have handed to a shard ends.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn handoff_end(&self, shard: ShardId) -> Result<i64, String> {
        let topic = self.ledger.handoff();
        let asked = || self.consumer.fetch_watermarks(&topic, shard as i32, CALL);
        Ok(self.persistently("where the hand-off ends", asked)?.1)
    }

    /// The offset of each input of each shard where a start like this begins.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn starts(&self, start: Start) -> Result<Vec<Vec<i64>>, String> {
        // First, or a record that comes between two answers would be in neither.
        let ends = self.look_up(Offset::End)?;
        let found = match start {
            Start::Earliest => self.look_up(Offset::Beginning)?,
            Start::Latest => ends.clone(),
            Start::At(instant) => self.look_up(Offset::Offset(instant.as_millis()))?,
        };
        // Where nothing is stamped so late yet, everything that comes is new.
        let of = |topic: &String, shard: ShardId| {
            let offset = |list: &TopicPartitionList| answers::number_of(list, topic, shard as i32);
            let offset = offset(&found).or_else(|| offset(&ends));
            offset.ok_or_else(|| format!("cannot learn where partition {shard} of {topic} starts"))
        };
        let of = |shard| self.ledger.inputs.iter().map(|topic| of(topic, shard)).collect();
        self.shards().map(of).collect()
    }

    /// Whether an input of a shard holds a record from this offset on. Offsets alone do not say: the ends of transactions take
    /// some as well.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn holds_more(&self, input: usize, shard: ShardId, from: i64, extent: Extent) -> Result<bool, String> {
        if from >= extent.high {
            return Ok(false);
        }
        let topic = &self.ledger.inputs[input];
        let fault = |error: KafkaError| format!("cannot read partition {shard} of {topic}: {error}");
        let client = client::state_reader(&self.connection)?;
        let mut assigned = TopicPartitionList::new();
        let from = Offset::Offset(from.max(extent.low));
        assigned.add_partition_offset(topic, shard as i32, from).map_err(fault)?;
        client.assign(&assigned).map_err(fault)?;
        let patience = Patience::of(PATIENCE, &self.stop);
        loop {
            match client.poll(Duration::from_millis(50)) {
                Some(Ok(_)) => return Ok(true),
                // The end, as a reader of committed records sees it.
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(false),
                Some(Err(error)) if patience.is_over() => return Err(fault(error)),
                None if patience.is_over() => return Err(format!("partition {shard} of {topic} cannot be read")),
                Some(Err(_)) | None => {}
            }
        }
    }

    /// Reads one shard's state log to its end.
    ///
    /// # Errors
    /// What is wrong with it, or that it cannot be read.
    pub fn read(&self, shard: ShardId) -> Result<Kept, String> {
        let topic = self.ledger.topic(outputs::STATE);
        // By a client that sees uncommitted records (see `ledger::restore`).
        let asking = client::asking(&self.connection, "read_uncommitted").create::<BaseConsumer>();
        let asking = asking.map_err(|error| format!("cannot make a client: {error}"))?;
        let asked = || asking.fetch_watermarks(&topic, shard as i32, CALL);
        let (low, end) = self.persistently("where the state log begins and ends", asked)?;
        if low >= end {
            return Ok(Kept::default());
        }
        let mut restoring = Restoring::begin(shard, end);
        let reader = Reader { client: client::state_reader(&self.connection)?, topic: topic.clone(), shard };
        let mut reader = Counted { reader, pages: 0, bytes: 0 };
        reader.rewind()?;
        let place = format!("partition {shard} of {topic}");
        let restored = read_through(&mut restoring, &self.ledger, &mut reader, &place, PATIENCE, &self.stop, |_| Ok(()))?;
        Ok(Kept { restored, pages: reader.pages, bytes: reader.bytes })
    }

    /// Deletes all that the state log holds.
    ///
    /// # Errors
    /// Nobody answers, or it is not allowed.
    pub fn cut_all(&self) -> Result<(), String> {
        let knife = Knife::of(&self.connection)?;
        let all = self.shards().map(|shard| (shard, Offset::End));
        knife.cut(all).map_err(|error| format!("cannot cut the state log: {error}"))
    }

    /// One transaction for the group's pages and offsets. `name` tells the attempt apart from all others: ASCII, no spaces.
    ///
    /// # Errors
    /// No producer is to be had.
    pub fn sink(&self, name: String) -> Result<LedgerSink<OfflineTransaction<'_>>, String> {
        let transaction = OfflineTransaction::open(&self.connection, &self.facts, &self.consumer, &self.stop)?;
        Ok(LedgerSink::new(Arc::clone(&self.ledger), transaction, name))
    }

    fn partitions(&self, topics: &[String], at: Offset) -> Result<TopicPartitionList, String> {
        let mut asked = TopicPartitionList::new();
        for (topic, shard) in topics.iter().flat_map(|topic| self.shards().map(move |shard| (topic, shard))) {
            let added = asked.add_partition_offset(topic, shard as i32, at);
            added.map_err(|error| format!("cannot ask about partition {shard} of {topic}: {error}"))?;
        }
        Ok(asked)
    }

    /// The client's "beginning" and "end" are instants as well.
    fn look_up(&self, at: Offset) -> Result<TopicPartitionList, String> {
        let asked = self.partitions(&self.ledger.inputs, at)?;
        self.persistently("the offsets", || self.consumer.offsets_for_times(asked.clone(), CALL).and_then(answers::whole))
    }

    /// Asks until there is an answer, for a bounded time.
    fn persistently<T>(&self, what: &str, ask: impl FnMut() -> KafkaResult<T>) -> Result<T, String> {
        Patience::of(PATIENCE, &self.stop).ask(what, ask)
    }
}

/// Counts what is read.
struct Counted {
    reader: Reader,
    pages: u64,
    bytes: u64,
}

impl StateReader for Counted {
    fn rewind(&mut self) -> Result<(), String> {
        (self.pages, self.bytes) = (0, 0);
        self.reader.rewind()
    }

    fn look<R>(&mut self, take: impl FnOnce(Look<'_>) -> R) -> Result<R, String> {
        let (pages, bytes) = (&mut self.pages, &mut self.bytes);
        self.reader.look(|look| {
            if let Look::Page(_, page) = &look {
                *pages += 1;
                *bytes += page.len() as u64;
            }
            take(look)
        })
    }
}
