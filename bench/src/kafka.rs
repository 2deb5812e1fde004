//! What the harness asks of the broker: topics, ends, committed offsets, and records read to the end.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

/// How long any one call may take.
pub const CALL: Duration = Duration::from_secs(20);

/// What all clients have in common.
pub fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("log_level", "3");
    config
}

/// Whether a broker answers.
pub fn answers(brokers: &str) -> bool {
    let client: Result<BaseConsumer, KafkaError> = config(brokers).set("log_level", "0").create();
    let metadata = client.and_then(|client| client.fetch_metadata(None, Duration::from_secs(1)));
    metadata.is_ok_and(|metadata| !metadata.brokers().is_empty())
}

/// Creates topics that keep everything.
pub fn create(brokers: &str, names: &[String], partitions: i32, settings: &[(&str, &str)]) -> Result<(), String> {
    let topic = |name: &String| {
        let topic = NewTopic::new(name.clone().leak(), partitions, TopicReplication::Fixed(1)).set("retention.ms", "-1");
        settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
    };
    let topics: Vec<NewTopic<'_>> = names.iter().map(topic).collect();
    let (admin, options) = (admin(brokers)?, AdminOptions::new().operation_timeout(Some(CALL)));
    for answer in block_on(admin.create_topics(&topics, &options))?.map_err(|error| error.to_string())? {
        answer.map_err(|(name, code)| format!("cannot create topic {name}: {code}"))?;
    }
    Ok(())
}

/// Deletes all topics whose names begin so, but those that are the broker's own.
pub fn delete(brokers: &str, prefix: &str) -> Result<(), String> {
    let names = topics(brokers)?;
    let names: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| name.starts_with(prefix) && !name.starts_with("__")).collect();
    if names.is_empty() {
        return Ok(());
    }
    let (admin, options) = (admin(brokers)?, AdminOptions::new().operation_timeout(Some(CALL)));
    block_on(admin.delete_topics(&names, &options))?.map_err(|error| error.to_string())?;
    Ok(())
}

/// The names of all topics.
pub fn topics(brokers: &str) -> Result<Vec<String>, String> {
    let client: BaseConsumer = config(brokers).create().map_err(|error| error.to_string())?;
    let metadata = client.fetch_metadata(None, CALL).map_err(|error| error.to_string())?;
    Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
}

fn admin(brokers: &str) -> Result<AdminClient<DefaultClientContext>, String> {
    config(brokers).create().map_err(|error| error.to_string())
}

fn block_on<T>(future: impl Future<Output = T>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|error| error.to_string())?.block_on(future))
}

/// A partition, where it begins and where it ends.
#[derive(Clone, Debug)]
pub struct Extent {
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub low: i64,
    /// The offset behind the last one.
    pub high: i64,
}

/// The extents of all partitions of a topic.
pub fn extents(client: &BaseConsumer, topic: &str) -> Result<Vec<Extent>, String> {
    let metadata = client.fetch_metadata(Some(topic), CALL).map_err(|error| error.to_string())?;
    let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
    let extent = |partition: &rdkafka::metadata::MetadataPartition| {
        let (low, high) = watermarks(client, topic, partition.id())?;
        Ok(Extent { partition: partition.id(), low, high })
    };
    partitions.map(extent).collect()
}

/// Asks again for a while: of a topic that was created a moment ago, the leader may not know yet that it leads.
fn watermarks(client: &BaseConsumer, topic: &str, partition: i32) -> Result<(i64, i64), String> {
    let begun = Instant::now();
    loop {
        match client.fetch_watermarks(topic, partition, CALL) {
            Ok(found) => return Ok(found),
            Err(error) if begun.elapsed() > CALL => return Err(format!("{topic} {partition}: {error}")),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Reads topics from their beginnings to their ends as they are when the reading begins, committed records only.
pub fn read_all(brokers: &str, topics: &[String], mut each: impl FnMut(&BorrowedMessage<'_>)) -> Result<(), String> {
    let mut config = config(brokers);
    config.set("group.id", "bench-reader").set("enable.auto.commit", "false").set("isolation.level", "read_committed");
    config.set("enable.partition.eof", "true").set("auto.offset.reset", "earliest").set("fetch.wait.max.ms", "50");
    config.set("queued.max.messages.kbytes", "65536");
    let consumer: BaseConsumer = config.create().map_err(|error| error.to_string())?;
    let mut all = TopicPartitionList::new();
    for topic in topics {
        for extent in extents(&consumer, topic)? {
            let added = all.add_partition_offset(topic, extent.partition, Offset::Beginning);
            added.map_err(|error| error.to_string())?;
        }
    }
    let mut open = all.count();
    consumer.assign(&all).map_err(|error| error.to_string())?;
    while open > 0 {
        match consumer.poll(CALL) {
            Some(Ok(message)) => each(&message),
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(error)) => return Err(format!("cannot read {}: {error}", topics.join(", "))),
            None => return Err(format!("nothing more comes of {}, and its end has not come", topics.join(", "))),
        }
    }
    Ok(())
}

/// A reader of committed records that stands where topics end now, and sees what is committed from here on.
pub fn follow(brokers: &str, topics: &[String]) -> Result<BaseConsumer, String> {
    let mut config = config(brokers);
    config.set("group.id", "bench-follower").set("enable.auto.commit", "false").set("isolation.level", "read_committed");
    config.set("auto.offset.reset", "error").set("fetch.queue.backoff.ms", "1");
    let consumer: BaseConsumer = config.create().map_err(|error| error.to_string())?;
    let mut all = TopicPartitionList::new();
    for topic in topics {
        for extent in extents(&consumer, topic)? {
            let added = all.add_partition_offset(topic, extent.partition, Offset::Offset(extent.high));
            added.map_err(|error| error.to_string())?;
        }
    }
    consumer.assign(&all).map_err(|error| error.to_string())?;
    Ok(consumer)
}
