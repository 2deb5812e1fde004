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
/// How often a log is read from its beginning where something is missing in it.
const READINGS: usize = 4;

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

/// Why a log cannot be taken as it is read.
#[derive(Debug)]
enum Unfit {
    /// Something is missing. The owner before may have cut the log while it was read: then it is whole from where it begins
    /// now.
    Hole(String),
    /// Reading it again would not help.
    Wrong(String),
}

/// A shard whose state is being read.
struct Reading {
    shard: ShardId,
    end: i64,
    /// The next page's place among those of its commit.
    part: u32,
    /// What has come of a customer who goes on on the next page.
    open: Vec<u8>,
    latest: HashMap<Identity, Customer>,
    progress: Option<Progress>,
}

impl Reading {
    /// Nothing is read yet.
    fn of(shard: ShardId, end: i64) -> Self {
        Reading { shard, end, part: 0, open: Vec::new(), latest: HashMap::new(), progress: None }
    }

    /// The customer who goes on on this page, once all of it is there. Where the log is cut within a customer, what is left of
    /// it is needed no more.
    fn carried(&mut self, bytes: &[u8], cut: bool) -> Result<Option<Customer>, String> {
        match (self.open.is_empty(), bytes.is_empty()) {
            (true, true) => return Ok(None),
            (true, false) if cut => return Ok(None),
            (true, false) | (false, true) => {
                return Err("a page of the state log does not go on where the last one ended".to_owned());
            }
            (false, false) => self.open.extend_from_slice(bytes),
        }
        let customer = pages::joined(&self.open)?;
        if customer.is_some() {
            self.open.clear();
        }
        Ok(customer)
    }
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
                self.read_whole(one)?;
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
            Ok(Reading::of(*shard, end))
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

    /// Reads one shard's log; begins again where it was cut meanwhile.
    fn read_whole(&self, reading: &mut Reading) -> Result<(), String> {
        for again in (0..READINGS).rev() {
            match self.read(reading) {
                Ok(()) => break,
                Err(Unfit::Hole(reason)) if again > 0 => {
                    warn!(reason, "the state log is read again: was it cut while it was read?");
                    *reading = Reading::of(reading.shard, reading.end);
                }
                Err(Unfit::Hole(reason) | Unfit::Wrong(reason)) => return Err(reason),
            }
        }
        Ok(())
    }

