//! What Sillage writes in a run, kept for the floor to write again: outcomes and state log, byte for byte.
//!
//! The state log is read while it is written, since Sillage cuts it behind itself.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::kafka;
use crate::outcomes;

/// A record that was captured.
pub struct Record<'a> {
    /// Which of the topics.
    pub topic: u8,
    /// Its partition.
    pub partition: i32,
    /// Whether it has the header that marks what was decided late.
    pub stale: bool,
    /// Empty where there is none.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
}

/// Everything that was captured, in an order in which each partition is spread evenly.
pub struct Captured<'a> {
    /// The topics' names behind their prefix.
    pub topics: Vec<String>,
    /// The records.
    pub records: Vec<Record<'a>>,
}

/// Keeps records until they are written to a file.
#[derive(Default)]
pub struct Keeper {
    topics: Vec<String>,
    records: Vec<Kept>,
}

/// A record that is kept: topic, partition, stale, key, value.
type Kept = (u8, i32, bool, Vec<u8>, Vec<u8>);

/// What was captured of one topic, or of several.
#[derive(Clone, Copy, Debug, Default)]
pub struct Volume {
    /// Records.
    pub records: usize,
    /// Bytes of their values.
    pub bytes: usize,
}

impl Keeper {
    /// Reads the outcomes of a run until the instant at which the load ends.
    pub fn add_outcomes(&mut self, brokers: &str, prefix: &str, end_ms: i64) -> Result<Volume, String> {
        let mut volume = Volume::default();
        let topics: Vec<String> = outcomes::TOPICS.iter().map(|name| format!("{prefix}.{name}")).collect();
        let end = outcomes::instant(end_ms);
        kafka::read_all(brokers, &topics, |message| {
            let value = message.payload().unwrap_or_default();
            if !outcomes::is_after(value, &end) {
                volume.records += 1;
                volume.bytes += value.len();
                self.add(prefix, message);
            }
        })?;
        Ok(volume)
    }

    fn add(&mut self, prefix: &str, message: &BorrowedMessage<'_>) {
        let name = message.topic().strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')).unwrap_or(message.topic());
        let topic = self.topics.iter().position(|known| known == name).unwrap_or_else(|| {
            self.topics.push(name.to_owned());
            self.topics.len() - 1
        });
        let stale = message.headers().is_some_and(|headers| headers.count() > 0);
        let (key, value) = (message.key().unwrap_or_default(), message.payload().unwrap_or_default());
        self.records.push((topic as u8, message.partition(), stale, key.to_vec(), value.to_vec()));
    }

