//! What a worker writes to Kafka: one transactional producer, and certainty about how each commit ended (rules 20–22).

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use tracing::{info, warn};
use uuid::Uuid;

use super::Connection;
use super::bookmark::Bookmark;
use super::client::{self, Patience, Plain};
use super::rebalance::GroupConsumer;
use super::state_log::StateWriter;
use super::topics::Facts;
use crate::journey::{Customer, Outcome};
use crate::port::{Origin, ShardId, Sink, Verdict};
use crate::shard::{Progress, Unusable};
use crate::touchpoint::Identity;
use crate::wire::pages::Mark;
use crate::wire::{self, outputs};

/// How long one call to the transaction coordinator may take before its end counts as unknown.
const CALL: Duration = Duration::from_secs(15);
/// How long to try to find out how a commit ended, or to get a producer back, before giving the worker up.
const PATIENCE: Duration = Duration::from_secs(240);
/// A commit slower than this may have left a request on its way that could end a later transaction.
const SLOW: Duration = Duration::from_secs(1);
/// Between two tries at something that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// The consumer whose group the offsets are committed for; set once it exists.
#[derive(Default)]
pub(super) struct Membership(OnceLock<Weak<GroupConsumer>>);

impl Membership {
    pub(super) fn set(&self, consumer: &Arc<GroupConsumer>) {
        // Set once, by `drive`; a second consumer would be a second worker.
        let _ = self.0.set(Arc::downgrade(consumer));
    }

    fn consumer(&self) -> Option<Arc<GroupConsumer>> {
        self.0.get().and_then(Weak::upgrade)
    }
}

/// The Kafka side of a worker's transactions.
pub(super) struct KafkaSink {
    connection: Arc<Connection>,
    topics: Topics,
    worker: usize,
    max_bytes: usize,
    /// A dead letter with more goes without its value.
    dead_letter_bytes: usize,
    membership: Arc<Membership>,
    stop: Arc<AtomicBool>,
    producer: ThreadedProducer<Plain>,
    begun: bool,
    /// Why the open transaction cannot be committed.
    trouble: Option<String>,
    /// Names this producer among all that ever used its transactional id.
    instance: Uuid,
    attempts: u64,
    buffer: Vec<u8>,
    state: StateWriter,
}

/// Full names of the output topics.
struct Topics {
    prefix: String,
}

impl Topics {
    fn name(&self, output: &str) -> String {
        format!("{}.{output}", self.prefix)
    }
}

/// How a call to the transaction coordinator failed.
enum Failure {
    Abort(String),
    Unclear(String),
}

impl KafkaSink {
    pub(super) fn new(
        connection: Arc<Connection>,
        facts: &Facts,
        models: Vec<Mark>,
        worker: usize,
        membership: Arc<Membership>,
        stop: &Arc<AtomicBool>,
    ) -> Result<Self, String> {
        let max_bytes = facts.producer_bytes;
        let producer = open(&connection, worker, max_bytes, stop)?;
        let state = StateWriter::new(&connection, facts.partitions, models)?;
        Ok(KafkaSink {
            topics: Topics { prefix: connection.output.clone() },
            connection,
            worker,
            max_bytes,
            dead_letter_bytes: facts.dead_letter_bytes,
            membership,
            stop: Arc::clone(stop),
            producer,
            begun: false,
            trouble: None,
            instance: Uuid::new_v4(),
            attempts: 0,
            buffer: Vec::new(),
            state,
        })
    }

    /// Sends in the open transaction, waiting while the queue is full. Anything else that fails ends the transaction.
    fn send(&mut self, topic: &str, key: Option<&[u8]>, value: Option<&[u8]>, headers: Option<OwnedHeaders>) {
        if self.trouble.is_some() || !self.begin() {
            return;
        }
        let mut record: BaseRecord<'_, [u8], [u8], usize> = BaseRecord::with_opaque_to(topic, 0);
        record.key = key;
        record.payload = value;
        record.headers = headers;
        self.hand_over(record);
    }

