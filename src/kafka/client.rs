//! Client configurations, and where librdkafka's log lines and errors go.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use tracing::{debug, warn};

use super::{Connection, Protocol};
use crate::memory::Fetching;

/// How long a transaction of somebody from outside may take: Kafka's own default for the most that a broker allows.
pub(super) const OFFLINE_TRANSACTION: Duration = Duration::from_secs(900);
/// How long a transaction may stay open before the broker aborts it.
const TRANSACTION_TIMEOUT_MILLIS: u32 = 10_000;

/// How long the client waits before it makes a request again, a fifth less or more. A commit whose connection was cut is
/// repeated inside the client without a word, and the first request can arrive later, in the next transaction, and end it: all
/// that tells is that the commit took at least this long (`transactions::SLOW` is less).
const ASKED_AGAIN_AFTER_MILLIS: u32 = 1_500;

/// How brokers name a client in their logs and quotas.
pub(super) fn id(connection: &Connection) -> String {
    connection.properties.get("client.id").cloned().unwrap_or_else(|| format!("sillage-{}", connection.instance))
}

/// What an answer has beside the records, with room to spare.
const FRAMING: u64 = 64 << 10;
/// What a producer holds at the most, in bytes: librdkafka's own default.
const LARGEST_QUEUE: u64 = 1 << 30;

/// What all clients have in common.
pub(super) fn base(connection: &Connection) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &connection.brokers);
    config.set("client.id", id(connection));
    config.set("reconnect.backoff.max.ms", "1000");
    config.set("allow.auto.create.topics", "false");
    for (name, value) in &connection.properties {
        config.set(name, value);
    }
    config
}

/// The name of a worker among all of its group, for its place in the group and for its transactions.
fn member(connection: &Connection, worker: usize) -> String {
    format!("{}-{worker}", connection.instance)
}

