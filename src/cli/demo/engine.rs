//! What runs behind the demo's picture: a log of its own (a temporary directory, or topics), the generator's thread, the
//! workers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::locked;
use super::tally::Tally;
use crate::embedded::{self, Entering, Entry, INPUT, Refusal, Store};
use crate::generate::{Load, Opening, Settings};
use crate::journey::{Outcome, What};
use crate::kafka::produce::Feed;
use crate::kafka::{self, Connection, Create, Facts, Stamps, Start, Trouble};
use crate::lookup::Lookup;
use crate::memory::Budget;
use crate::model::Model;
use crate::partitioner::Partitioner;
use crate::port::{Now, Origin, ShardId, Sink, Verdict};
use crate::runtime::crew::{Crew, Stop, Wrap};
use crate::shard::{self, HandOff, Misrouted, Progress, Unusable, Written};
use crate::time::Span;
use crate::touchpoint::{Identity, Touchpoint};
use crate::wire::{self, Format, Limits};
use crate::worker::Job;

/// Shards of the demo, and the workers that share them.
const PARTITIONS: u32 = 4;
const WORKERS: usize = 2;
/// The generator looks so often at what has become due.
const LOOK: Duration = Duration::from_millis(20);
/// What the demo may take for what passes through it.
const MEMORY: u64 = 1 << 30;
/// Touchpoints appended at once.
const BATCH: usize = 1_000;

/// What the demo shows.
pub(super) struct Plan {
    pub(super) model: Arc<Model>,
    pub(super) customers: u32,
    pub(super) seed: u64,
    pub(super) speed: f64,
    /// Kafka instead of the embedded log.
    pub(super) brokers: Option<String>,
}

/// Where the demo's touchpoints go.
enum Log {
    Embedded(Arc<Store>),
    Kafka(Box<Topics>),
}

/// The demo on Kafka: topics of its own.
struct Topics {
    connection: Arc<Connection>,
    facts: Facts,
    feed: Feed,
}

impl Log {
    fn open(plan: &Plan, folder: &Folder, now: &Now) -> Result<Self, String> {
        let Some(brokers) = &plan.brokers else {
            let settings = embedded::Settings { partitions: PARTITIONS, ..embedded::Settings::new(folder.0.join("log")) };
            let models = [Arc::clone(&plan.model)];
            return Ok(Log::Embedded(Store::open(&settings, &models, now)?));
        };
        let prefix = format!("sillage-demo-{}-{}", std::process::id(), now().as_millis());
        let connection = Connection {
            brokers: brokers.clone(),
            group: prefix.clone(),
            instance: "demo".to_owned(),
            protocol: kafka::Protocol::Classic,
            inputs: vec![format!("{prefix}.{INPUT}")],
            output: prefix,
            format: Format::Json,
            start: Start::Earliest,
            properties: BTreeMap::new(),
            buffered_records: 10_000,
            settle: None,
            memory: Budget { bytes: MEMORY, workers: WORKERS },
        };
        // Touchpoints are stamped by the demo's clock, which runs ahead of the brokers' unless they run alike.
        let stamps = if plan.speed == 1.0 { Stamps::Brokers } else { Stamps::Producers };
        let facts = kafka::prepare(&connection, Some(Create { partitions: PARTITIONS, replication: 1, stamps }));
        let facts = facts.map_err(Trouble::into_reason)?;
        let feed = Feed::open(brokers, &connection.inputs, &connection.properties)
            .inspect_err(|_| drop(kafka::remove(&connection)))?;
        Ok(Log::Kafka(Box::new(Topics { connection: Arc::new(connection), facts, feed })))
    }

    /// Takes away what the demo made elsewhere than in its directory.
    fn clear(&self) -> Result<(), String> {
        match self {
            Log::Embedded(_) => Ok(()),
            Log::Kafka(topics) => kafka::remove(&topics.connection),
        }
    }

    fn append(&self, touchpoints: &[Touchpoint]) -> Result<(), String> {
        match self {
            Log::Embedded(store) => match store.append(touchpoints.iter().map(entry).collect(), Entering::Live) {
                Ok(_) => Ok(()),
                Err(
                    Refusal::Full(reason) | Refusal::Loading(reason) | Refusal::TooLate(reason) | Refusal::Broken(reason),
                ) => Err(reason),
            },
            Log::Kafka(topics) => topics.append(touchpoints),
        }
    }

