//! Reading a shard's state back from the state log, when the shard comes (rule 23).
//!
//! The end to read to is taken by a client that sees uncommitted records, and after the committed offsets are known: a
//! reader of committed records alone may take an end for the last one that is not (Kafka's "stale restore").

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tracing::{info, warn};

use super::Connection;
use super::client::{self, Patience};
use crate::journey::Customer;
use crate::port::ShardId;
use crate::shard::Progress;
use crate::touchpoint::Identity;
use crate::wire::outputs;
use crate::wire::pages::{self, Mark};

/// How long one question to the brokers may take.
const CALL: Duration = Duration::from_secs(10);
/// How long nothing may come before the restore is given up: a predecessor's open transaction ends before.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often progress is told.
const TELL: Duration = Duration::from_secs(2);

/// What the state log says of a shard.
#[derive(Default)]
pub(super) struct Restored {
    pub(super) customers: Vec<Customer>,
    /// As of the last commit; `None` where the log holds nothing.
    pub(super) progress: Option<Progress>,
}

/// Reads state logs.
pub(super) struct Restorer {
    connection: Arc<Connection>,
    partitions: u32,
    models: Vec<Mark>,
    stop: Arc<AtomicBool>,
}

/// A shard whose state is being read.
struct Reading {
    shard: ShardId,
    end: i64,
    /// The next page's place among those of its commit.
    part: u32,
    latest: HashMap<Identity, Customer>,
    progress: Option<Progress>,
}

impl Restorer {
    pub(super) fn new(connection: Arc<Connection>, partitions: u32, models: Vec<Mark>, stop: &Arc<AtomicBool>) -> Self {
        Restorer { connection, partitions, models, stop: Arc::clone(stop) }
    }

    /// The state of these shards. To be asked when their committed offsets are known.
    ///
    /// # Errors
    /// What is wrong with the log and what to do, or that it cannot be read to its end.
    pub(super) fn restore(&self, shards: &[ShardId]) -> Result<BTreeMap<ShardId, Restored>, String> {
        let begun = Instant::now();
        let mut reading = self.bounds(shards)?;
        let mut all = BTreeMap::new();
        // One after the other, so that no more than one shard's pages are in memory beside what is restored.
        for one in &mut reading {
            if one.end > 0 {
                self.read(one)?;
            }
            let customers = std::mem::take(&mut one.latest).into_values().collect();
            all.insert(one.shard, Restored { customers, progress: one.progress.take() });
        }
        let customers: usize = all.values().map(|restored| restored.customers.len()).sum();
        info!(shards = shards.len(), customers, seconds = begun.elapsed().as_secs_f64(), "state restored");
        Ok(all)
    }

    fn topic(&self) -> String {
        format!("{}.{}", self.connection.output, outputs::STATE)
    }

    /// Where each shard's log ends now, uncommitted records included; 0 where there is nothing.
    fn bounds(&self, shards: &[ShardId]) -> Result<Vec<Reading>, String> {
        let client: BaseConsumer = self.client("read_uncommitted")?;
        let topic = self.topic();
        let mut asked = TopicPartitionList::new();
        for shard in shards {
            let added = asked.add_partition_offset(&topic, *shard as i32, Offset::End);
            added.map_err(|error| format!("cannot ask for the end of the state log: {error}"))?;
        }
        let patience = Patience::of(PATIENCE, &self.stop);
        let ends = loop {
            match client.offsets_for_times(asked.clone(), CALL).and_then(client::whole) {
                Ok(ends) => break ends,
                Err(error) if patience.is_over() => return Err(format!("cannot learn where the state log ends: {error}")),
                Err(error) => {
                    warn!(%error, "cannot learn where the state log ends yet");
                    std::thread::sleep(Duration::from_millis(200));
                }
            }
        };
        let end_of = |shard: ShardId| match ends.find_partition(&topic, shard as i32)?.offset() {
            Offset::Offset(offset) => Some(offset),
            Offset::Beginning | Offset::End | Offset::Stored | Offset::Invalid | Offset::OffsetTail(_) => None,
        };
        let reading = |shard: &ShardId| {
            let end = end_of(*shard).ok_or_else(|| format!("cannot learn where partition {shard} of {topic} ends"))?;
            Ok(Reading { shard: *shard, end, part: 0, latest: HashMap::new(), progress: None })
        };
        shards.iter().map(reading).collect()
    }

