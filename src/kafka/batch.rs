//! Records of a consumer by the hundred, which rust-rdkafka cannot: one call and one array for many, where its `poll` makes an
//! event, a reference count and a clock reading of each. It costs a third of that.
//!
//! Rebalances go on being served by `BaseConsumer::poll`, and must not come in between records. So records go to a queue of their
//! own: whoever assigns partitions calls [`hold`] before, which makes what they fetch wait with them, and [`Records::forward`] once
//! the assignment stands. What `poll` returns then is no record.
//!
//! The one place of this project that calls librdkafka by itself; so [`flush`] stands here as well. Knows nothing of shards, and not what is in a record.

#![allow(unsafe_code)]

use std::ffi::{CString, c_int};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::bindings::{self as native, rd_kafka_timestamp_type_t as RDKafkaTimestampType};
use rdkafka::client::Client;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::{RDKafkaMessage, RDKafkaQueue, RDKafkaRespErr, RDKafkaTopic};

/// Messages of a batch at the most.
const MOST: usize = 500;

/// Makes what these partitions fetch wait with them until it is forwarded, so that none of it comes out of
/// `BaseConsumer::poll`. To be called each time before they are assigned: when a partition is given back, librdkafka takes it
/// back from wherever it was forwarded to.
///
/// # Errors
/// A topic whose name librdkafka cannot take.
pub(super) fn hold<C: ConsumerContext>(consumer: &BaseConsumer<C>, partitions: &TopicPartitionList) -> Result<(), String> {
    each_queue(consumer.client(), partitions, |queue| {
        // SAFETY: the queue is alive; to forward it nowhere marks it as one that the client is not to forward by itself.
        unsafe { native::rd_kafka_queue_forward(queue, ptr::null_mut()) };
    })
}

/// Waits until everything that a producer was given is acknowledged, and lingers for nothing meanwhile; says whether that came
/// about. rust-rdkafka's own flush waits in steps of a tenth of a second where another thread takes the producer's events.
pub(super) fn flush<C: ProducerContext + 'static>(producer: &ThreadedProducer<C>, within: Duration) -> bool {
    let millis = c_int::try_from(within.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: the client is alive for the call.
    let ended = unsafe { native::rd_kafka_flush(producer.client().native_ptr(), millis) };
    matches!(ended, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR)
}

/// Shows the queue of each partition.
fn each_queue<C: ConsumerContext>(
    client: &Client<C>,
    partitions: &TopicPartitionList,
    mut show: impl FnMut(*mut RDKafkaQueue),
) -> Result<(), String> {
    for elem in partitions.elements() {
        let (topic, partition) = (elem.topic(), elem.partition());
        let fault = || format!("partition {partition} of {topic} has no queue");
        let name = CString::new(topic).map_err(|_| fault())?;
        // SAFETY: client and name are alive for the call; what comes back is ours to destroy, or null.
        let queue = unsafe { native::rd_kafka_queue_get_partition(client.native_ptr(), name.as_ptr(), partition) };
        if queue.is_null() {
            return Err(fault());
        }
        show(queue);
        // SAFETY: it came from the call above and goes once. That gives a reference back; the partition keeps its queue.
        unsafe { native::rd_kafka_queue_destroy(queue) };
    }
    Ok(())
}

/// The records of a consumer's partitions, in one queue.
pub(super) struct Records<'c, C: ConsumerContext> {
    consumer: &'c BaseConsumer<C>,
    /// Ours until we are dropped, which is before the consumer is.
    queue: NonNull<RDKafkaQueue>,
    topics: Rc<Topics<'c>>,
}

/// Handles of topics, each of which keeps its topic from being forgotten: so a message's is compared by its address.
struct Topics<'c> {
    handles: Vec<NonNull<RDKafkaTopic>>,
    /// Whose they are.
    consumer: PhantomData<&'c ()>,
}