    fn crew(&self, job: &Job, stop: &Stop, wrap: &Wrap) -> Result<Crew, String> {
        match self {
            Log::Embedded(store) => Crew::on_store(store, WORKERS, job, stop, wrap),
            Log::Kafka(topics) => {
                let entrance = Arc::new(kafka::Entrance::default());
                entrance.open();
                Crew::on_kafka(&topics.connection, topics.facts.clone(), WORKERS, job, &entrance, stop, wrap)
            }
        }
    }
}

impl Topics {
    fn append(&self, touchpoints: &[Touchpoint]) -> Result<(), String> {
        let mut value = Vec::new();
        for touchpoint in touchpoints {
            value.clear();
            wire::encode_touchpoint(Format::Json, touchpoint, &mut value);
            let key = touchpoint.identity.id.as_bytes();
            self.feed.send(&self.connection.inputs[0], key, &value, touchpoint.event_time)?;
        }
        Ok(())
    }
}

/// Everything that runs.
pub(super) struct Engine {
    feeder: JoinHandle<Result<(), String>>,
    crew: Crew,
    log: Arc<Log>,
    stop: Stop,
    // Last: the directory goes after everything that is written there.
    _folder: Folder,
}

impl Engine {
    pub(super) fn start(plan: &Plan, now: &Now, stop: &Stop, tally: &Arc<Mutex<Tally>>) -> Result<Self, String> {
        let folder = Folder::make(now)?;
        let log = Arc::new(Log::open(plan, &folder, now)?);
        let (offered, offers) = mpsc::channel();
        let wrap: Wrap = {
            let tally = Arc::clone(tally);
            Arc::new(move |sink| {
                Box::new(Onlooker { sink, open: Vec::new(), tally: Arc::clone(&tally), offered: offered.clone() })
            })
        };
        let crew = log.crew(&job(plan, now), stop, &wrap)?;
        let load =
            Load::new(&Settings { seed: plan.seed, customers: plan.customers, start: now(), opening: Opening::InFullSwing });
        let feeder = {
            let (now, stop, tally, log) = (Arc::clone(now), stop.clone(), Arc::clone(tally), Arc::clone(&log));
            let feeding = move || feed(load, &offers, &log, &now, &stop, &tally);
            let thread = std::thread::Builder::new().name("sillage-generate".to_owned());
            thread.spawn(feeding).map_err(|error| format!("cannot start the generator's thread: {error}"))?
        };
        Ok(Engine { feeder, crew, log, stop: stop.clone(), _folder: folder })
    }

    /// Whether something has ended before it was asked to.
    pub(super) fn has_failed(&self) -> bool {
        self.feeder.is_finished() || self.crew.is_short()
    }

    /// Stops everything, with a last commit.
    pub(super) fn finish(self) -> Result<(), String> {
        self.stop.set();
        let fed = self.feeder.join().unwrap_or_else(|_| Err("the generator panicked; its words stand above".to_owned()));
        let worked = self.crew.join();
        // What the demo made goes in any case; why it failed matters more than whether that could be cleared.
        let cleared = self.log.clear();
        fed.and(worked).and(cleared)
    }
}

/// Spans of the machinery, not of the customers, run with the clock: what takes it 100 ms takes it 100 ms of real time.
fn job(plan: &Plan, now: &Now) -> Job {
    let scaled = |span: Span| Span::from_millis((span.as_millis() as f64 * plan.speed) as i64);
    let settings = shard::Settings::default();
    Job {
        models: Arc::from([Arc::clone(&plan.model)]),
        retired: Arc::default(),
        settings: shard::Settings {
            settle: scaled(settings.settle),
            grace: scaled(settings.grace),
            max_delay: scaled(settings.max_delay),
            ..settings
        },
        format: Format::Json,
        mapping: None,
        limits: Limits::default(),
        topics: Arc::from([INPUT.to_owned()]),
        partitions: PARTITIONS,
        partitioner: Partitioner::Murmur2,
        misrouted: Misrouted::HandOn,
        erase_on: None,
        commit_interval: scaled(Span::from_millis(100)),
        stale_after: scaled(Span::from_secs(300)),
        now: Arc::clone(now),
        lookup: Arc::new(Lookup::default()),
        frontiers: None,
    }
}

