//! The reader that goes on all the time: what any consumer sees that reads committed, and when it saw it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;

use crate::harness::{clients, now_millis};
use crate::offers::Offer;
use crate::oracle::Told;
use crate::{told, visitors};

const CALL: Duration = Duration::from_secs(10);
/// How long reading to the end may take.
const TO_THE_END: Duration = Duration::from_secs(120);
const OUTCOMES: [&str; 7] =
    ["transitions", "completions", "abandonments", "recoveries", "friction", "interventions", "held-out"];
const DEAD_LETTERS: &str = "dead-letters";

/// An outcome as it was read.
pub(crate) struct Outcome {
    pub told: Told,
    /// Its number among all that was published about the customer; `told` counts what is no offer.
    pub sequence: u64,
    pub id: String,
    /// The outcome that it answers.
    pub answers: Option<String>,
    /// When it was read.
    pub read_at: i64,
}

/// What has been read.
#[derive(Default)]
pub(crate) struct Seen {
    pub by_customer: HashMap<String, Vec<Outcome>>,
    pub offers: HashMap<String, Vec<Offer>>,
    /// What is about visitors, as it was read.
    pub visitors: HashMap<String, Vec<Value>>,
    /// How many outcomes, without offers.
    pub count: usize,
    /// What no outcome should be like, in words.
    pub odd: Vec<String>,
    /// When the latest one was read.
    last_at: Option<i64>,
    /// The longest time between two reads that brought something, and when it began.
    pub longest_gap: (i64, i64),
    gaps_count: bool,
}