impl<'c, C: ConsumerContext> Records<'c, C> {
    /// An empty queue. A record says of which of these topics it is by the index.
    ///
    /// # Errors
    /// A topic whose name librdkafka cannot take.
    pub(super) fn new(consumer: &'c BaseConsumer<C>, topics: &[String]) -> Result<Self, String> {
        let client = consumer.client().native_ptr();
        let mut known = Topics { handles: Vec::new(), consumer: PhantomData };
        for topic in topics {
            let fault = || format!("there can be no topic {topic}");
            let name = CString::new(topic.as_str()).map_err(|_| fault())?;
            // SAFETY: client and name are alive for the call, and no configuration is given away; what comes back is ours to
            // destroy, or null.
            let handle = unsafe { native::rd_kafka_topic_new(client, name.as_ptr(), ptr::null_mut()) };
            known.handles.push(NonNull::new(handle).ok_or_else(fault)?);
        }
        // SAFETY: the client is alive; what comes back is ours to destroy.
        let queue = unsafe { native::rd_kafka_queue_new(client) };
        let queue = NonNull::new(queue).ok_or("cannot make a queue")?;
        Ok(Records { consumer, queue, topics: Rc::new(known) })
    }

    /// Room for a batch.
    pub(super) fn batch(&self) -> Batch<'c> {
        Batch { messages: Vec::with_capacity(MOST), topics: Rc::clone(&self.topics) }
    }

    /// Has what these assigned partitions fetch come here, and what waits with them already. Those that do so already just go on.
    ///
    /// # Errors
    /// A topic whose name librdkafka cannot take.
    pub(super) fn forward(&self, partitions: &TopicPartitionList) -> Result<(), String> {
        each_queue(self.consumer.client(), partitions, |queue| {
            // SAFETY: both queues are alive. The partition's then holds a reference to ours, and whatever comes to ours after it
            // is destroyed, librdkafka destroys.
            unsafe { native::rd_kafka_queue_forward(queue, self.queue.as_ptr()) };
        })
    }

    /// Fills the batch with what is there, in place of what it held; waits for a first message, but not for more. Like `poll`, it
    /// tells the group that this member is alive.
    pub(super) fn take(&mut self, wait: Duration, batch: &mut Batch<'c>) {
        batch.clear();
        self.add(batch, Duration::ZERO, MOST);
        if batch.messages.is_empty() && !wait.is_zero() {
            // A call comes back when as much has come as was asked for, or when the time is over.
            self.add(batch, wait, 1);
            if !batch.messages.is_empty() {
                self.add(batch, Duration::ZERO, MOST - 1);
            }
        }
    }

    fn add(&mut self, batch: &mut Batch<'c>, wait: Duration, most: usize) {
        let millis = c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX);
        batch.messages.reserve(most);
        let room = batch.messages.spare_capacity_mut().as_mut_ptr().cast::<*mut RDKafkaMessage>();
        // SAFETY: the queue is alive, and behind `room` there is room for so many pointers.
        let count = unsafe { native::rd_kafka_consume_batch_queue(self.queue.as_ptr(), millis, room, most) };
        let count = usize::try_from(count).unwrap_or(0).min(most);
        // SAFETY: there is room for `most`, and the call wrote so many of them, each a message that is ours to destroy.
        unsafe { batch.messages.set_len(batch.messages.len() + count) };
    }
}

impl<C: ConsumerContext> Drop for Records<'_, C> {
    fn drop(&mut self) {
        // SAFETY: it is ours, goes once, and the consumer, which outlives us, is still there.
        unsafe { native::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

impl Drop for Topics<'_> {
    fn drop(&mut self) {
        for handle in &self.handles {
            // SAFETY: each came from `rd_kafka_topic_new`, goes once, and the consumer is still there.
            unsafe { native::rd_kafka_topic_destroy(handle.as_ptr()) };
        }
    }
}

/// Messages that were taken together. They are destroyed with it, and no consumer is before them.
pub(super) struct Batch<'c> {
    /// Each alive, and ours to destroy.
    messages: Vec<*mut RDKafkaMessage>,
    topics: Rc<Topics<'c>>,
}

/// A record, in the memory of its batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'b> {
    /// Which of the topics.
    pub topic: usize,
    pub partition: i32,
    pub offset: i64,
    /// In milliseconds, where it has one.
    pub timestamp: Option<i64>,
    pub key: Option<&'b [u8]>,
    pub value: Option<&'b [u8]>,
}

