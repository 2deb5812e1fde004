//! One transactional producer after another, all with the same transactional id: the brokers' side of a worker's commits.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use tracing::{debug, warn};

use super::answers::{self, Patience};
use super::batch;
use super::client::{self, Plain};
use super::log_trimmer::LogTrimmer;
use super::rebalance::GroupConsumer;
use super::{Connection, Facts};
use crate::ledger::{Failure, OffsetMetadata, Outgoing, Position, ProducerState, Transactions};
use crate::port::ShardId;

/// How long one call to the transaction coordinator may take before its end counts as unknown.
const CALL: Duration = Duration::from_secs(15);
/// The same of the first call of a new producer, which can be made again: in between it is seen whether the service is to end.
const BEGINNING: Duration = Duration::from_secs(5);
/// What takes longer than this may have been asked for twice, and the first request may still be on its way, to take effect in
/// a later transaction. Asking again takes longer than this (`client::ASKED_AGAIN_AFTER_MILLIS`).
const SLOW: Duration = Duration::from_secs(1);
/// A call into the client that has not come back so long after its own time-out never will.
const NEVER: Duration = Duration::from_secs(5);
/// Between two tries at something that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// The consumer whose group the offsets are committed for; set once it exists, and again with each that takes its place.
#[derive(Default)]
pub(super) struct Membership(Mutex<Weak<GroupConsumer>>);

impl Membership {
    pub(super) fn set(&self, consumer: &Arc<GroupConsumer>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(consumer);
    }

    fn consumer(&self) -> Option<Arc<GroupConsumer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }
}

/// The Kafka side of a worker's transactions.
pub(super) struct KafkaTransactions {
    connection: Arc<Connection>,
    worker: usize,
    max_bytes: usize,
    membership: Arc<Membership>,
    stop: Arc<AtomicBool>,
    producer: ThreadedProducer<Plain>,
    /// Whether the offsets of the open transaction took so long that they may have been sent twice.
    offsets_slow: bool,
    trimmer: LogTrimmer,
}

impl KafkaTransactions {
    /// A client that knows the brokers, but has not begun: whoever uses the transactional id now is not disturbed yet.
    pub(super) fn connect(
        connection: Arc<Connection>,
        facts: &Facts,
        worker: usize,
        membership: Arc<Membership>,
        stop: &Arc<AtomicBool>,
    ) -> Result<Self, String> {
        let (max_bytes, stop) = (facts.producer_bytes, Arc::clone(stop));
        let producer = create(&client::producer(&connection, worker, max_bytes))?;
        let trimmer = LogTrimmer::start(&connection)?;
        Ok(KafkaTransactions { connection, worker, max_bytes, membership, stop, producer, offsets_slow: false, trimmer })
    }

    /// Fences whoever used the transactional id before, and ends what they left open.
    pub(super) fn begin_for_good(&mut self) -> Result<(), String> {
        if has_begun(&self.producer, &Patience::endless(&self.stop))? { Ok(()) } else { self.replace() }
    }

    /// How an end went, be it a commit or not, that was asked for at that instant: what was asked before it counts as well.
    fn producer_state(&self, begun: Instant) -> ProducerState {
        let rough = self.offsets_slow || begun.elapsed() > SLOW || self.producer.context().was_disturbed();
        if rough { ProducerState::Suspect } else { ProducerState::Clean }
    }

    /// Waits for all deliveries, so that none of them lingers.
    fn drain(&self) -> Result<(), Failure> {
        if batch::flush(&self.producer, CALL) {
            return Ok(());
        }
        Err(Failure::Unclear("records were not acknowledged in time".to_owned()))
    }
}

impl Transactions for KafkaTransactions {
    fn begin(&mut self) -> Result<(), String> {
        self.offsets_slow = false;
        self.producer.begin_transaction().map_err(|error| error.to_string())
    }

    fn send(&mut self, record: Outgoing<'_>) -> Result<(), String> {
        send(&self.producer, record)
    }

