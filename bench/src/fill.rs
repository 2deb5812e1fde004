//! Writes the backlog: keyed by customer as Kafka's own clients do, lz4, stamped with event time, so that deadlines fall due
//! inside it. The last record of each partition stands at the very end: whatever is due before is decided by then.

use std::time::Duration;

use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use crate::avro;
use crate::kafka;
use crate::load::{self, Settings};

/// Partitions of the input and of the outputs.
pub const PARTITIONS: i32 = 8;

/// A backlog that was written.
pub struct Backlog {
    /// Its topic.
    pub topic: String,
    /// Touchpoints, the closing ones among them.
    pub touchpoints: u64,
    /// Customers who came.
    pub customers: usize,
    /// Bytes of a value, on average.
    pub bytes_each: f64,
    /// The instant of the last touchpoint, in milliseconds since 1970.
    pub end_ms: i64,
}

/// The form of a touchpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As JSON.
    Json,
    /// As Avro, a single object.
    Avro,
}

impl Format {
    /// In commands and configurations.
    pub fn name(self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::Avro => "avro",
        }
    }

    /// In texts.
    pub fn title(self) -> &'static str {
        match self {
            Format::Json => "JSON",
            Format::Avro => "Avro",
        }
    }
}

/// Creates the topic and writes the load, which ends at `end_ms`.
pub fn fill(brokers: &str, topic: &str, settings: &Settings, format: Format, end_ms: i64) -> Result<Backlog, String> {
    let filler = Filler::create(brokers, topic, Stamp::Event)?;
    let deeds = load::deeds(settings);
    let start = end_ms - settings.span_ms as i64;
    let (mut key, mut text, mut datum, mut bytes) = (String::new(), String::new(), Vec::new(), 0);
    let mut seen = vec![false; settings.candidates as usize];
    for deed in &deeds {
        let at = start + deed.at as i64;
        load::key(deed, &mut key);
        let value = match format {
            Format::Json => {
                load::json(deed, at, &mut text);
                text.as_bytes()
            }
            Format::Avro => {
                avro::touchpoint(deed, at, &mut datum);
                &datum
            }
        };
        bytes += value.len();
        seen[deed.customer as usize] = true;
        filler.send(&key, value, at);
    }
    filler.close(end_ms, format);
    filler.flush()?;
    let customers = seen.iter().filter(|seen| **seen).count();
    let bytes_each = bytes as f64 / deeds.len() as f64;
    let touchpoints = deeds.len() as u64 + PARTITIONS as u64;
    Ok(Backlog { topic: topic.to_owned(), touchpoints, customers, bytes_each, end_ms })
}

/// Whose clock stamps the records of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// Event time, so that deadlines fall due inside a backlog.
    Event,
    /// The broker's.
    Broker,
}

/// Writes touchpoints to a topic of its own.
pub struct Filler {
    topic: String,
    producer: ThreadedProducer<DefaultProducerContext>,
}

impl Filler {
    /// Creates the topic.
    pub fn create(brokers: &str, topic: &str, stamp: Stamp) -> Result<Filler, String> {
        let settings: &[(&str, &str)] = match stamp {
            Stamp::Event => {
                &[("message.timestamp.type", "CreateTime"), ("message.timestamp.before.max.ms", "9223372036854775807")]
            }
            Stamp::Broker => &[("message.timestamp.type", "LogAppendTime")],
        };
        kafka::create(brokers, &[topic.to_owned()], PARTITIONS, settings)?;
        Filler::open(brokers, topic, stamp)
    }

    /// Writes to a topic that is there.
    pub fn open(brokers: &str, topic: &str, stamp: Stamp) -> Result<Filler, String> {
        let linger = match stamp {
            Stamp::Event => "50",
            // What is sent live is to be there at once.
            Stamp::Broker => "1",
        };
        let mut config = kafka::config(brokers);
        config.set("enable.idempotence", "true").set("partitioner", "murmur2_random").set("compression.type", "lz4");
        config.set("linger.ms", linger).set("batch.size", "262144").set("queue.buffering.max.messages", "500000");
        let producer = config.create().map_err(|error| error.to_string())?;
        Ok(Filler { topic: topic.to_owned(), producer })
    }

    /// Sends a touchpoint, and waits while too many are on their way.
    pub fn send(&self, key: &str, value: &[u8], at: i64) {
        let mut record = BaseRecord::to(&self.topic).key(key).payload(value).timestamp(at);
        while let Err((_, back)) = self.producer.send(record) {
            record = back;
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Sends a last touchpoint to each partition, of a customer of its own.
    pub fn close(&self, at: i64, format: Format) {
        for partition in 0..PARTITIONS {
            let customer = customer_of(partition);
            let value = match format {
                Format::Json => load::closing(partition, &customer, at).into_bytes(),
                Format::Avro => avro::closing(partition, &customer, at),
            };
            self.send(&customer, &value, at);
        }
    }

    /// Waits until everything is written.
    pub fn flush(&self) -> Result<(), String> {
        let flushed = self.producer.flush(Duration::from_secs(120));
        flushed.map_err(|error| format!("the touchpoints were not written: {error}"))
    }
}

/// A customer of nobody's whose partition is this one.
fn customer_of(partition: i32) -> String {
    let names = (0_u32..).map(|number| format!("c-end-{number}"));
    let mut fitting = names.filter(|name| (murmur2(name.as_bytes()) & 0x7fff_ffff) as i32 % PARTITIONS == partition);
    fitting.next().unwrap_or_default()
}

/// Kafka's hash of a key.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut h: u32 = 0x9747_b28c ^ data.len() as u32;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let k = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]).wrapping_mul(M);
        h = h.wrapping_mul(M) ^ (k ^ (k >> 24)).wrapping_mul(M);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * place);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of Kafka's own test, `UtilsTest.testMurmur2`.
    #[test]
    fn keys_hash_as_kafka_hashes_them() {
        for (key, hash) in [("21", -973_932_308), ("foobar", -790_332_482), ("a-little-bit-long-string", -985_981_536)] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }
}