pub(crate) struct Watcher {
    seen: Arc<Mutex<Seen>>,
    finish: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Watcher {
    /// Reads the outcomes behind this prefix; their topics exist.
    pub(crate) fn start(brokers: &str, prefix: &str) -> Watcher {
        let consumer = consumer(brokers, prefix);
        let seen = Arc::new(Mutex::new(Seen { gaps_count: true, ..Seen::default() }));
        let finish = Arc::new(AtomicBool::new(false));
        let (shared, finishing) = (Arc::clone(&seen), Arc::clone(&finish));
        let read = move || {
            let mut reading = Reading { consumer, seen: shared, taken: HashMap::new() };
            while !finishing.load(Ordering::Acquire) {
                reading.poll();
            }
            reading.go_to_the_end();
        };
        let thread = std::thread::Builder::new().name("watcher".to_owned()).spawn(read).expect("a thread starts");
        Watcher { seen, finish, thread }
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self) -> usize {
        self.seen().count
    }

    /// From now on it is quiet for good reason.
    pub(crate) fn count_no_more_gaps(&self) {
        self.seen().gaps_count = false;
    }

    /// Reads to the end as it is now.
    pub(crate) fn finish(self) -> Seen {
        self.finish.store(true, Ordering::Release);
        self.thread.join().expect("everything could be read");
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn consumer(brokers: &str, prefix: &str) -> BaseConsumer {
    let mut config = clients::config(brokers);
    config.set("group.id", "sillage-chaos-reader").set("enable.auto.commit", "false").set("log_level", "0");
    config.set("isolation.level", "read_committed").set("auto.offset.reset", "earliest").set("fetch.wait.max.ms", "50");
    config.set("reconnect.backoff.max.ms", "500");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut assigned = TopicPartitionList::new();
    for output in OUTCOMES.iter().chain([&DEAD_LETTERS]) {
        let topic = format!("{prefix}.{output}");
        let metadata = consumer.fetch_metadata(Some(&topic), CALL).expect("metadata");
        for partition in metadata.topics()[0].partitions() {
            assigned.add_partition_offset(&topic, partition.id(), Offset::Beginning).expect("a partition can be read");
        }
    }
    assert!(assigned.count() > OUTCOMES.len(), "the outputs must exist");
    consumer.assign(&assigned).expect("partitions can be read");
    consumer
}

struct Reading {
    consumer: BaseConsumer,
    seen: Arc<Mutex<Seen>>,
    /// By partition: the offset of the latest record. A record that is read once more is no second record.
    taken: HashMap<(String, i32), i64>,
}

impl Reading {
    fn poll(&mut self) {
        let mut wait = Duration::from_millis(50);
        while let Some(read) = self.consumer.poll(wait) {
            // Brokers go away and come back: the client sees to it. What cannot be read is missed in the end.
            if let Ok(record) = read
                && self
                    .taken
                    .insert((record.topic().to_owned(), record.partition()), record.offset())
                    .is_none_or(|latest| latest < record.offset())
            {
                self.seen.lock().unwrap_or_else(PoisonError::into_inner).take(&record);
            }
            wait = Duration::ZERO;
        }
    }

    fn go_to_the_end(&mut self) {
        let begun = Instant::now();
        let ends = self.ends(begun);
        loop {
            self.poll();
            let position = self.consumer.position().expect("the position");
            let behind = ends.iter().find(|(topic, partition, end)| {
                let at = position.find_partition(topic, *partition).map(|elem| elem.offset());
                *end > 0 && !matches!(at, Some(Offset::Offset(at)) if at >= *end)
            });
            let Some(behind) = behind else { return };
            assert!(begun.elapsed() < TO_THE_END, "cannot read to the end: {behind:?}");
        }
    }

    /// The high watermarks, which count what is not committed yet.
    fn ends(&self, begun: Instant) -> Vec<(String, i32, i64)> {
        let assignment = self.consumer.assignment().expect("the assignment");
        let end = |topic: &str, partition: i32| loop {
            match self.consumer.fetch_watermarks(topic, partition, CALL) {
                Ok((_, high)) => return (topic.to_owned(), partition, high),
                Err(error) => assert!(begun.elapsed() < TO_THE_END, "no end of {topic}-{partition}: {error}"),
            }
        };
        assignment.elements().iter().map(|elem| end(elem.topic(), elem.partition())).collect()
    }
}

impl Seen {
    fn take(&mut self, record: &BorrowedMessage<'_>) {
        let now = now_millis();
        if let Some(last) = self.last_at.filter(|last| self.gaps_count && now - last > self.longest_gap.0) {
            self.longest_gap = (now - last, last);
        }
        self.last_at = Some(now);
        let payload = record.payload().unwrap_or_default();
        let topic = record.topic().rsplit('.').next().unwrap_or_default();
        let Ok(outcome) = serde_json::from_slice::<Value>(payload) else {
            self.odd.push(format!("no JSON in {topic}: {}", String::from_utf8_lossy(payload)));
            return;
        };
        if topic == DEAD_LETTERS {
            self.odd.push(format!("a dead letter: {outcome}"));
            return;
        }
        let kind = outcome["kind"].as_str().unwrap_or_default();
        let taken_back = outcome["retracts"].as_str().filter(|_| kind == "retraction");
        let home = match taken_back.unwrap_or(kind) {
            "transition" | "merge" => "transitions",
            "completion" => "completions",
            "abandonment" => "abandonments",
            "friction" => "friction",
            "intervention" => "interventions",
            "would-have" => "held-out",
            "withdrawal" if outcome["intervention"]["arm"] != "treated" => "held-out",
            "withdrawal" => "interventions",
            _ => "recoveries",
        };
        let Some(who) = outcome["customer_id"].as_str().or(outcome["anonymous_id"].as_str()).map(ToOwned::to_owned) else {
            self.odd.push(format!("nobody's outcome: {outcome}"));
            return;
        };
        if topic != home || record.key() != Some(who.as_bytes()) {
            self.odd
                .push(format!("a {kind} of {who} in {topic} under the key {:?}", record.key().map(String::from_utf8_lossy)));
        }
        let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
        let sequence = outcome["sequence"].as_u64().unwrap_or_default();
        if visitors::is_one(&who) {
            self.visitors.entry(who).or_default().push(outcome);
            return;
        }
        if ["interventions", "held-out"].contains(&home) {
            self.offers.entry(who).or_default().push(Offer { sequence, record: outcome });
            return;
        }
        self.count += 1;
        self.by_customer.entry(who).or_default().push(Outcome {
            told: told::read(&outcome),
            sequence,
            id: text(&outcome["outcome_id"]).unwrap_or_default(),
            answers: text(&outcome["answers"]["outcome_id"]),
            read_at: now,
        });
    }

    /// How late outcomes were read after they were due: the middle one, one in a hundred, and the latest, in milliseconds.
    pub(crate) fn lateness(&self) -> [i64; 3] {
        let mut all: Vec<i64> =
            self.by_customer.values().flatten().map(|outcome| outcome.read_at - outcome.told.at).collect();
        all.sort_unstable();
        let at = |share: usize| all.get((all.len() * share / 100).min(all.len().saturating_sub(1))).copied().unwrap_or(0);
        [at(50), at(99), at(100)]
    }

    /// Ids that stand under two records.
    pub(crate) fn repeated(&self) -> usize {
        let mut ids = HashSet::new();
        let outcomes = self.by_customer.values().flatten().map(|outcome| outcome.id.as_str());
        let offers = self.offers.values().flatten().map(Offer::id);
        outcomes.chain(offers).filter(|id| !ids.insert(*id)).count()
    }

    /// Takes what was published about a customer, in sequence. The oracle knows of no offers, so the outcomes are counted as if
    /// there were none.
    pub(crate) fn take_customer(&mut self, id: &str) -> (Vec<Outcome>, Vec<Offer>) {
        let mut outcomes = self.by_customer.remove(id).unwrap_or_default();
        let mut offers = self.offers.remove(id).unwrap_or_default();
        outcomes.sort_by_key(|outcome| outcome.sequence);
        offers.sort_by_key(|offer| offer.sequence);
        for outcome in &mut outcomes {
            let before = offers.partition_point(|offer| offer.sequence < outcome.sequence);
            outcome.told.sequence -= before as u64;
        }
        (outcomes, offers)
    }
}