    fn send_offsets(&mut self, offsets: &[Position<'_>]) -> Result<(), Failure> {
        let list = listed(offsets).map_err(|error| Failure::Abort(format!("cannot name the offsets: {error}")))?;
        self.producer.context().was_disturbed();
        self.drain()?;
        let consumer = self.membership.consumer();
        let group = consumer.and_then(|consumer| consumer.group_metadata());
        let group = group.ok_or_else(|| Failure::Abort("the consumer has left its group".to_owned()))?;
        let (begun, list, group) = (Instant::now(), Arc::new(list), Arc::new(group));
        let sent = retried(|| {
            let (producer, list, group) = (self.producer.clone(), Arc::clone(&list), Arc::clone(&group));
            beside(CALL + NEVER, move || producer.send_offsets_to_transaction(&list, &group, CALL))
        });
        self.offsets_slow = begun.elapsed() > SLOW;
        sent
    }

    fn commit(&mut self) -> Result<ProducerState, Failure> {
        let begun = Instant::now();
        classified(self.producer.commit_transaction(CALL))?;
        Ok(self.producer_state(begun))
    }

    fn abort(&mut self) -> Result<ProducerState, Failure> {
        let begun = Instant::now();
        retried(|| self.producer.abort_transaction(CALL))?;
        Ok(self.producer_state(begun))
    }

    fn replace(&mut self) -> Result<(), String> {
        self.producer = open(&self.connection, self.worker, self.max_bytes, &self.stop)?;
        Ok(())
    }

    fn committed(&mut self, shards: &[ShardId]) -> Result<BTreeMap<ShardId, OffsetMetadata>, String> {
        let consumer = self.membership.consumer().ok_or("the consumer is gone")?;
        let topic = &self.connection.inputs[0];
        let mut asked = TopicPartitionList::new();
        for shard in shards {
            asked.add_partition(topic, *shard as i32);
        }
        let committed = Patience::endless(&self.stop)
            .ask("what was committed", || consumer.committed_offsets(asked.clone(), CALL).and_then(answers::whole))?;
        Ok(answers::metadata_of(&committed, topic, shards))
    }

    fn take_first_pages(&mut self) -> BTreeMap<ShardId, i64> {
        self.producer.context().take_noted().into_iter().map(|(shard, offset)| (shard.unsigned_abs(), offset)).collect()
    }

    fn cut(&mut self, shard: ShardId, offset: i64) {
        self.trimmer.cut(shard, offset);
    }

    fn cut_handed(&mut self, shard: ShardId, offset: i64) {
        self.trimmer.cut_handed(shard, offset);
    }
}

/// Hands a record over; waits while the queue is full.
pub(super) fn send(producer: &ThreadedProducer<Plain>, record: Outgoing<'_>) -> Result<(), String> {
    let noted = if record.page_of.is_some() { client::NOTED } else { 0 };
    let mut outgoing: BaseRecord<'_, [u8], [u8], usize> = BaseRecord::with_opaque_to(record.topic, noted);
    outgoing.partition = record.page_of.or(record.partition).map(|shard| shard as i32);
    outgoing.key = record.key;
    outgoing.payload = record.value;
    let header = |all: OwnedHeaders, (key, value): &(&'static str, &str)| all.insert(Header { key, value: Some(*value) });
    outgoing.headers = (!record.headers.is_empty())
        .then(|| record.headers.iter().fold(OwnedHeaders::new_with_capacity(record.headers.len()), header));
    let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
    while let Err((error, returned)) = producer.send(outgoing) {
        if error != full {
            return Err(error.to_string());
        }
        outgoing = returned;
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

pub(super) fn listed(offsets: &[Position<'_>]) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for position in offsets {
        let mut offset = list.add_partition(position.topic, position.shard as i32);
        offset.set_offset(rdkafka::Offset::Offset(position.offset))?;
        offset.set_metadata(position.metadata.to_string());
    }
    Ok(list)
}

fn open(
    connection: &Connection,
    worker: usize,
    max_bytes: usize,
    stop: &Arc<AtomicBool>,
) -> Result<ThreadedProducer<Plain>, String> {
    initiated(&client::producer(connection, worker, max_bytes), &Patience::endless(stop))
}

/// A producer that has fenced whoever used its transactional id before, and ended what they left open.
pub(super) fn initiated(config: &ClientConfig, patience: &Patience) -> Result<ThreadedProducer<Plain>, String> {
    loop {
        let producer = create(config)?;
        if has_begun(&producer, patience)? {
            return Ok(producer);
        }
    }
}

/// Makes a producer's first call, and makes it again while the client says that this may help, for a bounded time: after that,
/// another producer is to be tried.
fn has_begun(producer: &ThreadedProducer<Plain>, patience: &Patience) -> Result<bool, String> {
    let begun = Instant::now();
    loop {
        let Err(error) = producer.init_transactions(BEGINNING) else { return Ok(true) };
        if patience.is_over_after(&error) {
            return Err(format!("cannot begin to write transactions: {error}"));
        }
        debug!(%error, "the transaction coordinator does not answer; trying again");
        std::thread::sleep(PAUSE);
        let may_help = matches!(&error, KafkaError::Transaction(error) if error.is_retriable());
        if !may_help || begun.elapsed() > CALL {
            return Ok(false);
        }
    }
}

fn create(config: &ClientConfig) -> Result<ThreadedProducer<Plain>, String> {
    config.create_with_context(Plain::default()).map_err(|error| format!("cannot make a producer: {error}"))
}

/// Makes a call on a thread of its own, since librdkafka's `send_offsets_to_transaction` can wait for ever where coordinators
/// come and go, whatever its time-out: the worker would stand still, and its group with it, for the client goes on telling the
/// brokers that it lives. What never comes back keeps its thread and its producer; the next producer fences it.
fn beside(within: Duration, call: impl FnOnce() -> KafkaResult<()> + Send + 'static) -> KafkaResult<()> {
    let (answer, answered) = channel();
    let hung = KafkaError::Global(RDKafkaErrorCode::OperationTimedOut);
    let thread = std::thread::Builder::new().name("sillage-offsets".to_owned()).spawn(move || {
        // Nobody waits any more for an answer that comes too late.
        let _ = answer.send(call());
    });
    match thread.map(|_| answered.recv_timeout(within)) {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => {
            warn!("the client does not come back from sending offsets; going on with another one");
            Err(hung)
        }
        Err(error) => {
            warn!(%error, "cannot start a thread");
            Err(hung)
        }
    }
}

/// Makes a call again with the same arguments while the client calls its failure retriable, for a bounded time.
pub(super) fn retried(mut call: impl FnMut() -> KafkaResult<()>) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        match call() {
            Err(KafkaError::Transaction(error)) if error.is_retriable() && begun.elapsed() < CALL => {
                std::thread::sleep(PAUSE);
            }
            result => return classified(result),
        }
    }
}

/// What the client says can be undone is a certain end; everything else is not (rule 22).
pub(super) fn classified(result: KafkaResult<()>) -> Result<(), Failure> {
    match result {
        Ok(()) => Ok(()),
        Err(KafkaError::Transaction(error)) if error.txn_requires_abort() => Err(Failure::Abort(error.to_string())),
        Err(error) => Err(Failure::Unclear(error.to_string())),
    }
}
