//! What delivery reads and writes on Kafka: a group of its own over the topic `interventions`, and the compacted topic in which
//! it is kept how each delivery stands.
//!
//! Written without a transaction: what is kept comes before the offsets, so that a restart reads a little again and knows it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tracing::{debug, info, warn};

use super::topics::{DELIVERY_BYTES, prepare_deliveries};
use super::{Connection, Create, Trouble, client};
use crate::outbox::{Event, Outbox, Write};
use crate::partitioner::Partitioner;
use crate::port::{Now, ShardId};
use crate::time::Timestamp;
use crate::touchpoint::Touchpoint;
use crate::wire::outputs;

/// How long one call may take.
const CALL: Duration = Duration::from_secs(10);
/// A record that is not acknowledged in time is written again.
const DELIVERY_MILLIS: u32 = 10_000;
/// Between two looks at what was acknowledged.
const LOOK: Duration = Duration::from_micros(200);
/// Between two tries while the brokers take nothing.
const PAUSE: Duration = Duration::from_millis(500);
/// Records taken at once.
const AT_ONCE: usize = 1_000;
/// What is kept of a shard must be read within this, or the process ends.
const RESTORE: Duration = Duration::from_secs(120);

/// What delivery reads and writes.
pub struct Deliveries {
    connection: Connection,
    group: String,
    consumer: BaseConsumer<Member>,
    pen: Arc<Pen>,
    stop: Arc<AtomicBool>,
}

/// Writes, and waits until it is acknowledged.
struct Pen {
    producer: ThreadedProducer<Receipts>,
    topics: Topics,
    partitioner: Partitioner,
    inputs: u32,
}

struct Topics {
    read: String,
    kept: String,
    dead: String,
    touchpoints: String,
}

/// Where a group without offsets begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With what comes from now on.
    Latest,
    /// With the oldest record.
    Earliest,
}

impl Deliveries {
    /// Joins the group; the topics are created or verified before.
    ///
    /// # Errors
    /// Which broker does not answer, or what is wrong with which topic and what to do.
    pub fn open(
        connection: Connection,
        create: Option<Create>,
        partitioner: Partitioner,
        (group, begin): (String, Begin),
        stop: Arc<AtomicBool>,
    ) -> Result<Self, Trouble> {
        let shards = prepare_deliveries(&connection, create)?;
        let topic = |output| outputs::topic(&connection.output, output);
        let topics = Topics {
            read: topic(outputs::INTERVENTIONS),
            kept: topic(outputs::DELIVERIES),
            dead: topic(outputs::DEAD_LETTERS),
            touchpoints: connection.inputs.first().cloned().unwrap_or_default(),
        };
        let unfit = |what: &str, error: KafkaError| Trouble::Unfit(format!("{what}: {error}"));
        let mut config = client::base(&connection);
        config
            .set("group.id", &group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // Behind what retention has deleted, the oldest is the next.
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "false")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("fetch.wait.max.ms", "100")
            // Whoever comes back within the session is given the same partitions at once.
            .set("group.instance.id", format!("{}-deliver", connection.instance))
            .set("session.timeout.ms", "10000");
        let consumer: BaseConsumer<Member> =
            config.create_with_context(Member::default()).map_err(|error| unfit("cannot make a consumer", error))?;
        begin_at(&consumer, &topics.read, shards, begin).map_err(Trouble::Unreachable)?;
        let mut config = client::base(&connection);
        config
            .set("enable.idempotence", "true")
            .set("linger.ms", "1")
            .set("compression.type", "lz4")
            .set("message.max.bytes", DELIVERY_BYTES.to_string())
            .set("message.timeout.ms", DELIVERY_MILLIS.to_string())
            .set("partitioner", "murmur2_random");
        let producer: ThreadedProducer<Receipts> =
            config.create_with_context(Receipts).map_err(|error| unfit("cannot make a producer", error))?;
        let metadata = producer.client().fetch_metadata(Some(&topics.touchpoints), CALL);
        let metadata = metadata.map_err(|error| Trouble::Unreachable(format!("no broker answers: {error}")))?;
        let inputs = metadata.topics().first().map_or(0, |topic| topic.partitions().len() as u32);
        consumer.subscribe(&[&topics.read]).map_err(|error| unfit("cannot subscribe", error))?;
        let pen = Arc::new(Pen { producer, topics, partitioner, inputs });
        Ok(Deliveries { connection, group, consumer, pen, stop })
    }