/// `largest` bytes must fit into an answer: a batch comes whole, however little is asked for.
pub(super) fn consumer(connection: &Connection, worker: usize, largest: usize) -> ClientConfig {
    let mut config = base(connection);
    let Fetching { queue, records, fetch, batch } = connection.memory.fetching();
    let given = connection.properties.get("fetch.max.bytes").and_then(|bytes| bytes.parse::<u64>().ok());
    let answer = batch.max(largest as u64 + FRAMING).max(given.unwrap_or(fetch) + FRAMING);
    let defaults = [
        // Small fetches, because all that an answer holds is decompressed at once; and a short back-off: a full queue otherwise
        // stalls fetching for a second.
        ("fetch.message.max.bytes", fetch.to_string()),
        ("fetch.max.bytes", fetch.to_string()),
        ("receive.message.max.bytes", answer.to_string()),
        ("fetch.queue.backoff.ms", "10".to_owned()),
        ("fetch.wait.max.ms", "100".to_owned()),
        ("queued.max.messages.kbytes", (queue >> 10).max(1).to_string()),
        ("queued.min.messages", records.to_string()),
        ("statistics.interval.ms", "1000".to_owned()),
    ];
    unless_given(&mut config, connection, &defaults);
    // Of a consumer it says only what `fetch.max.bytes` may not be less than.
    config.set("message.max.bytes", fetch.min(1_000_000).to_string());
    // Either way all inputs' partitions of one number go to one member, which nothing but `range` promises.
    match connection.protocol {
        Protocol::Classic => {
            unless_given(&mut config, connection, &[("session.timeout.ms", "45000".to_owned())]);
            // Static membership: whoever comes back within the session time-out moves nobody's shards.
            config.set("partition.assignment.strategy", "range").set("group.instance.id", member(connection, worker));
        }
        Protocol::Consumer => {
            // No static member: after a crash the brokers would refuse its name until the session is over.
            config.set("group.protocol", "consumer").set("group.remote.assignor", "range");
        }
    }
    config
        .set("group.id", &connection.group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // A position that retention has deleted must be seen, not silently skipped.
        .set("auto.offset.reset", "error")
        // Whoever hears of the end between the records would take it for one of them.
        .set("enable.partition.eof", "false")
        .set("isolation.level", "read_committed");
    config
}

fn unless_given(config: &mut ClientConfig, connection: &Connection, defaults: &[(&str, String)]) {
    for (name, value) in defaults.iter().filter(|(name, _)| !connection.properties.contains_key(*name)) {
        config.set(*name, value);
    }
}

pub(super) fn producer(connection: &Connection, worker: usize, max_bytes: usize) -> ClientConfig {
    let mut config = base(connection);
    let queue = connection.memory.producing(max_bytes as u64).min(LARGEST_QUEUE);
    let defaults = [
        ("linger.ms", "20".to_owned()),
        ("compression.type", "lz4".to_owned()),
        ("queue.buffering.max.kbytes", (queue >> 10).to_string()),
    ];
    unless_given(&mut config, connection, &defaults);
    config
        .set("transactional.id", format!("{}-{}", connection.group, member(connection, worker)))
        .set("transaction.timeout.ms", TRANSACTION_TIMEOUT_MILLIS.to_string())
        .set("retry.backoff.ms", ASKED_AGAIN_AFTER_MILLIS.to_string())
        .set("retry.backoff.max.ms", ASKED_AGAIN_AFTER_MILLIS.to_string())
        .set("message.max.bytes", max_bytes.to_string())
        .set("partitioner", "murmur2_random");
    config
}

/// A client that only asks questions.
pub(super) fn asking(connection: &Connection, isolation: &str) -> ClientConfig {
    let mut config = base(connection);
    config.set("isolation.level", isolation).set("enable.auto.commit", "false");
    config
}

/// A client that reads state logs, committed records only.
pub(super) fn state_reader(connection: &Connection) -> Result<BaseConsumer<Plain>, String> {
    let mut config = asking(connection, "read_committed");
    config.set("group.id", format!("{}-restore", connection.group));
    config.set("auto.offset.reset", "earliest").set("enable.auto.offset.store", "false");
    config.set("fetch.message.max.bytes", "4194304").set("enable.partition.eof", "true");
    // Pages are large, and taken at once.
    config.set("queued.max.messages.kbytes", "16384");
    // The end of a log is noticed after so long.
    config.set("fetch.wait.max.ms", "20");
    config.create_with_context(Plain::default()).map_err(|error| format!("cannot make a client: {error}"))
}

/// Passes librdkafka's log lines on, for those who look closely: each client says several a second while a broker is away, and
/// what matters comes as an error besides.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, line: &str) {
    debug!(?level, facility, "{line}");
}

/// Between two lines about errors of one kind.
const TELL: Duration = Duration::from_secs(60);

/// Tells of an error that a client reports, of each kind once a minute, whichever client it is. That a connection is gone is told
/// by whoever looks after the service, once no broker answers.
pub(super) fn report(error: &KafkaError, reason: &str) {
    static TOLD: Mutex<BTreeMap<i32, Instant>> = Mutex::new(BTreeMap::new());
    let code = error.rdkafka_error_code().map_or(0, |code| code as i32);
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if passes(error) || told.get(&code).is_some_and(|told| told.elapsed() < TELL) {
        debug!(%error, reason, "a Kafka client reports an error");
    } else {
        told.insert(code, Instant::now());
        warn!(%error, reason, "a Kafka client reports an error");
    }
}

/// Whether an error is about connections, leaders or coordinators that come and go, or tells of no fault at all. What is fatal
/// for a client is told by whoever uses it.
fn passes(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::PartitionEOF
                | Code::Fatal
                | Code::FencedInstanceId
                | Code::Fenced
                | Code::InvalidTransactionalState
                | Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::BrokerDestroy
                | Code::DestroyBroker
                | Code::NodeUpdate
                | Code::OperationTimedOut
                | Code::TimedOutQueue
                | Code::MessageTimedOut
                | Code::WaitingForCoordinator
                | Code::LeaderNotAvailable
                | Code::NotLeaderForPartition
                | Code::RequestTimedOut
                | Code::BrokerNotAvailable
                | Code::ReplicaNotAvailable
                | Code::NetworkException
                | Code::CoordinatorLoadInProgress
                | Code::CoordinatorNotAvailable
                | Code::NotCoordinator
                | Code::RebalanceInProgress
        )
    )
}