    /// Reads a state log as it is written, until it is told an instant and nothing older comes any more.
    pub fn follow_state(&mut self, brokers: &str, prefix: &str, until_ms: &AtomicI64) -> Result<Volume, String> {
        let topic = format!("{prefix}.state");
        while !kafka::topics(brokers)?.contains(&topic) {
            if until_ms.load(Ordering::Relaxed) < i64::MAX {
                return Err("the state log was never there".to_owned());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut config = kafka::config(brokers);
        config.set("group.id", "bench-state").set("enable.auto.commit", "false").set("isolation.level", "read_committed");
        config.set("auto.offset.reset", "error").set("fetch.wait.max.ms", "100");
        let consumer: BaseConsumer = config.create().map_err(|error| error.to_string())?;
        let mut all = TopicPartitionList::new();
        for extent in kafka::extents(&consumer, &topic)? {
            let added = all.add_partition_offset(&topic, extent.partition, Offset::Offset(0));
            added.map_err(|error| error.to_string())?;
        }
        consumer.assign(&all).map_err(|error| error.to_string())?;
        let (mut volume, mut last) = (Volume::default(), Instant::now());
        loop {
            let until = until_ms.load(Ordering::Relaxed);
            match consumer.poll(Duration::from_millis(50)) {
                Some(Ok(message)) if message.timestamp().to_millis().is_some_and(|at| at <= until) => {
                    last = Instant::now();
                    volume.records += 1;
                    volume.bytes += message.payload().map_or(0, <[u8]>::len);
                    self.add(prefix, &message);
                }
                Some(Ok(_)) | None => {}
                Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset))) => {
                    return Err("the state log was cut before it could be read".to_owned());
                }
                Some(Err(error)) => return Err(format!("cannot follow the state log: {error}")),
            }
            if until < i64::MAX && last.elapsed() > Duration::from_secs(1) {
                return Ok(volume);
            }
        }
    }

    /// Writes everything to a file, spread evenly.
    pub fn write(mut self, path: &Path) -> Result<(), String> {
        // The share of its partition that lies before a record is where in the whole it belongs.
        let mut counts: std::collections::BTreeMap<(u8, i32), (usize, usize)> = std::collections::BTreeMap::new();
        self.records.iter().for_each(|record| counts.entry((record.0, record.1)).or_default().0 += 1);
        let mut order: Vec<(f64, usize)> = Vec::with_capacity(self.records.len());
        for (place, record) in self.records.iter().enumerate() {
            let (all, before) = counts.entry((record.0, record.1)).or_default();
            order.push((*before as f64 / *all as f64, place));
            *before += 1;
        }
        order.sort_by(|one, other| one.0.total_cmp(&other.0));
        let file = std::fs::File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let mut put = |bytes: &[u8]| out.write_all(bytes).map_err(|error| format!("{}: {error}", path.display()));
        put(self.topics.join(" ").as_bytes())?;
        put(b"\n")?;
        for (_, place) in order {
            let (topic, partition, stale, key, value) = std::mem::take(&mut self.records[place]);
            put(&[topic, u8::from(stale)])?;
            put(&partition.to_le_bytes())?;
            put(&(key.len() as u32).to_le_bytes())?;
            put(&(value.len() as u32).to_le_bytes())?;
            put(&key)?;
            put(&value)?;
        }
        out.flush().map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// Reads what [`Keeper::write`] wrote.
pub fn read(bytes: &[u8]) -> Result<Captured<'_>, String> {
    let fault = || "the file of captured records is broken".to_owned();
    let line = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(fault)?;
    let names = std::str::from_utf8(&bytes[..line]).map_err(|_| fault())?;
    let topics = names.split(' ').map(str::to_owned).collect();
    let (mut rest, mut records) = (&bytes[line + 1..], Vec::new());
    while !rest.is_empty() {
        let (head, after) = rest.split_at_checked(14).ok_or_else(fault)?;
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (key, after) = after.split_at_checked(number(6) as usize).ok_or_else(fault)?;
        let (value, after) = after.split_at_checked(number(10) as usize).ok_or_else(fault)?;
        records.push(Record { topic: head[0], stale: head[1] == 1, partition: number(2) as i32, key, value });
        rest = after;
    }
    Ok(Captured { topics, records })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_reads_back_with_each_partition_spread_evenly() {
        let mut keeper = Keeper { topics: vec!["transitions".to_owned(), "state".to_owned()], records: Vec::new() };
        for number in 0..8_u8 {
            keeper.records.push((0, 3, number == 0, b"c-1".to_vec(), vec![number]));
        }
        keeper.records.push((1, 5, false, Vec::new(), vec![100]));
        keeper.records.push((1, 5, false, Vec::new(), vec![101]));
        let file = tempfile::NamedTempFile::new().expect("a file");
        keeper.write(file.path()).expect("written");
        let bytes = std::fs::read(file.path()).expect("a file");
        let captured = read(&bytes).expect("captured");
        assert_eq!(captured.topics, ["transitions", "state"]);
        let values: Vec<u8> = captured.records.iter().map(|record| record.value[0]).collect();
        assert_eq!(values, [0, 100, 1, 2, 3, 4, 101, 5, 6, 7]);
        assert!(captured.records[0].stale && !captured.records[2].stale);
        assert_eq!((captured.records[0].key, captured.records[1].key), (&b"c-1"[..], &b""[..]));
        assert!(read(&bytes[..bytes.len() - 1]).is_err());
    }
}