    /// Writes touchpoints from any thread; durable once it returns.
    pub fn reporter(&self, now: Now) -> impl Fn(&Touchpoint, Vec<u8>) -> Result<(), String> + Send + Sync + 'static {
        let pen = Arc::clone(&self.pen);
        move |touchpoint: &Touchpoint, value: Vec<u8>| match pen
            .written(&[Write::Touchpoint { touchpoint: Box::new(touchpoint.clone()), value }], now())?
        {
            true => Ok(()),
            false => Err("the brokers do not take it".to_owned()),
        }
    }

    /// Partitions that came and went since this was last asked, what was kept of those that came included.
    fn moved(&self) -> Result<Vec<Event>, String> {
        let Moves { came, went } = self.consumer.context().take();
        let mut events: Vec<Event> = went.iter().map(|shard| Event::Revoked(*shard)).collect();
        if !came.is_empty() {
            info!(partitions = ?came, "delivering for these partitions from now on");
            events.extend(self.kept(&came)?);
        }
        Ok(events)
    }

    /// Reads what is kept of these shards, up to the end.
    fn kept(&self, shards: &BTreeSet<ShardId>) -> Result<Vec<Event>, String> {
        let mut config = client::asking(&self.connection, "read_committed");
        config.set("group.id", format!("{}-restore", self.group)).set("enable.partition.eof", "true");
        config.set("enable.auto.offset.store", "false").set("fetch.wait.max.ms", "20");
        let reader: BaseConsumer<client::Plain> = config
            .create_with_context(client::Plain::default())
            .map_err(|error| format!("cannot make a client: {error}"))?;
        let mut list = TopicPartitionList::new();
        for shard in shards {
            let added = list.add_partition_offset(&self.pen.topics.kept, *shard as i32, Offset::Beginning);
            added.map_err(|error| error.to_string())?;
        }
        reader.assign(&list).map_err(|error| format!("cannot read {}: {error}", self.pen.topics.kept))?;
        let mut kept: BTreeMap<ShardId, BTreeMap<String, Vec<u8>>> =
            shards.iter().map(|shard| (*shard, BTreeMap::new())).collect();
        let mut left = shards.clone();
        let mut heard = Instant::now();
        while !left.is_empty() {
            if self.stop.load(Ordering::Acquire) {
                return Err("asked to stop".to_owned());
            }
            if heard.elapsed() > RESTORE {
                return Err(format!("{} cannot be read", self.pen.topics.kept));
            }
            match reader.poll(Duration::from_millis(100)) {
                None => {}
                Some(Err(KafkaError::PartitionEOF(shard))) => drop(left.remove(&shard.unsigned_abs())),
                Some(Err(error)) => debug!(%error, "what is kept of deliveries is not read yet"),
                Some(Ok(record)) => {
                    heard = Instant::now();
                    let Some(Ok(key)) = record.key().map(std::str::from_utf8) else { continue };
                    let of_shard = kept.entry(record.partition().unsigned_abs()).or_default();
                    match record.payload() {
                        Some(value) => drop(of_shard.insert(key.to_owned(), value.to_vec())),
                        None => drop(of_shard.remove(key)),
                    }
                }
            }
        }
        let event = |(shard, kept): (ShardId, BTreeMap<String, Vec<u8>>)| Event::Assigned {
            shard,
            kept: kept.into_iter().collect(),
        };
        Ok(kept.into_iter().map(event).collect())
    }
}

