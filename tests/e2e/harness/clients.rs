//! The tests' own Kafka clients: what makes touchpoints, and what reads outcomes as any consumer would.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::util::Timeout;
use rdkafka::{Offset, TopicPartitionList};

/// How long any one call may take.
const CALL: Duration = Duration::from_secs(20);

/// What all clients have in common.
pub(crate) fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("log_level", "3");
    config
}

/// Whether a broker answers.
pub(crate) fn answers(brokers: &str) -> bool {
    let mut config = config(brokers);
    // A broker that is still starting is no news.
    config.set("log_level", "0");
    let client: BaseConsumer = config.create().expect("a client");
    client.fetch_metadata(None, Duration::from_secs(1)).is_ok_and(|metadata| !metadata.brokers().is_empty())
}

/// Names of all topics.
pub(crate) fn topics(brokers: &str) -> Vec<String> {
    let client: BaseConsumer = config(brokers).create().expect("a client");
    let metadata = client.fetch_metadata(None, CALL).expect("the metadata");
    metadata.topics().iter().map(|topic| topic.name().to_owned()).collect()
}

/// Creates a topic of which there is one copy.
pub(crate) fn create_topic(brokers: &str, name: &str, partitions: i32, settings: &[(&str, &str)]) {
    create_copied_topic(brokers, name, partitions, 1, settings);
}

/// Creates a topic of which there are so many copies.
pub(crate) fn create_copied_topic(brokers: &str, name: &str, partitions: i32, copies: i32, settings: &[(&str, &str)]) {
    create(brokers, NewTopic::new(name, partitions, TopicReplication::Fixed(copies)), settings);
}

/// Creates a topic whose copies are on these brokers, by partition; the first of them leads.
pub(crate) fn create_placed_topic(brokers: &str, name: &str, copies: &[&[i32]], settings: &[(&str, &str)]) {
    create(brokers, NewTopic::new(name, copies.len() as i32, TopicReplication::Variable(copies)), settings);
}

fn create(brokers: &str, topic: NewTopic<'_>, settings: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> = config(brokers).create().expect("a client");
    let topic = settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let options = AdminOptions::new().operation_timeout(Some(CALL));
    let answers = runtime.block_on(admin.create_topics([&topic], &options)).expect("an answer");
    for answer in answers {
        answer.unwrap_or_else(|(name, code)| panic!("topic {name} cannot be created: {code}"));
    }
}

/// Deletes a topic, and waits until it is gone.
pub(crate) fn delete_topic(brokers: &str, name: &str) {
    let admin: AdminClient<DefaultClientContext> = config(brokers).create().expect("a client");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let options = AdminOptions::new().operation_timeout(Some(CALL));
    let answers = runtime.block_on(admin.delete_topics(&[name], &options)).expect("an answer");
    for answer in answers {
        answer.unwrap_or_else(|(name, code)| panic!("topic {name} cannot be deleted: {code}"));
    }
    super::wait::until_true("the topic to be gone", CALL, || !topics(brokers).iter().any(|topic| topic == name));
}

/// A partition as the brokers tell it.
pub(crate) struct Standing {
    pub topic: String,
    pub partition: i32,
    /// Number of the broker that leads it, -1 where none does.
    pub leader: i32,
    /// How many copies are in step.
    pub in_step: usize,
}

/// All partitions of all topics, internal ones too; nothing where no broker answers.
pub(crate) fn partitions(brokers: &str) -> Vec<Standing> {
    let mut config = config(brokers);
    // Some brokers may be away on purpose.
    config.set("log_level", "0");
    let client: BaseConsumer = config.create().expect("a client");
    let Ok(metadata) = client.fetch_metadata(None, Duration::from_secs(3)) else { return Vec::new() };
    let of = |topic: &rdkafka::metadata::MetadataTopic| -> Vec<Standing> {
        let standing = |partition: &rdkafka::metadata::MetadataPartition| Standing {
            topic: topic.name().to_owned(),
            partition: partition.id(),
            leader: partition.leader(),
            in_step: partition.isr().len(),
        };
        topic.partitions().iter().map(standing).collect()
    };
    metadata.topics().iter().flat_map(of).collect()
}

/// Deletes what a partition holds before an offset, as retention does.
pub(crate) fn delete_before(brokers: &str, topic: &str, partition: i32, offset: i64) {
    let admin: AdminClient<DefaultClientContext> = config(brokers).create().expect("a client");
    let mut until = TopicPartitionList::new();
    until.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("an offset");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let options = AdminOptions::new().operation_timeout(Some(CALL));
    let deleted = runtime.block_on(admin.delete_records(&until, &options)).expect("an answer");
    deleted.elements().iter().for_each(|elem| elem.error().expect("deleted"));
}