    fn client(&self, isolation: &str) -> Result<BaseConsumer, String> {
        let mut config = client::asking(&self.connection, isolation);
        config.set("group.id", format!("{}-restore", self.connection.group));
        config.set("auto.offset.reset", "earliest").set("enable.auto.offset.store", "false");
        config.set("fetch.message.max.bytes", "4194304").set("enable.partition.eof", "true");
        config.create().map_err(|error| format!("cannot make a client: {error}"))
    }

    /// Reads one shard's log from its beginning until everything before the end has been seen.
    fn read(&self, reading: &mut Reading) -> Result<(), String> {
        let client = self.client("read_committed")?;
        let (topic, shard, begun) = (self.topic(), reading.shard, Instant::now());
        let mut assigned = TopicPartitionList::new();
        let fault = |error: KafkaError| format!("cannot read partition {shard} of {topic}: {error}");
        assigned.add_partition_offset(&topic, shard as i32, Offset::Beginning).map_err(fault)?;
        client.assign(&assigned).map_err(fault)?;
        let mut patience = Patience::of(PATIENCE, &self.stop);
        let mut told = Instant::now();
        loop {
            match client.poll(Duration::from_millis(50)) {
                Some(Ok(record)) => {
                    let place = || format!("{topic}, partition {shard}, offset {}", record.offset());
                    let payload = record.payload().unwrap_or_default();
                    self.take(reading, payload).map_err(|reason| {
                        format!("{reason} ({}); see docs/kafka.md, \"When the state log does not fit\"", place())
                    })?;
                    patience = Patience::of(PATIENCE, &self.stop);
                    if told.elapsed() > TELL {
                        told = Instant::now();
                        let customers = reading.latest.len();
                        info!(shard, customers, offset = record.offset(), end = reading.end, "restoring");
                    }
                    continue;
                }
                Some(Err(KafkaError::PartitionEOF(_))) | None => {}
                Some(Err(error)) => warn!(%error, "reading the state log"),
            }
            // librdkafka's own position, since it counts the records that end transactions.
            let position = client.position().map_err(fault)?;
            let position = position.find_partition(&topic, shard as i32).map(|found| found.offset());
            if let Some(Offset::Offset(position)) = position
                && position >= reading.end
            {
                break;
            }
            if patience.is_over() {
                return Err(format!(
                    "partition {shard} of {topic} cannot be read to its end {}, only to {position:?}: \
                     does a transaction stand open there?",
                    reading.end
                ));
            }
        }
        info!(shard, customers = reading.latest.len(), seconds = begun.elapsed().as_secs_f64(), "shard restored");
        Ok(())
    }

    fn take(&self, reading: &mut Reading, payload: &[u8]) -> Result<(), String> {
        let page = pages::read(payload)?;
        let head = page.head;
        // The first commit that is left may be cut in its middle; what it held is further on as well.
        if head.part != reading.part && reading.progress.is_some() {
            return Err(format!("page {} of a commit of the state log comes where page {} should", head.part, reading.part));
        }
        reading.part = if head.progress.is_some() { 0 } else { head.part + 1 };
        if let Some(progress) = head.progress {
            self.check(head.partitions, &head.models, &progress)?;
            if let Some(before) = &reading.progress
                && progress.sequence != before.sequence + 1
            {
                return Err(format!("commit {} follows commit {} in the state log", progress.sequence, before.sequence));
            }
            reading.progress = Some(progress);
        }
        for customer in page.customers {
            reading.latest.insert(customer.identity.clone(), customer);
        }
        Ok(())
    }

    fn check(&self, partitions: u32, models: &[Mark], progress: &Progress) -> Result<(), String> {
        if partitions != self.partitions {
            return Err(format!(
                "the state log was written when the inputs had {partitions} partitions, and now they have {}: \
                 customers have moved",
                self.partitions
            ));
        }
        if progress.positions.len() != self.connection.inputs.len() {
            return Err(format!(
                "the state log was written with {} inputs, and now there are {}",
                progress.positions.len(),
                self.connection.inputs.len()
            ));
        }
        let structures = |marks: &[Mark]| -> Vec<String> { marks.iter().map(|mark| mark.structure.clone()).collect() };
        let (written, running) = (structures(models), structures(&self.models));
        if written != running {
            return Err(format!(
                "the state log holds journeys of other models ({}) than those that run now ({})",
                written.join("; "),
                running.join("; ")
            ));
        }
        Ok(())
    }
}
