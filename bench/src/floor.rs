//! The floor: the least that anything costs that reads the backlog and writes what Sillage writes, exactly once.
//!
//! A loop around librdkafka: takes records in batches, decodes nothing, decides nothing, and writes back what was captured of
//! Sillage's run, spread evenly over the input, in the same kind of transactions. Runs as a process of its own.

use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::capture::{self, Captured};
use crate::ffi::{self, Batches, Topic};
use crate::kafka::{self, CALL, Extent};

/// Records in a batch, at most.
const BATCH: usize = 4_096;
/// Between two commits.
const INTERVAL: Duration = Duration::from_millis(100);

/// Drains a topic, writing to topics `group.…`; waits for a line on its standard input before, and another after. `properties`
/// are librdkafka's, `name=value`, and win over ours.
pub fn run(brokers: &str, topic: &str, group: &str, captured: &Path, properties: &[String]) -> Result<(), String> {
    let bytes = std::fs::read(captured).map_err(|error| format!("{}: {error}", captured.display()))?;
    let captured = capture::read(&bytes)?;
    let consumer = consumer(brokers, group, properties)?;
    let extents = kafka::extents(&consumer, topic)?;
    let producer = producer(brokers, group, properties)?;
    let names: Vec<String> = captured.topics.iter().map(|name| format!("{group}.{name}")).collect();
    let topics: Vec<Topic<'_>> = names.iter().map(|name| Topic::of(&producer, name)).collect();
    // From here on it is measured.
    println!("ready");
    let mut line = [0];
    let _ = std::io::stdin().read(&mut line);
    let mut writer = Writer { producer: &producer, topics: &topics, names: &names, captured: &captured, written: 0 };
    drain(&consumer, &mut writer, topic, &extents)?;
    println!("drained");
    let _ = std::io::stdin().read(&mut line);
    Ok(())
}

fn drain(consumer: &BaseConsumer, writer: &mut Writer<'_>, topic: &str, extents: &[Extent]) -> Result<(), String> {
    let mut all = TopicPartitionList::new();
    for extent in extents {
        let added = all.add_partition_offset(topic, extent.partition, Offset::Beginning);
        added.map_err(|error| error.to_string())?;
    }
    consumer.assign(&all).map_err(|error| error.to_string())?;
    let total: i64 = extents.iter().map(|extent| extent.high - extent.low).sum();
    let mut batches = Batches::of(consumer, BATCH);
    let group = consumer.group_metadata().ok_or("a consumer with a group has its metadata")?;
    let (mut taken, mut committed) = (0, 0);
    let mut next: Vec<i64> = Vec::new();
    let mut due = Instant::now() + INTERVAL;
    writer.producer.begin_transaction().map_err(|error| error.to_string())?;
    while committed < total {
        // Less than a millisecond would be no waiting at all.
        let wait = due.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        taken += batches.take(wait, |partition, offset| {
            let partition = partition as usize;
            if next.len() <= partition {
                next.resize(partition + 1, -1);
            }
            next[partition] = offset + 1;
        })? as i64;
        writer.write_until((writer.captured.records.len() as i128 * i128::from(taken) / i128::from(total)) as usize)?;
        if taken == committed || (taken < total && Instant::now() < due) {
            if taken == committed {
                due = Instant::now() + INTERVAL;
            }
            continue;
        }
        due = Instant::now() + INTERVAL;
        ffi::flush(writer.producer, CALL)?;
        writer.producer.poll(Duration::ZERO);
        let mut offsets = TopicPartitionList::new();
        for (partition, offset) in next.iter_mut().enumerate().filter(|(_, offset)| **offset >= 0) {
            let added = offsets.add_partition_offset(topic, partition as i32, Offset::Offset(*offset));
            added.map_err(|error| error.to_string())?;
            *offset = -1;
        }
        let sent = writer.producer.send_offsets_to_transaction(&offsets, &group, CALL);
        sent.and_then(|()| writer.producer.commit_transaction(CALL)).map_err(|error| format!("cannot commit: {error}"))?;
        committed = taken;
        if committed < total {
            writer.producer.begin_transaction().map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

struct Writer<'a> {
    producer: &'a BaseProducer,
    topics: &'a [Topic<'a>],
    names: &'a [String],
    captured: &'a Captured<'a>,
    written: usize,
}

impl Writer<'_> {
    fn write_until(&mut self, until: usize) -> Result<(), String> {
        for record in &self.captured.records[self.written..until] {
            let (topic, key) = (usize::from(record.topic), (!record.key.is_empty()).then_some(record.key));
            while !self.hand_over(topic, record, key)? {
                self.producer.poll(Duration::from_millis(1));
            }
        }
        self.written = until;
        Ok(())
    }

    fn hand_over(&self, topic: usize, record: &capture::Record<'_>, key: Option<&[u8]>) -> Result<bool, String> {
        if !record.stale {
            return Ok(self.topics[topic].produce(record.partition, key, record.value));
        }
        let headers = OwnedHeaders::new_with_capacity(1).insert(Header { key: "sillage-stale", value: Some("true") });
        let outgoing: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&self.names[topic]).payload(record.value);
        let outgoing = outgoing.partition(record.partition).headers(headers);
        Ok(self.producer.send(BaseRecord { key, ..outgoing }).is_ok())
    }
}

/// Batches as large as they get, since each commit sends what waits; and no reports of deliveries that went well.
fn producer(brokers: &str, group: &str, properties: &[String]) -> Result<BaseProducer, String> {
    let mut config = kafka::config(brokers);
    config.set("transactional.id", group).set("linger.ms", "20").set("compression.type", "lz4");
    config.set("delivery.report.only.error", "true").set("message.max.bytes", "2000000");
    apply(&mut config, properties);
    let producer: BaseProducer = config.create().map_err(|error| error.to_string())?;
    producer.init_transactions(CALL).map_err(|error| format!("cannot begin to write transactions: {error}"))?;
    Ok(producer)
}

fn consumer(brokers: &str, group: &str, properties: &[String]) -> Result<BaseConsumer, String> {
    let mut config = kafka::config(brokers);
    config.set("group.id", group).set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    config.set("isolation.level", "read_committed").set("auto.offset.reset", "error");
    config.set("fetch.message.max.bytes", "2097152").set("fetch.max.bytes", "8388608").set("fetch.queue.backoff.ms", "10");
    config.set("queued.max.messages.kbytes", "65536").set("queued.min.messages", "100000");
    apply(&mut config, properties);
    config.create().map_err(|error| error.to_string())
}

fn apply(config: &mut ClientConfig, properties: &[String]) {
    for (name, value) in properties.iter().filter_map(|property| property.split_once('=')) {
        config.set(name, value);
    }
}