/// Where each partition of a topic begins and ends.
pub(crate) fn extents(brokers: &str, topic: &str, partitions: i32) -> Vec<(i64, i64)> {
    let client: BaseConsumer = config(brokers).create().expect("a client");
    let extent = |partition| client.fetch_watermarks(topic, partition, CALL).expect("where it begins and ends");
    (0..partitions).map(extent).collect()
}

/// Commits an offset for a group from outside, as somebody does who sets it by hand. The group must be empty.
pub(crate) fn set_offset(brokers: &str, group: &str, topic: &str, partition: i32, offset: i64) {
    let client: BaseConsumer = config(brokers).set("group.id", group).create().expect("a client");
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("an offset");
    client.commit(&offsets, rdkafka::consumer::CommitMode::Sync).expect("committed");
}

/// State and number of members of a consumer group; unknown while a broker that has just started loads its groups.
pub(crate) fn group(brokers: &str, name: &str) -> (String, usize) {
    let client: BaseConsumer = config(brokers).create().expect("a client");
    let Ok(list) = client.fetch_group_list(Some(name), CALL) else { return (String::new(), 0) };
    let found = list.groups().iter().find(|group| group.name() == name);
    found.map_or((String::new(), 0), |group| (group.state().to_owned(), group.members().len()))
}

/// Committed offsets of a group, by partition.
pub(crate) fn committed(brokers: &str, group: &str, topic: &str, partitions: i32) -> Vec<i64> {
    let client: BaseConsumer = config(brokers).set("group.id", group).create().expect("a client");
    let mut asked = TopicPartitionList::new();
    asked.add_partition_range(topic, 0, partitions - 1);
    let found = client.committed_offsets(asked, CALL).expect("the committed offsets");
    found.elements().iter().map(|elem| if let Offset::Offset(offset) = elem.offset() { offset } else { 0 }).collect()
}

/// Writes touchpoints.
pub(crate) struct Writer(ThreadedProducer<DefaultProducerContext>);

/// A record to be written.
#[derive(Clone, Copy, Default)]
pub(crate) struct Record<'a> {
    pub topic: &'a str,
    pub key: &'a str,
    pub value: &'a [u8],
    /// Instead of the key's own.
    pub partition: Option<i32>,
}

impl Writer {
    /// A plain writer.
    pub(crate) fn new(brokers: &str) -> Writer {
        Writer::with(brokers, &[])
    }

    /// A writer of transactions.
    pub(crate) fn transactional(brokers: &str, id: &str) -> Writer {
        let writer = Writer::with(brokers, &[("transactional.id", id)]);
        writer.0.init_transactions(CALL).expect("transactions begin");
        writer
    }

    /// A writer whose records are acknowledged by the leader alone.
    pub(crate) fn hasty(brokers: &str) -> Writer {
        Writer::with(brokers, &[("enable.idempotence", "false"), ("acks", "1")])
    }

    /// A writer that sends together what comes within a moment.
    pub(crate) fn slow(brokers: &str) -> Writer {
        Writer::with(brokers, &[("linger.ms", "20")])
    }

    /// A plain writer with further settings.
    pub(crate) fn with(brokers: &str, settings: &[(&str, &str)]) -> Writer {
        let mut config = config(brokers);
        config.set("enable.idempotence", "true").set("partitioner", "murmur2_random").set("linger.ms", "2");
        config.set("message.max.bytes", "20000000").set("queue.buffering.max.messages", "1000000");
        for (name, value) in settings {
            config.set(*name, *value);
        }
        Writer(config.create().expect("a producer"))
    }

    /// Hands a record to the client.
    pub(crate) fn send(&self, record: Record<'_>) {
        self.send_stamped(record, None);
    }

    /// Hands a record to the client, with a timestamp of its own.
    pub(crate) fn send_stamped(&self, record: Record<'_>, timestamp: Option<i64>) {
        let mut send = BaseRecord::<str, [u8]>::to(record.topic).key(record.key).payload(record.value);
        (send.partition, send.timestamp) = (record.partition, timestamp);
        while let Err((error, back)) = self.0.send(send) {
            assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), "cannot write");
            send = back;
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until the broker has acknowledged everything.
    pub(crate) fn flush(&self) {
        self.0.flush(Timeout::After(CALL)).expect("everything is acknowledged");
    }

    /// Writes one record and waits until the broker has acknowledged it.
    pub(crate) fn write(&self, record: Record<'_>) {
        self.send(record);
        self.flush();
    }

    pub(crate) fn begin(&self) {
        self.0.begin_transaction().expect("a transaction begins");
    }

    pub(crate) fn commit(&self) {
        self.0.commit_transaction(CALL).expect("a transaction is committed");
    }

    pub(crate) fn abort(&self) {
        self.0.abort_transaction(CALL).expect("a transaction is undone");
    }
}