fn entry(touchpoint: &Touchpoint) -> Entry {
    let mut value = Vec::new();
    wire::encode_touchpoint(Format::Json, touchpoint, &mut value);
    Entry {
        identity: Some(touchpoint.identity.clone()),
        id: Some(touchpoint.id.clone()),
        event_time: touchpoint.event_time,
        value,
    }
}

/// Appends what has become due, until it is told to stop. Customers hear what they are offered.
fn feed(
    mut load: Load,
    offers: &Receiver<Identity>,
    log: &Log,
    now: &Now,
    stop: &Stop,
    tally: &Mutex<Tally>,
) -> Result<(), String> {
    let mut batch = Vec::new();
    while !stop.is_set() {
        let until = now();
        offers.try_iter().for_each(|who| load.offer(&who, until));
        while batch.len() < BATCH && load.next_due().is_some_and(|due| due <= until) {
            batch.extend(load.next());
        }
        if batch.is_empty() {
            std::thread::sleep(LOOK);
            continue;
        }
        log.append(&batch)?;
        locked(tally).written(batch.len() as u64);
        batch.clear();
    }
    Ok(())
}

/// Sits between a worker and its sink, and tells the tally what was committed; nothing that was undone is ever told.
struct Onlooker {
    sink: Box<dyn Sink>,
    open: Vec<Outcome>,
    tally: Arc<Mutex<Tally>>,
    offered: Sender<Identity>,
}

impl Onlooker {
    fn committed(&self, outcomes: &[Outcome], progress: &[(ShardId, Progress)]) {
        locked(&self.tally).committed(outcomes, progress);
        for outcome in outcomes {
            if let What::Intervention { offer } = &outcome.what
                && !offer.arm.is_held_out()
                && !outcome.again
            {
                // At the end the generator stops first.
                let _ = self.offered.send(outcome.identity.clone());
            }
        }
    }
}

impl Sink for Onlooker {
    fn publish(&mut self, shard: ShardId, outcome: &Outcome, stale: bool) {
        self.open.push(outcome.clone());
        self.sink.publish(shard, outcome, stale);
    }

    fn dead_letter(&mut self, origin: Origin, record: &Unusable) {
        self.sink.dead_letter(origin, record);
    }

    fn remember(&mut self, shard: ShardId, written: Written<'_>) -> usize {
        self.sink.remember(shard, written)
    }

    fn word(&mut self, shard: ShardId, number: u32, text: &str) -> usize {
        self.sink.word(shard, number, text)
    }

    fn forget(&mut self, shard: ShardId, who: &Identity) -> usize {
        self.sink.forget(shard, who)
    }

    fn tombstone(&mut self, who: &Identity) {
        self.sink.tombstone(who);
    }

    fn announce(&mut self, who: &Identity) {
        self.sink.announce(who);
    }

    fn hand_over(&mut self, to: ShardId, hand_off: &HandOff) {
        self.sink.hand_over(to, hand_off);
    }

    fn keep_from(&mut self, shard: ShardId, sequence: u64) {
        self.sink.keep_from(shard, sequence);
    }

    fn commit(&mut self, progress: &[(ShardId, Progress)]) -> Verdict {
        let verdict = self.sink.commit(progress);
        let outcomes = std::mem::take(&mut self.open);
        match &verdict {
            Verdict::Committed => self.committed(&outcomes, progress),
            Verdict::Aborted(_) | Verdict::Lost(_) => {}
        }
        verdict
    }

    fn abort(&mut self) -> Verdict {
        self.open.clear();
        self.sink.abort()
    }
}

/// A temporary directory, removed with everything in it.
struct Folder(PathBuf);

impl Folder {
    fn make(now: &Now) -> Result<Self, String> {
        // Never one that is there already: a demo that was killed has left another time behind.
        let name = format!("sillage-demo-{}-{}", std::process::id(), now().as_millis());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)
            .map_err(|error| format!("cannot make {}: {error}; set TMPDIR to a writable directory", path.display()))?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left to the system, as temporary files are.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