impl Pen {
    /// Hands all of them to the client and waits until they are acknowledged; says whether they are.
    fn written(&self, writes: &[Write], now: Timestamp) -> Result<bool, String> {
        let receipt = Arc::new(Receipt::default());
        for write in writes {
            let mut record = self.record(write, now, &receipt);
            loop {
                match self.producer.send(record) {
                    Ok(()) => break,
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), returned)) => record = returned,
                    Err((error, _)) => return Err(format!("cannot write: {error}")),
                }
                std::thread::sleep(LOOK);
            }
        }
        loop {
            let (there, lost) = (receipt.there.load(Ordering::Acquire), receipt.lost.load(Ordering::Acquire));
            if there + lost == writes.len() {
                return Ok(lost == 0);
            }
            std::thread::sleep(LOOK);
        }
    }

    fn record<'a>(
        &'a self,
        write: &'a Write,
        now: Timestamp,
        receipt: &Arc<Receipt>,
    ) -> BaseRecord<'a, str, [u8], Arc<Receipt>> {
        let to = |topic: &'a str| BaseRecord::with_opaque_to(topic, Arc::clone(receipt)).timestamp(now.as_millis());
        match write {
            Write::Keep { shard, key, value } => {
                let record = to(&self.topics.kept).partition(*shard as i32).key(key.as_str());
                match value {
                    Some(value) => record.payload(value.as_slice()),
                    None => record,
                }
            }
            Write::Touchpoint { touchpoint, value } => {
                let key = touchpoint.identity.id.as_str();
                let record = to(&self.topics.touchpoints).key(key).payload(value.as_slice());
                match self.partitioner.partition(key.as_bytes(), self.inputs) {
                    Some(partition) => record.partition(partition as i32),
                    None => record,
                }
            }
            Write::DeadLetter { from: (shard, offset), key, value, reason, destination } => {
                let header =
                    |headers: OwnedHeaders, key: &str, value: &str| headers.insert(Header { key, value: Some(value) });
                let mut headers = header(OwnedHeaders::new(), "sillage-topic", &self.topics.read);
                headers = header(headers, "sillage-partition", &shard.to_string());
                headers = header(headers, "sillage-offset", &offset.to_string());
                headers = header(headers, "sillage-reason", reason);
                headers = header(headers, "sillage-destination", destination);
                to(&self.topics.dead).key(key.as_str()).payload(value.as_slice()).headers(headers)
            }
        }
    }
}

impl Outbox for Deliveries {
    fn poll(&mut self, wait: Duration) -> Result<Vec<Event>, String> {
        let mut events = Vec::new();
        let mut wait = wait;
        while events.len() < AT_ONCE {
            let polled = self.consumer.poll(wait);
            let moved = self.moved()?;
            let has_moved = !moved.is_empty();
            events.extend(moved);
            match polled {
                Some(Ok(record)) => events.push(Event::Record {
                    shard: record.partition().unsigned_abs(),
                    offset: record.offset().unsigned_abs(),
                    value: record.payload().unwrap_or_default().to_vec(),
                }),
                Some(Err(error)) if client::is_refusal(&error) => return Err(format!("the brokers refuse: {error}")),
                Some(Err(error)) if is_fenced(&error) => {
                    return Err(format!(
                        "another process has this one's place in the group; give each its own `instance`: {error}"
                    ));
                }
                Some(Err(error)) => debug!(%error, "no record"),
                None if has_moved => {}
                None => break,
            }
            wait = Duration::ZERO;
        }
        Ok(events)
    }

    fn write(&mut self, writes: Vec<Write>, now: Timestamp) -> Result<(), String> {
        // What has ended is told before it is known to have ended: killed in between, it is told again.
        let (kept, told): (Vec<Write>, Vec<Write>) =
            writes.into_iter().partition(|write| matches!(write, Write::Keep { .. }));
        for part in [told, kept] {
            while !part.is_empty() && !self.pen.written(&part, now)? {
                if self.stop.load(Ordering::Acquire) {
                    return Err("asked to stop while the brokers take nothing".to_owned());
                }
                warn!("the brokers have not taken what delivery must keep; trying again");
                std::thread::sleep(PAUSE);
            }
        }
        Ok(())
    }