/// What came instead of a record.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub error: KafkaError,
    pub place: Option<Place>,
}

/// An offset of a partition of one of the topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub topic: usize,
    pub partition: i32,
    pub offset: i64,
}

impl Batch<'_> {
    /// What is in it, in the order in which it came.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = Result<Record<'_>, Fault>> {
        // SAFETY: a message of ours is alive and nobody writes to it; borrowing the batch keeps it from being destroyed.
        self.messages.iter().map(|message| self.read(unsafe { &**message }))
    }

    /// Where the last of a partition is no record but a fault: there this partition is to be read on from. librdkafka counts what
    /// comes in a batch, records or not, as read: its position would be one too far, and resuming a pause would skip a record.
    pub(super) fn interruptions(&self) -> Vec<Place> {
        if self.iter().all(|message| message.is_ok()) {
            return Vec::new();
        }
        interrupted(self.iter().filter_map(|message| match message {
            Ok(Record { topic, partition, offset, .. }) => Some((Place { topic, partition, offset }, Came::Record)),
            Err(Fault { place, .. }) => Some((place?, Came::Fault)),
        }))
    }

    fn read<'b>(&'b self, message: &'b RDKafkaMessage) -> Result<Record<'b>, Fault> {
        let topic = self.topics.handles.iter().position(|handle| handle.as_ptr() == message.rkt);
        let (partition, offset) = (message.partition, message.offset);
        let place = topic.filter(|_| offset >= 0).map(|topic| Place { topic, partition, offset });
        let fault = |error| Err(Fault { error, place });
        match (message.err, topic) {
            (RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR, Some(topic)) => {
                // SAFETY: key and value lie in the message, which is alive as long as it is borrowed.
                let (key, value) =
                    unsafe { (bytes(message.key.cast(), message.key_len), bytes(message.payload.cast(), message.len)) };
                let mut stamped = RDKafkaTimestampType::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
                // SAFETY: the message is alive, and there is room for what the call writes.
                let timestamp = unsafe { native::rd_kafka_message_timestamp(message, &raw mut stamped) };
                let missing = timestamp == -1 || stamped == RDKafkaTimestampType::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
                let timestamp = (!missing).then_some(timestamp);
                Ok(Record { topic, partition, offset, timestamp, key, value })
            }
            // Nothing else is forwarded here.
            (RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR, None) => {
                fault(KafkaError::MessageConsumption(RDKafkaErrorCode::UnknownTopic))
            }
            (RDKafkaRespErr::RD_KAFKA_RESP_ERR__FATAL, _) => fault(KafkaError::MessageConsumptionFatal(message.err.into())),
            (error, _) => fault(KafkaError::MessageConsumption(error.into())),
        }
    }

    fn clear(&mut self) {
        for message in self.messages.drain(..) {
            // SAFETY: each is ours, alive, and goes once.
            unsafe { native::rd_kafka_message_destroy(message) };
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

/// What came from a place.
#[derive(Clone, Copy, Debug)]
enum Came {
    Record,
    Fault,
}

/// The places of the last that came of each partition, where that is a fault.
fn interrupted(messages: impl DoubleEndedIterator<Item = (Place, Came)>) -> Vec<Place> {
    let mut last: Vec<(Place, Came)> = Vec::new();
    for (place, came) in messages.rev() {
        if last.iter().all(|(later, _)| (later.topic, later.partition) != (place.topic, place.partition)) {
            last.push((place, came));
        }
    }
    let fault = |(place, came)| match came {
        Came::Record => None,
        Came::Fault => Some(place),
    };
    last.into_iter().filter_map(fault).collect()
}

/// What a message has there, if anything.
///
/// # Safety
/// Where it is not null, so many bytes lie there for as long as `'b`, and nobody writes to them.
unsafe fn bytes<'b>(start: *const u8, length: usize) -> Option<&'b [u8]> {
    // SAFETY: as the caller promises.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start, length) })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};
    use std::time::Instant;

    use rdkafka::config::ClientConfig;
    use rdkafka::consumer::{DefaultConsumerContext, RebalanceProtocol};
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
    use rdkafka::types::RDKafkaApiKey;
    use rdkafka::{ClientContext, Offset};

    use super::*;

    const WAIT: Duration = Duration::from_millis(20);
    const LONGEST: Duration = Duration::from_secs(60);

    type Cluster = MockCluster<'static, DefaultProducerContext>;

    fn cluster(topics: &[&str], partitions: i32) -> (Cluster, Vec<String>) {
        let cluster = MockCluster::new(1).expect("a mock cluster");
        for topic in topics {
            cluster.create_topic(topic, partitions, 1).expect("a topic");
        }
        (cluster, topics.iter().map(|topic| (*topic).to_owned()).collect())
    }

    /// Writes so many records, numbered from `first`, each with its number as value and time.
    fn produce(cluster: &Cluster, topic: &str, partition: i32, first: u32, records: u32) {
        let brokers = cluster.bootstrap_servers();
        let producer: BaseProducer =
            ClientConfig::new().set("bootstrap.servers", brokers).set("linger.ms", "1").create().expect("a producer");
        for number in first..first + records {
            let (key, value) = (format!("k-{number}"), number.to_be_bytes());
            let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition).timestamp(i64::from(number) + 1);
            if number % 10 != 3 {
                record = record.key(key.as_bytes());
            }
            if number % 10 != 7 {
                record = record.payload(&value);
            }
            producer.send(record).map_err(|(error, _)| error).expect("sent");
        }
        producer.flush(LONGEST).expect("arrived");
    }

    fn config(cluster: &Cluster) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .set("group.id", "test")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", "20");
        config
    }

    fn at(topic: &str, partitions: impl IntoIterator<Item = i32>, offset: i64) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("an offset");
        }
        list
    }

    /// The records of one partition from here on.
    fn reading<'c>(consumer: &'c BaseConsumer, topics: &[String], from: i64) -> Records<'c, DefaultConsumerContext> {
        let records = Records::new(consumer, topics).expect("a queue");
        let assigned = at(&topics[0], [0], from);
        hold(consumer, &assigned).expect("held");
        consumer.assign(&assigned).expect("assigned");
        records.forward(&assigned).expect("forwarded");
        records
    }

    /// The offsets of the records taken until there are so many, and the faults.
    fn offsets<'c>(
        records: &mut Records<'c, DefaultConsumerContext>,
        batch: &mut Batch<'c>,
        many: usize,
    ) -> (Vec<i64>, Vec<Fault>) {
        let (mut taken, mut faults, begun) = (Vec::new(), Vec::new(), Instant::now());
        while taken.len() < many && faults.is_empty() {
            assert!(begun.elapsed() < LONGEST, "{} of {many} came", taken.len());
            records.take(WAIT, batch);
            for message in batch.iter() {
                match message {
                    Ok(record) => taken.push(record.offset),
                    Err(fault) => faults.push(fault),
                }
            }
        }
        (taken, faults)
    }

    #[test]
    fn every_record_comes_once_in_the_order_of_its_partition_as_it_was_written() {
        const EACH: u32 = 1_200;
        let (cluster, topics) = cluster(&["b", "a"], 3);
        for (topic, partition) in topics.iter().flat_map(|topic| (0..3).map(move |partition| (topic, partition))) {
            produce(&cluster, topic, partition, 0, EACH);
        }
        let consumer: BaseConsumer = config(&cluster).create().expect("a consumer");
        let mut records = Records::new(&consumer, &topics).expect("a queue");
        let mut batch = records.batch();
        let mut assigned = at("a", 0..3, 0);
        (0..3).for_each(|partition| assigned.add_partition_offset("b", partition, Offset::Offset(5)).expect("an offset"));
        hold(&consumer, &assigned).expect("held");
        consumer.assign(&assigned).expect("assigned");
        records.forward(&assigned).expect("forwarded");
        let mut next = BTreeMap::from_iter((0..3).flat_map(|partition| [((0, partition), 5_u32), ((1, partition), 0)]));
        let (begun, mut largest) = (Instant::now(), 0);
        while next.values().any(|next| *next < EACH) {
            assert!(begun.elapsed() < LONGEST, "{next:?} of {EACH} came");
            records.take(WAIT, &mut batch);
            largest = largest.max(batch.iter().count());
            for record in batch.iter() {
                let record = record.expect("a record");
                let next = next.get_mut(&(record.topic, record.partition)).expect("assigned");
                assert_eq!(record.offset, i64::from(*next));
                assert_eq!(record.timestamp, Some(i64::from(*next) + 1));
                let (key, value) = (format!("k-{next}"), next.to_be_bytes());
                assert_eq!(record.key, (*next % 10 != 3).then_some(key.as_bytes()));
                assert_eq!(record.value, (*next % 10 != 7).then_some(value.as_slice()));
                *next += 1;
            }
            assert_eq!(batch.interruptions(), []);
            assert!(consumer.poll(Duration::ZERO).is_none());
        }
        assert!(largest > 100 && largest <= MOST, "{largest} in one batch");
        // The client's own positions are those of what was taken.
        for elem in consumer.position().expect("positions").elements() {
            assert_eq!(elem.offset(), Offset::Offset(i64::from(EACH)));
        }
        // The queue goes before what was taken from it.
        records.take(WAIT, &mut batch);
        produce(&cluster, "a", 0, EACH, 10);
        while batch.iter().count() == 0 {
            records.take(WAIT, &mut batch);
        }
        drop(records);
        assert_eq!(batch.iter().map(|record| record.map(|record| record.topic).ok()).next(), Some(Some(1)));
    }

    #[test]
    fn what_is_held_waits_until_it_is_forwarded_and_comes_nowhere_else() {
        let (cluster, topics) = cluster(&["t"], 1);
        produce(&cluster, "t", 0, 0, 100);
        let consumer: BaseConsumer = config(&cluster).create().expect("a consumer");
        let mut records = Records::new(&consumer, &topics).expect("a queue");
        let (mut batch, assigned) = (records.batch(), at("t", [0], 0));
        let waiting = || {
            let waiting = Cell::new(0);
            // SAFETY: the queue is alive.
            let count = |queue| waiting.set(unsafe { native::rd_kafka_queue_length(queue) });
            each_queue(consumer.client(), &assigned, count).expect("a queue");
            waiting.get()
        };
        // More than once: what is given back is held anew.
        for _ in 0..3 {
            hold(&consumer, &assigned).expect("held");
            consumer.assign(&assigned).expect("assigned");
            let begun = Instant::now();
            while waiting() < 100 {
                assert!(begun.elapsed() < LONGEST, "{} of 100 wait", waiting());
                assert!(consumer.poll(WAIT).is_none());
            }
            records.take(Duration::ZERO, &mut batch);
            assert_eq!(batch.iter().count(), 0);
            records.forward(&assigned).expect("forwarded");
            records.forward(&assigned).expect("forwarded again");
            assert_eq!(offsets(&mut records, &mut batch, 100).0, Vec::from_iter(0..100));
            consumer.unassign().expect("given back");
        }
    }

    #[test]
    fn what_was_fetched_before_a_seek_or_a_pause_does_not_come_after_it() {
        let (cluster, topics) = cluster(&["t"], 1);
        produce(&cluster, "t", 0, 0, 2_000);
        let consumer: BaseConsumer = config(&cluster).create().expect("a consumer");
        let mut records = reading(&consumer, &topics, 0);
        let mut batch = records.batch();
        let (taken, _) = offsets(&mut records, &mut batch, 1);
        let next = taken.len() as i64;
        assert_eq!(taken, Vec::from_iter(0..next));
        let all = at("t", [0], 0);
        for round in 0..5 {
            consumer.pause(&all).expect("paused");
            records.take(WAIT * 5, &mut batch);
            assert_eq!(batch.iter().count(), 0, "round {round}");
            consumer.resume(&all).expect("resumed");
        }
        let (rest, _) = offsets(&mut records, &mut batch, 2_000 - taken.len());
        assert_eq!(rest, Vec::from_iter(next..2_000));
        for back in [100, 1_900, 0, 1_999] {
            consumer.seek("t", 0, Offset::Offset(back), LONGEST).expect("sought");
            let (taken, _) = offsets(&mut records, &mut batch, 1);
            assert_eq!(taken, Vec::from_iter(back..back + taken.len() as i64));
        }
    }

    #[test]
    fn a_fault_between_records_is_no_record_and_skips_none() {
        let (cluster, topics) = cluster(&["t"], 1);
        // From version 7 on, a fetch has a place for what is wrong with all of it.
        cluster.apiversion(RDKafkaApiKey::Fetch, None, Some(6)).expect("an older broker");
        produce(&cluster, "t", 0, 0, 10);
        let consumer: BaseConsumer = config(&cluster).create().expect("a consumer");
        cluster.request_errors(RDKafkaApiKey::Fetch, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
        let mut records = reading(&consumer, &topics, 3);
        let mut batch = records.batch();
        let (taken, faults) = offsets(&mut records, &mut batch, 1);
        assert_eq!(taken, Vec::<i64>::new());
        let denied = KafkaError::MessageConsumption(RDKafkaErrorCode::TopicAuthorizationFailed);
        assert_eq!(faults.into_iter().map(|fault| fault.error).collect::<Vec<_>>(), [denied]);
        let place = Place { topic: 0, partition: 0, offset: 3 };
        assert_eq!(batch.interruptions(), [place]);
        // This is why: the client takes the fault for a record, and would skip one after a pause.
        let position = || consumer.position().expect("positions").elements()[0].offset();
        assert_eq!(position(), Offset::Offset(4));
        consumer.seek("t", 0, Offset::Offset(place.offset), LONGEST).expect("sought");
        assert_eq!(position(), Offset::Invalid);
        consumer.pause(&at("t", [0], 0)).expect("paused");
        consumer.resume(&at("t", [0], 0)).expect("resumed");
        assert_eq!(offsets(&mut records, &mut batch, 7).0, Vec::from_iter(3..10));
        assert_eq!(batch.interruptions(), []);
    }

    #[test]
    fn a_partition_is_interrupted_where_its_last_message_is_a_fault() {
        let at = |topic, partition, offset| Place { topic, partition, offset };
        let came = [
            (at(0, 1, 5), Came::Fault),
            (at(0, 2, 7), Came::Record),
            (at(1, 2, 7), Came::Record),
            (at(0, 1, 6), Came::Record),
            (at(1, 2, 8), Came::Fault),
            (at(0, 2, 8), Came::Fault),
            (at(0, 2, 8), Came::Fault),
        ];
        assert_eq!(interrupted(came.into_iter()), [at(0, 2, 8), at(1, 2, 8)]);
    }

    #[test]
    fn a_position_outside_of_what_is_kept_is_told() {
        let (cluster, topics) = cluster(&["t"], 1);
        produce(&cluster, "t", 0, 0, 10);
        let consumer: BaseConsumer = config(&cluster).create().expect("a consumer");
        let mut records = reading(&consumer, &topics, 10_000);
        let mut batch = records.batch();
        let (_, faults) = offsets(&mut records, &mut batch, 1);
        let told: Vec<KafkaError> = faults.into_iter().map(|fault| fault.error).collect();
        assert_eq!(told, [KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset)]);
    }

    /// A member of a group that reads on from where the last owner of a partition stood.
    #[derive(Clone, Default)]
    struct Member {
        next: Arc<Mutex<BTreeMap<i32, i64>>>,
        came: Arc<AtomicBool>,
    }

    impl ClientContext for Member {}

    impl ConsumerContext for Member {
        fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
            let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
            if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
                let mut given = TopicPartitionList::new();
                for elem in partitions.elements() {
                    let next = *self.next.lock().expect("a lock").entry(elem.partition()).or_default();
                    let added = given.add_partition_offset(elem.topic(), elem.partition(), Offset::Offset(next));
                    added.expect("an offset");
                }
                hold(consumer, &given).expect("held");
                self.came.store(true, Ordering::Release);
                let taken = if cooperative { consumer.incremental_assign(&given) } else { consumer.assign(&given) };
                taken.expect("assigned");
            } else {
                let given = if cooperative { consumer.incremental_unassign(partitions) } else { consumer.unassign() };
                given.expect("given back");
            }
        }
    }

    /// Takes a batch, each record of which must be the next of its partition; says how many there were.
    fn take_next<'c>(consumer: &'c BaseConsumer<Member>, records: &mut Records<'c, Member>, batch: &mut Batch<'c>) -> usize {
        if let Some(Ok(_)) = consumer.poll(Duration::ZERO) {
            panic!("a record came outside of a batch");
        }
        if consumer.context().came.swap(false, Ordering::AcqRel) {
            records.forward(&consumer.assignment().expect("an assignment")).expect("forwarded");
        }
        records.take(WAIT, batch);
        let mut next = consumer.context().next.lock().expect("a lock");
        for record in batch.iter().flatten() {
            let next = next.entry(record.partition).or_default();
            assert_eq!(record.offset, *next, "of partition {}", record.partition);
            *next += 1;
        }
        batch.iter().flatten().count()
    }

    fn partitions_move_from_member_to_member(assignor: &str) {
        const PARTITIONS: i32 = 4;
        let (cluster, topics) = cluster(&["t"], PARTITIONS);
        let produce_each = |first, records| (0..PARTITIONS).for_each(|one| produce(&cluster, "t", one, first, records));
        let next: Arc<Mutex<BTreeMap<i32, i64>>> = Arc::default();
        let member = || -> BaseConsumer<Member> {
            let member = Member { next: Arc::clone(&next), ..Member::default() };
            let mut config = config(&cluster);
            // The mock broker lets the members that are there wait for nearly as long for others.
            config.set("partition.assignment.strategy", assignor).set("session.timeout.ms", "4500");
            let consumer: BaseConsumer<Member> = config.create_with_context(member).expect("a consumer");
            consumer.subscribe(&["t"]).expect("subscribed");
            consumer
        };
        let all_stand_at = |offset: i64| (0..PARTITIONS).all(|one| next.lock().expect("a lock").get(&one) == Some(&offset));
        let owned = |member: &BaseConsumer<Member>| member.assignment().expect("an assignment").count();
        let begun = Instant::now();
        let in_time = || assert!(begun.elapsed() < LONGEST, "{:?}", next.lock());

        produce_each(0, 300);
        let first = member();
        let mut of_first = Records::new(&first, &topics).expect("a queue");
        let mut batch = of_first.batch();
        while take_next(&first, &mut of_first, &mut batch) == 0 {
            in_time();
        }
        // The other comes while there is more to read.
        let second = member();
        let mut of_second = Records::new(&second, &topics).expect("a queue");
        let mut other_batch = of_second.batch();
        let (mut by_second, mut produced) = (0, 300_u32);
        // All may have been read before a member has got what it keeps.
        while by_second == 0 || !all_stand_at(i64::from(produced)) || (owned(&first), owned(&second)) != (2, 2) {
            in_time();
            take_next(&first, &mut of_first, &mut batch);
            by_second += take_next(&second, &mut of_second, &mut other_batch);
            if by_second == 0 && all_stand_at(i64::from(produced)) {
                produce_each(produced, 50);
                produced += 50;
            }
        }
        // And takes all when the first goes.
        produce_each(produced, 300);
        take_next(&first, &mut of_first, &mut batch);
        drop((batch, of_first));
        drop(first);
        while !all_stand_at(i64::from(produced + 300)) || owned(&second) != PARTITIONS as usize {
            in_time();
            take_next(&second, &mut of_second, &mut other_batch);
        }
    }

    #[test]
    fn every_record_is_read_once_while_all_partitions_move() {
        partitions_move_from_member_to_member("range");
    }

    #[test]
    fn every_record_is_read_once_while_some_partitions_move() {
        partitions_move_from_member_to_member("cooperative-sticky");
    }
}
