//! Writing touchpoints to Kafka, as a shop would: the generator's side, outside of any transaction.
//!
//! Idempotent, keyed, partitioned by murmur2 as Kafka's own clients do. Knows nothing of what it writes.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use tracing::debug;

use super::client;
use crate::time::Timestamp;

/// How long to wait for a broker's first answer.
const REACH: Duration = Duration::from_secs(10);
/// How long to look for a topic.
const APPEARING: Duration = Duration::from_secs(5);
/// How long a record may be on its way; after that it is given up, and so is the load.
const DELIVERY_MILLIS: u32 = 30_000;
/// How long to wait for the last deliveries: all of them have come or failed before.
const FLUSH: Duration = Duration::from_secs(40);
/// Between two tries while the queue is full.
const PAUSE: Duration = Duration::from_millis(1);

/// A way into the topics.
pub struct Feed {
    producer: ThreadedProducer<Receipts>,
}

/// Counts what the brokers have acknowledged, and remembers what they would not take.
#[derive(Default)]
struct Receipts {
    delivered: AtomicU64,
    trouble: OnceLock<String>,
}

impl ClientContext for Receipts {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // What matters comes back with a delivery; the client reconnects by itself.
        debug!(%error, reason, "the producer reports an error");
    }
}

impl ProducerContext for Receipts {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.delivered.fetch_add(1, Ordering::Relaxed);
            }
            Err((error, _)) => {
                self.trouble.get_or_init(|| error.to_string());
            }
        }
    }
}

impl Feed {
    /// Reaches the brokers and finds the topics. `properties` are librdkafka's own, and win over ours.
    ///
    /// # Errors
    /// A property that librdkafka does not know, brokers that do not answer, a topic that does not exist.
    pub fn open(brokers: &str, topics: &[String], properties: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers)
            .set("client.id", "sillage-generate")
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "5")
            .set("compression.type", "lz4")
            .set("message.timeout.ms", DELIVERY_MILLIS.to_string())
            .set("reconnect.backoff.max.ms", "1000");
        for (name, value) in properties {
            config.set(name, value);
        }
        let producer: ThreadedProducer<Receipts> = config
            .create_with_context(Receipts::default())
            .map_err(|error| format!("cannot make a producer: {error}; check the properties"))?;
        for topic in topics {
            find(&producer, brokers, topic)?;
        }
        Ok(Feed { producer })
    }

    /// Hands a record over, waiting while the queue is full. It is on its way then, not yet there.
    ///
    /// # Errors
    /// What the brokers would not take of this or an earlier record.
    pub fn send(&self, topic: &str, key: &[u8], value: &[u8], timestamp: Timestamp) -> Result<(), String> {
        let mut record: BaseRecord<'_, [u8], [u8]> =
            BaseRecord::to(topic).key(key).payload(value).timestamp(timestamp.as_millis());
        let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
        loop {
            self.check()?;
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((error, returned)) if error == full => record = returned,
                Err((error, _)) => return Err(format!("cannot write to {topic}: {error}")),
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits until everything has arrived, and says how much that was.
    ///
    /// # Errors
    /// What did not arrive.
    pub fn finish(&self) -> Result<u64, String> {
        self.producer.flush(FLUSH).map_err(|error| format!("not everything has arrived: {error}"))?;
        self.check()?;
        Ok(self.producer.context().delivered.load(Ordering::Relaxed))
    }

    fn check(&self) -> Result<(), String> {
        match self.producer.context().trouble.get() {
            None => Ok(()),
            Some(reason) => Err(format!("a record did not arrive: {reason}; the load ends here")),
        }
    }
}

/// Looks for a topic until it is there: one that was created a moment ago may not be known to every broker yet.
fn find(producer: &ThreadedProducer<Receipts>, brokers: &str, topic: &str) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let metadata = producer
            .client()
            .fetch_metadata(Some(topic), REACH)
            .map_err(|error| format!("no broker answers at {brokers}: {error}; is it running, and is the address right?"))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        if found.is_some_and(|found| found.error().is_none() && !found.partitions().is_empty()) {
            return Ok(());
        }
        if begun.elapsed() > APPEARING {
            return Err(format!("there is no topic {topic} at {brokers}; create it first, or start the service, which can"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::Message;
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::mocking::MockCluster;

    use super::*;
    use crate::partitioner::Partitioner;

    const PARTITIONS: u32 = 6;

    #[test]
    fn every_record_arrives_once_on_its_keys_partition_with_its_time() {
        let cluster = MockCluster::new(1).expect("a mock cluster");
        cluster.create_topic("touchpoints", PARTITIONS as i32, 1).expect("a topic");
        let brokers = cluster.bootstrap_servers();
        let feed = Feed::open(&brokers, &["touchpoints".to_owned()], &BTreeMap::new()).expect("a feed");
        for number in 0..500_u32 {
            let key = format!("c-{:06}", number % 40);
            let at = Timestamp::from_millis(1_700_000_000_000 + i64::from(number));
            feed.send("touchpoints", key.as_bytes(), &number.to_be_bytes(), at).expect("sent");
        }
        assert_eq!(feed.finish(), Ok(500));

        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &brokers)
            .set("group.id", "test")
            .set("auto.offset.reset", "earliest")
            .create()
            .expect("a consumer");
        consumer.subscribe(&["touchpoints"]).expect("subscribed");
        let mut seen = [0_u32; 500];
        let begun = Instant::now();
        while seen.iter().sum::<u32>() < 500 {
            assert!(begun.elapsed() < Duration::from_secs(30), "{} of 500 arrived", seen.iter().sum::<u32>());
            let Some(record) = consumer.poll(Duration::from_millis(100)) else { continue };
            let record = record.expect("readable");
            let number = u32::from_be_bytes(record.payload().expect("a value").try_into().expect("four bytes"));
            seen[number as usize] += 1;
            let key = record.key().expect("a key");
            assert_eq!(Partitioner::Murmur2.partition(key, PARTITIONS), Some(record.partition() as u32));
            assert_eq!(record.timestamp().to_millis(), Some(1_700_000_000_000 + i64::from(number)));
        }
        assert_eq!(seen, [1; 500]);
    }

    #[test]
    fn an_unknown_property_says_so() {
        let properties = BTreeMap::from([("lingering.ms".to_owned(), "5".to_owned())]);
        let refused = Feed::open("127.0.0.1:1", &["t".to_owned()], &properties).err().expect("refused");
        assert!(refused.contains("lingering.ms") && refused.contains("check the properties"), "{refused}");
    }
}