    fn commit(&mut self, positions: &BTreeMap<ShardId, u64>) -> Result<(), String> {
        let mut list = TopicPartitionList::new();
        for (shard, offset) in positions {
            let added = list.add_partition_offset(&self.pen.topics.read, *shard as i32, Offset::Offset(*offset as i64));
            added.map_err(|error| error.to_string())?;
        }
        // A commit that fails is made up for by the next one, or what is known is read again.
        if let Err(error) = self.consumer.commit(&list, CommitMode::Async) {
            debug!(%error, "the offsets were not committed");
        }
        Ok(())
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        self.consumer.unsubscribe();
    }
}

/// Commits where a group without offsets begins, before anything is read: killed before its first commit, it would otherwise
/// begin somewhere else.
fn begin_at(consumer: &BaseConsumer<Member>, topic: &str, shards: u32, begin: Begin) -> Result<(), String> {
    let mut asked = TopicPartitionList::new();
    for shard in 0..shards {
        asked.add_partition(topic, shard as i32);
    }
    let committed = consumer.committed_offsets(asked, CALL).map_err(|error| format!("cannot read the offsets: {error}"))?;
    let mut missing = TopicPartitionList::new();
    for known in committed.elements().iter().filter(|known| !matches!(known.offset(), Offset::Offset(_))) {
        let marks = consumer.fetch_watermarks(topic, known.partition(), CALL);
        let (low, high) = marks.map_err(|error| format!("cannot learn where {topic} ends: {error}"))?;
        let offset = if begin == Begin::Latest { high } else { low };
        let added = missing.add_partition_offset(topic, known.partition(), Offset::Offset(offset));
        added.map_err(|error| error.to_string())?;
    }
    if missing.count() > 0 {
        // Refused where the group has members; these have committed then.
        if let Err(error) = consumer.commit(&missing, CommitMode::Sync) {
            debug!(%error, "the group has begun already");
        }
    }
    Ok(())
}

fn is_fenced(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(error.rdkafka_error_code(), Some(Code::FencedInstanceId | Code::Fatal | Code::Fenced))
}

/// The member of the group: notes which partitions come and go.
#[derive(Default)]
struct Member(Mutex<Moves>);

#[derive(Default)]
struct Moves {
    came: BTreeSet<ShardId>,
    went: BTreeSet<ShardId>,
}

impl Member {
    fn take(&self) -> Moves {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::report(&error, reason);
    }
}

impl ConsumerContext for Member {
    fn pre_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let shards = |list: &TopicPartitionList| -> Vec<ShardId> {
            list.elements().iter().map(|partition| partition.partition().unsigned_abs()).collect()
        };
        let mut moves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match rebalance {
            Rebalance::Assign(list) => moves.came.extend(shards(list)),
            Rebalance::Revoke(list) => {
                for shard in shards(list) {
                    moves.came.remove(&shard);
                    moves.went.insert(shard);
                }
            }
            Rebalance::Error(error) => debug!(%error, "a rebalance failed"),
        }
    }
}

/// Acknowledgements of one batch.
#[derive(Default)]
struct Receipt {
    there: AtomicUsize,
    lost: AtomicUsize,
}

struct Receipts;

impl ClientContext for Receipts {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::report(&error, reason);
    }
}

impl ProducerContext for Receipts {
    type DeliveryOpaque = Arc<Receipt>;

    fn delivery(&self, result: &DeliveryResult<'_>, receipt: Arc<Receipt>) {
        match result {
            Ok(_) => drop(receipt.there.fetch_add(1, Ordering::AcqRel)),
            Err((error, _)) => {
                debug!(%error, "a record of delivery was not taken");
                receipt.lost.fetch_add(1, Ordering::AcqRel);
            }
        }
    }
}