/// A record that was read.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub topic: String,
    pub timestamp: i64,
    pub key: Option<String>,
    pub headers: BTreeMap<String, String>,
    pub value: Option<Vec<u8>>,
}

impl Published {
    /// The value as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        let value = self.value.as_deref().unwrap_or_default();
        serde_json::from_slice(value).unwrap_or_else(|error| panic!("{self:?} is not JSON: {error}"))
    }

    /// A header that must be there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("{self:?} has no header {name}"))
    }
}

/// Reads topics from their beginnings, committed records only, and keeps what it read.
pub(crate) struct Reader {
    consumer: BaseConsumer<DefaultConsumerContext>,
    read: RefCell<Vec<Published>>,
}

impl Reader {
    /// A reader of topics that exist.
    pub(crate) fn of(brokers: &str, topics: &[String]) -> Reader {
        let mut config = config(brokers);
        config.set("group.id", "sillage-e2e-reader").set("enable.auto.commit", "false");
        config.set("isolation.level", "read_committed").set("auto.offset.reset", "earliest").set("fetch.wait.max.ms", "20");
        let consumer: BaseConsumer = config.create().expect("a consumer");
        let mut assigned = TopicPartitionList::new();
        for topic in topics {
            let metadata = consumer.fetch_metadata(Some(topic), CALL).expect("metadata");
            for partition in metadata.topics()[0].partitions() {
                let added = assigned.add_partition_offset(topic, partition.id(), Offset::Beginning);
                added.expect("a partition can be read from its beginning");
            }
        }
        assert!(assigned.count() >= topics.len(), "{topics:?} must exist");
        consumer.assign(&assigned).expect("partitions can be read");
        Reader { consumer, read: RefCell::default() }
    }

    /// Everything read so far.
    pub(crate) fn all(&self) -> Vec<Published> {
        self.read.borrow().clone()
    }

    /// Reads until what was read fulfils a condition; panics after `within`.
    pub(crate) fn until(&self, what: &str, within: Duration, enough: impl Fn(&[Published]) -> bool) -> Vec<Published> {
        let begun = Instant::now();
        while !enough(&self.read.borrow()) {
            let read = self.read.borrow();
            let last: Vec<String> = read.iter().rev().take(12).map(brief).collect();
            assert!(
                begun.elapsed() < within,
                "waited {within:?} for {what}; read {} records, the last ones (latest first): {last:#?}",
                read.len()
            );
            drop(read);
            self.poll(Duration::from_millis(50));
        }
        self.all()
    }

    /// Reads to the end as it is now.
    pub(crate) fn to_the_end(&self) -> Vec<Published> {
        let ends: Vec<(String, i32, i64)> = self
            .consumer
            .assignment()
            .expect("the assignment")
            .elements()
            .iter()
            .map(|elem| {
                let (_, high) =
                    self.consumer.fetch_watermarks(elem.topic(), elem.partition(), CALL).expect("the end of a partition");
                (elem.topic().to_owned(), elem.partition(), high)
            })
            .collect();
        let begun = Instant::now();
        loop {
            let position = self.consumer.position().expect("the position");
            let behind = ends.iter().find(|(topic, partition, end)| {
                let elem = position.find_partition(topic, *partition);
                let at = elem.map(|elem| elem.offset());
                *end > 0 && !matches!(at, Some(Offset::Offset(at)) if at >= *end)
            });
            let Some(behind) = behind else { return self.all() };
            assert!(begun.elapsed() < CALL, "cannot read to the end: {behind:?}");
            self.poll(Duration::from_millis(50));
        }
    }

    fn poll(&self, wait: Duration) {
        let mut wait = wait;
        while let Some(read) = self.consumer.poll(wait) {
            let record = match read {
                Ok(record) => record,
                // A broker may be away for a while; the client connects again.
                Err(KafkaError::MessageConsumption(
                    RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure,
                )) => continue,
                Err(error) => panic!("cannot read: {error}"),
            };
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let headers = record.headers().map_or_else(BTreeMap::new, |headers| {
                let header = |header: rdkafka::message::Header<'_, &[u8]>| {
                    (header.key.to_owned(), text(header.value.unwrap_or_default()))
                };
                headers.iter().map(header).collect()
            });
            self.read.borrow_mut().push(Published {
                topic: record.topic().to_owned(),
                timestamp: record.timestamp().to_millis().expect("a timestamp"),
                key: record.key().map(text),
                headers,
                value: record.payload().map(<[u8]>::to_vec),
            });
            wait = Duration::ZERO;
        }
    }
}

fn brief(record: &Published) -> String {
    let value = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned();
    format!("{} {}", record.topic, value.chars().take(300).collect::<String>())
}