/// Whether the brokers have understood a question and refuse it: asking again changes nothing as long as nobody changes what
/// they allow.
pub(super) fn is_refusal(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::Authentication
                | Code::SaslAuthenticationFailed
                | Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::TransactionalIdAuthorizationFailed
                | Code::UnsupportedVersion
                | Code::UnsupportedFeature
                | Code::InvalidTransactionTimeout
                | Code::InvalidConfig
                | Code::InvalidTopic
        )
    )
}

/// The context of a client that has nothing to tell but errors; remembers whether its connections were disturbed.
#[derive(Debug, Default)]
pub(super) struct Plain {
    disturbed: AtomicBool,
    /// By partition: the first offset of what was sent as [`NOTED`] and delivered since it was last asked for.
    noted: Mutex<BTreeMap<i32, i64>>,
    error: Mutex<Option<String>>,
}

/// Marks a record whose offset is to be noted when it is delivered.
pub(super) const NOTED: usize = 1;

impl Plain {
    /// Whether there was an error since this was last asked.
    pub(super) fn was_disturbed(&self) -> bool {
        self.disturbed.swap(false, Ordering::AcqRel)
    }

    /// The latest error, in librdkafka's words.
    pub(super) fn last_error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first offset by partition of the noted records delivered since this was last asked.
    pub(super) fn take_noted(&self) -> BTreeMap<i32, i64> {
        std::mem::take(&mut *self.noted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Plain {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition comes the same way, and is no fault.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        self.disturbed.store(true, Ordering::Release);
        report(&error, reason);
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }
}

impl ConsumerContext for Plain {}

impl ProducerContext for Plain {
    type DeliveryOpaque = usize;

    /// A delivery that fails makes its transaction fail; the commit says so.
    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        if let (Ok(record), NOTED) = (result, opaque) {
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            let first = noted.entry(record.partition()).or_insert(record.offset());
            *first = (*first).min(record.offset());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::Start;
    use crate::memory::Budget;
    use crate::wire::Format;

    fn connection(protocol: Protocol) -> Connection {
        Connection {
            brokers: "localhost:9092".to_owned(),
            group: "shop".to_owned(),
            instance: "one".to_owned(),
            protocol,
            inputs: vec!["in".to_owned()],
            output: "out".to_owned(),
            format: Format::Json,
            start: Start::Earliest,
            properties: [
                ("partitioner", "random"),
                ("isolation.level", "read_uncommitted"),
                ("enable.auto.commit", "true"),
                ("enable.partition.eof", "true"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
            buffered_records: 1,
            settle: None,
            memory: Budget { bytes: 512 << 20, workers: 1 },
        }
    }

    /// Whatever `properties` says: without these nothing that is promised holds.
    #[test]
    fn what_exactly_once_hangs_on_is_not_for_properties_to_say() {
        let connection = connection(Protocol::Classic);
        // The same across restarts, so that a new process ends what the old one left open; each worker its own.
        let ids = [0, 1, 0].map(|worker| producer(&connection, worker, 9).get("transactional.id").map(ToOwned::to_owned));
        assert_eq!(ids[0], ids[2]);
        assert!(ids[0].is_some() && ids[0] != ids[1], "{ids:?}");
        let (written, read) = (producer(&connection, 0, 9), consumer(&connection, 0, 9));
        // As all other clients choose partitions.
        assert_eq!(written.get("partitioner"), Some("murmur2_random"));
        assert_eq!(written.get("message.max.bytes"), Some("9"));
        let of = |name| read.get(name);
        assert_eq!((of("isolation.level"), of("enable.auto.commit")), (Some("read_committed"), Some("false")));
        assert_eq!((of("auto.offset.reset"), of("enable.auto.offset.store")), (Some("error"), Some("false")));
        assert_eq!(of("enable.partition.eof"), Some("false"));
        assert_eq!((of("partition.assignment.strategy"), of("group.instance.id")), (Some("range"), Some("one-0")));
    }
}