    /// Reads one shard's log from its beginning until everything before the end has been seen.
    fn read(&self, reading: &mut Reading) -> Result<(), Unfit> {
        let client = self.client("read_committed").map_err(Unfit::Wrong)?;
        let (topic, shard, begun) = (self.topic(), reading.shard, Instant::now());
        let mut assigned = TopicPartitionList::new();
        let fault = |error: KafkaError| Unfit::Wrong(format!("cannot read partition {shard} of {topic}: {error}"));
        assigned.add_partition_offset(&topic, shard as i32, Offset::Beginning).map_err(fault)?;
        client.assign(&assigned).map_err(fault)?;
        let mut patience = Patience::of(PATIENCE, &self.stop);
        let mut told = Instant::now();
        loop {
            match client.poll(Duration::from_millis(50)) {
                Some(Ok(record)) => {
                    let place = || format!("{topic}, partition {shard}, offset {}", record.offset());
                    let payload = record.payload().unwrap_or_default();
                    self.take(reading, payload).map_err(|unfit| {
                        let told = |reason| {
                            format!("{reason} ({}); see docs/kafka.md, \"When the state log does not fit\"", place())
                        };
                        match unfit {
                            Unfit::Hole(reason) => Unfit::Hole(told(reason)),
                            Unfit::Wrong(reason) => Unfit::Wrong(told(reason)),
                        }
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
                return Err(Unfit::Wrong(format!(
                    "partition {shard} of {topic} cannot be read to its end {}, only to {position:?}: \
                     does a transaction stand open there?",
                    reading.end
                )));
            }
        }
        info!(shard, customers = reading.latest.len(), seconds = begun.elapsed().as_secs_f64(), "shard restored");
        Ok(())
    }

    fn take(&self, reading: &mut Reading, payload: &[u8]) -> Result<(), Unfit> {
        let page = pages::read(payload).map_err(Unfit::Wrong)?;
        let head = page.head;
        // The first commit that is left may be cut in its middle; what it held is further on as well.
        if head.part != reading.part && reading.progress.is_some() {
            let (found, due) = (head.part, reading.part);
            return Err(Unfit::Hole(format!("page {found} of a commit of the state log comes where page {due} should")));
        }
        if head.part != reading.part {
            reading.open.clear();
        }
        let (last, cut) = (head.progress.is_some(), reading.progress.is_none());
        reading.part = if last { 0 } else { head.part + 1 };
        if let Some(progress) = head.progress {
            self.check(head.partitions, &head.inputs, &head.models).map_err(Unfit::Wrong)?;
            if let Some(before) = &reading.progress
                && progress.sequence != before.sequence + 1
            {
                let (found, before) = (progress.sequence, before.sequence);
                return Err(Unfit::Hole(format!("commit {found} follows commit {before} in the state log")));
            }
            reading.progress = Some(progress);
        }
        let carried = reading.carried(&page.carried, cut).map_err(Unfit::Wrong)?;
        for customer in carried.into_iter().chain(page.customers) {
            reading.latest.insert(customer.identity.clone(), customer);
        }
        reading.open.extend(page.open);
        if last && !reading.open.is_empty() {
            return Err(Unfit::Wrong("a commit of the state log ends within a customer".to_owned()));
        }
        Ok(())
    }

    fn check(&self, partitions: u32, inputs: &[String], models: &[Mark]) -> Result<(), String> {
        if partitions != self.partitions {
            return Err(format!(
                "the state log was written when the inputs had {partitions} partitions, and now they have {}: \
                 customers have moved",
                self.partitions
            ));
        }
        // By name: the positions in one topic say nothing of another.
        if *inputs != *self.connection.inputs {
            return Err(format!(
                "the state log was written with the inputs {}, and now they are {}",
                inputs.join(", "),
                self.connection.inputs.join(", ")
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::Start;
    use crate::shard::Position;
    use crate::time::Timestamp;
    use crate::wire::Format;
    use crate::wire::pages::{Draft, Head};

    fn restorer() -> Restorer {
        let connection = Connection {
            brokers: String::new(),
            group: "g".to_owned(),
            instance: "i".to_owned(),
            inputs: vec!["in".to_owned()],
            output: "out".to_owned(),
            format: Format::Json,
            start: Start::Earliest,
            properties: BTreeMap::new(),
            buffered_records: 1,
        };
        Restorer::new(Arc::new(connection), 6, Vec::new(), &Arc::default())
    }

    /// A page with one customer; `sequence` on the last page of a commit.
    fn page(customer: &str, part: u32, partitions: u32, sequence: Option<u64>) -> Vec<u8> {
        let position = Position { offset: 0, log_time: Timestamp::MIN };
        let progress = |sequence| Progress { positions: vec![position], stream_time: None, sequence };
        let inputs = vec!["in".to_owned()];
        let progress = sequence.map(progress);
        let head = Head { part, partitions, inputs, models: Vec::new(), progress, attempt: "a".to_owned() };
        let mut draft = Draft::default();
        draft.add(&Customer::new(Identity::customer(customer))).expect("added");
        draft.finish(&head).expect("a page")
    }

    /// Takes pages in order; the place of the first that does not fit, and why.
    fn take(reading: &mut Reading, pages: &[Vec<u8>]) -> Result<(), (usize, Unfit)> {
        let restorer = restorer();
        pages.iter().enumerate().try_for_each(|(at, page)| restorer.take(reading, page).map_err(|unfit| (at, unfit)))
    }

    #[test]
    fn a_log_that_is_cut_within_its_first_commit_is_whole() {
        let mut reading = Reading::of(0, 9);
        let pages = [page("a", 2, 6, None), page("b", 3, 6, Some(7)), page("c", 0, 6, None), page("a", 1, 6, Some(8))];
        take(&mut reading, &pages).expect("whole");
        assert_eq!((reading.latest.len(), reading.progress.map(|progress| progress.sequence)), (3, Some(8)));
    }

    #[test]
    fn a_customer_who_fills_pages_is_put_together_and_one_that_is_cut_is_left_out() {
        let mut draft = Draft::default();
        let name = "x".repeat(2 * pages::FULL);
        draft.add(&Customer::new(Identity::customer(name.as_str()))).expect("added");
        let part = |draft: &mut Draft, part: u32, sequence: Option<u64>| {
            let position = Position { offset: 0, log_time: Timestamp::MIN };
            let progress = |sequence| Progress { positions: vec![position], stream_time: None, sequence };
            let (inputs, progress) = (vec!["in".to_owned()], sequence.map(progress));
            let head = Head { part, partitions: 6, inputs, models: Vec::new(), progress, attempt: "a".to_owned() };
            draft.finish(&head).expect("a page")
        };
        let pages = [part(&mut draft, 0, None), part(&mut draft, 1, None), part(&mut draft, 2, Some(7))];
        let mut whole = Reading::of(0, 9);
        take(&mut whole, &pages).expect("whole");
        assert!(whole.latest.keys().eq([&Identity::customer(name.as_str())]));
        let mut cut = Reading::of(0, 9);
        take(&mut cut, &pages[1..]).expect("cut");
        assert!(cut.latest.is_empty() && cut.progress.is_some());
        let mut after = Reading::of(0, 9);
        let missing = take(&mut after, &[page("a", 0, 6, Some(6)), pages[0].clone(), pages[2].clone()]);
        assert!(matches!(missing, Err((2, Unfit::Hole(_)))), "{missing:?}");
    }

    #[test]
    fn what_is_missing_is_told_from_what_is_wrong() {
        let hole = |pages: &[Vec<u8>], place: usize| {
            let unfit = take(&mut Reading::of(0, 9), pages);
            assert!(matches!(unfit, Err((at, Unfit::Hole(_))) if at == place), "{unfit:?}");
        };
        // A commit is missing; the end of one; the beginning of one.
        hole(&[page("a", 0, 6, Some(7)), page("b", 0, 6, Some(9))], 1);
        hole(&[page("a", 0, 6, Some(7)), page("b", 0, 6, None), page("c", 0, 6, Some(9))], 2);
        hole(&[page("a", 0, 6, Some(7)), page("b", 1, 6, Some(8))], 1);
        let other = take(&mut Reading::of(0, 9), &[page("a", 0, 5, Some(7))]);
        assert!(matches!(other, Err((0, Unfit::Wrong(_)))), "{other:?}");
        let renamed = restorer().check(6, &["old".to_owned()], &[]);
        assert!(renamed.is_err_and(|reason| reason.contains("the inputs old, and now they are in")));
    }
}