    /// Sends a page of the state log to the shard's partition.
    fn send_page(&mut self, shard: ShardId, page: &[u8]) {
        if self.trouble.is_some() || !self.begin() {
            return;
        }
        let topic = self.topics.name(outputs::STATE);
        let mut record: BaseRecord<'_, [u8], [u8], usize> = BaseRecord::with_opaque_to(&topic, client::NOTED);
        record.payload = Some(page);
        record.partition = Some(shard as i32);
        self.hand_over(record);
    }

    fn hand_over(&mut self, mut record: BaseRecord<'_, [u8], [u8], usize>) {
        let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
        while let Err((error, returned)) = self.producer.send(record) {
            if error != full {
                self.trouble = Some(format!("cannot write to {}: {error}", returned.topic));
                return;
            }
            record = returned;
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn begin(&mut self) -> bool {
        if !self.begun {
            match self.producer.begin_transaction() {
                Ok(()) => self.begun = true,
                Err(error) => self.trouble = Some(format!("cannot begin a transaction: {error}")),
            }
        }
        self.begun
    }

    /// Waits for all deliveries: the client's own flush inside a commit polls in steps of a tenth of a second.
    fn drain(&self) -> Result<(), Failure> {
        let begun = Instant::now();
        while self.producer.in_flight_count() > 0 {
            if begun.elapsed() > CALL {
                return Err(Failure::Unclear("records were not acknowledged in time".to_owned()));
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        Ok(())
    }

    fn send_offsets(&self, offsets: &TopicPartitionList) -> Result<(), Failure> {
        let consumer = self.membership.consumer();
        let group = consumer.and_then(|consumer| consumer.group_metadata());
        let group = group.ok_or_else(|| Failure::Abort("the consumer has left its group".to_owned()))?;
        retried(|| self.producer.send_offsets_to_transaction(offsets, &group, CALL))
    }

    fn offsets(&self, progress: &[(ShardId, Progress)], attempt: &str) -> KafkaResult<TopicPartitionList> {
        let mut offsets = TopicPartitionList::new();
        for (shard, progress) in progress {
            for (topic, position) in self.connection.inputs.iter().zip(&progress.positions) {
                let mut offset = offsets.add_partition(topic, *shard as i32);
                offset.set_offset(rdkafka::Offset::Offset(position.offset))?;
                offset.set_metadata(Bookmark::of(progress, position, attempt).to_string());
            }
        }
        Ok(offsets)
    }

    /// Ends the open transaction as undone. A commit was never asked for, so the end is certain.
    fn undo(&mut self, reason: String) -> Verdict {
        self.trouble = None;
        self.forget_pages();
        if !std::mem::take(&mut self.begun) {
            // Nothing was written because nothing could be begun: this producer is of no more use.
            return self.replaced(reason);
        }
        let begun = Instant::now();
        match retried(|| self.producer.abort_transaction(CALL)) {
            Ok(()) if begun.elapsed() < SLOW => Verdict::Aborted(reason),
            Ok(()) | Err(Failure::Abort(_) | Failure::Unclear(_)) => self.replaced(reason),
        }
    }

    fn replaced(&mut self, reason: String) -> Verdict {
        match self.replace() {
            Ok(()) => Verdict::Aborted(reason),
            Err(lost) => Verdict::Lost(lost),
        }
    }

    /// A new producer with the same transactional id: fences the old one, and ends whatever it left open.
    fn replace(&mut self) -> Result<(), String> {
        self.begun = false;
        self.trouble = None;
        self.producer = open(&self.connection, self.worker, self.max_bytes, &self.stop)?;
        Ok(())
    }

    /// Finds out how a commit ended: after the new producer's init nothing of the old one can change it any more.
    fn resolve(&mut self, progress: &[(ShardId, Progress)], attempt: &str, reason: &str) -> Verdict {
        warn!(reason, "the end of a commit is unknown; asking what was committed");
        if let Err(lost) = self.replace() {
            return Verdict::Lost(lost);
        }
        let Some(consumer) = self.membership.consumer() else {
            return Verdict::Lost("the consumer is gone".to_owned());
        };
        let mut asked = TopicPartitionList::new();
        for (shard, _) in progress {
            for topic in &self.connection.inputs {
                asked.add_partition(topic, *shard as i32);
            }
        }
        let patience = Patience::of(PATIENCE, &self.stop);
        loop {
            match consumer.committed_offsets(asked.clone(), CALL).and_then(client::whole) {
                Ok(committed) => {
                    let applied = progress.iter().all(|(shard, progress)| {
                        let partition = committed.find_partition(&self.connection.inputs[0], *shard as i32);
                        let bookmark = partition.and_then(|partition| Bookmark::beside(&partition));
                        bookmark.is_some_and(|mark| mark.attempt == attempt && mark.sequence == progress.sequence)
                    });
                    info!(applied, "the end of the commit is known");
                    return if applied { Verdict::Committed } else { Verdict::Aborted(reason.to_owned()) };
                }
                Err(error) if patience.is_over() => {
                    return Verdict::Lost(format!("cannot find out how a commit ended: {error}"));
                }
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    }

    fn dead_letter_headers(&self, origin: Origin, record: &Unusable) -> OwnedHeaders {
        let text = |headers: OwnedHeaders, key: &str, value: &str| headers.insert(Header { key, value: Some(value) });
        let headers = text(OwnedHeaders::new(), "sillage-topic", &self.connection.inputs[origin.input]);
        let headers = text(headers, "sillage-partition", &origin.shard.to_string());
        let headers = text(headers, "sillage-offset", &origin.offset.to_string());
        text(headers, "sillage-reason", &record.reason)
    }
}

impl Sink for KafkaSink {
    fn publish(&mut self, _shard: ShardId, outcome: &Outcome, stale: bool) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        wire::encode_outcome(self.connection.format, outcome, &mut buffer);
        let header = |key, value| OwnedHeaders::new().insert(Header { key, value: Some(value) });
        let headers = stale.then(|| header("sillage-stale", "true"));
        let topic = self.topics.name(outputs::of(&outcome.what));
        self.send(&topic, Some(outcome.identity.id.as_bytes()), Some(&buffer), headers);
        self.buffer = buffer;
    }

    fn dead_letter(&mut self, origin: Origin, record: &Unusable) {
        let headers = self.dead_letter_headers(origin, record);
        let topic = self.topics.name(outputs::DEAD_LETTERS);
        let value = record.value.as_deref();
        let size = value.map_or(0, <[u8]>::len) + record.key.as_deref().map_or(0, <[u8]>::len);
        // Headers and framing take at most this much beside key and value.
        const OVERHEAD: usize = 2_048;
        if size + OVERHEAD <= self.dead_letter_bytes {
            return self.send(&topic, record.key.as_deref(), value, Some(headers));
        }
        let hash = xxhash_rust::xxh3::xxh3_128(value.unwrap_or_default());
        let headers = headers
            .insert(Header { key: "sillage-size", value: Some(&size.to_string()) })
            .insert(Header { key: "sillage-xxh3-128", value: Some(&format!("{hash:032x}")) });
        self.send(&topic, None, None, Some(headers));
    }

    fn forget(&mut self, _shard: ShardId, _who: &Identity) -> usize {
        0
    }

    fn announce(&mut self, _who: &Identity) {}

    fn remember(&mut self, shard: ShardId, customer: &Customer) -> usize {
        match self.state.add(shard, customer) {
            Ok((bytes, full)) => {
                full.iter().for_each(|page| self.send_page(shard, page));
                bytes
            }
            Err(reason) => {
                self.trouble.get_or_insert(reason);
                0
            }
        }
    }

    fn keep_from(&mut self, shard: ShardId, sequence: u64) {
        self.state.keep_from(shard, sequence);
    }

    fn commit(&mut self, progress: &[(ShardId, Progress)]) -> Verdict {
        self.begin();
        self.attempts += 1;
        let attempt = format!("{}-{}", self.instance.simple(), self.attempts);
        for (shard, progress) in progress {
            match self.state.last_page(*shard, progress, &attempt) {
                Ok(page) => self.send_page(*shard, &page),
                Err(reason) => self.trouble = Some(reason),
            }
        }
        if let Some(trouble) = self.trouble.take() {
            return self.undo(trouble);
        }
        let verdict = self.commit_all(progress, &attempt);
        match &verdict {
            Verdict::Committed => self.state.committed(progress, &self.producer.context().take_noted()),
            Verdict::Aborted(_) | Verdict::Lost(_) => self.forget_pages(),
        }
        verdict
    }

    fn abort(&mut self) -> Verdict {
        let reason = "asked for".to_owned();
        if self.begun || self.trouble.is_some() { self.undo(reason) } else { Verdict::Aborted(reason) }
    }
}

impl KafkaSink {
    /// Commits what was sent, with the offsets.
    fn commit_all(&mut self, progress: &[(ShardId, Progress)], attempt: &str) -> Verdict {
        let offsets = match self.offsets(progress, attempt) {
            Ok(offsets) => offsets,
            Err(error) => return self.undo(format!("cannot name the offsets: {error}")),
        };
        self.producer.context().was_disturbed();
        match self.drain().and_then(|()| self.send_offsets(&offsets)) {
            Ok(()) => {}
            Err(Failure::Abort(reason)) => return self.undo(reason),
            // Something may still be on its way, and must not land in the next transaction. A commit was not asked for.
            Err(Failure::Unclear(reason)) => return self.replaced(reason),
        }
        let begun = Instant::now();
        match classified(self.producer.commit_transaction(CALL)) {
            Ok(()) => {
                self.begun = false;
                if begun.elapsed() > SLOW || self.producer.context().was_disturbed() {
                    // A repeated EndTxn may still be on its way; a new producer's epoch makes it harmless.
                    if let Err(lost) = self.replace() {
                        return Verdict::Lost(lost);
                    }
                }
                Verdict::Committed
            }
            Err(Failure::Abort(reason)) => self.undo(reason),
            Err(Failure::Unclear(reason)) => self.resolve(progress, attempt, &reason),
        }
    }

    fn forget_pages(&mut self) {
        self.state.aborted();
        self.producer.context().take_noted();
    }
}

fn open(
    connection: &Connection,
    worker: usize,
    max_bytes: usize,
    stop: &Arc<AtomicBool>,
) -> Result<ThreadedProducer<Plain>, String> {
    let config = client::producer(connection, worker, max_bytes);
    let patience = Patience::of(PATIENCE, stop);
    loop {
        let producer: ThreadedProducer<Plain> =
            config.create_with_context(Plain::default()).map_err(|error| format!("cannot make a producer: {error}"))?;
        match retried(|| producer.init_transactions(CALL)) {
            Ok(()) => return Ok(producer),
            Err(Failure::Abort(reason) | Failure::Unclear(reason)) => {
                if patience.is_over() {
                    return Err(format!("cannot begin to write transactions: {reason}"));
                }
                warn!(reason, "the transaction coordinator does not answer; trying again");
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// Makes a call again with the same arguments while the client calls its failure retriable, for a bounded time.
fn retried(mut call: impl FnMut() -> KafkaResult<()>) -> Result<(), Failure> {
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
fn classified(result: KafkaResult<()>) -> Result<(), Failure> {
    match result {
        Ok(()) => Ok(()),
        Err(KafkaError::Transaction(error)) if error.txn_requires_abort() => Err(Failure::Abort(error.to_string())),
        Err(error) => Err(Failure::Unclear(error.to_string())),
    }
}
