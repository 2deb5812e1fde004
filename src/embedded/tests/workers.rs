//! Real workers on the store.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::super::{Entering, Entry, INPUT, Refusal, Settings, Store, drive};
use super::{Clock, at, entry, model, open, settings, shop, wait_until};
use crate::lookup::Lookup;
use crate::memory::Waiting;
use crate::model::Model;
use crate::partitioner::Partitioner;
use crate::port::{Assignment, Now, RawRecord, ShardId, ShardOwner};
use crate::shard::{self, Progress};
use crate::time::{Span, Timestamp};
use crate::touchpoint::Identity;
use crate::wire::{Format, Limits};
use crate::worker::{Job, Worker};

const HOUR: Span = Span::from_secs(3_600);

/// What the tests may know of a running worker.
#[derive(Default)]
pub(super) struct Watch {
    /// Records handed over.
    records: AtomicU64,
    turns: AtomicU64,
    /// By shard: the instant of the latest promise whose turn is over, so that all due by then is decided and committed.
    done: Mutex<BTreeMap<ShardId, Timestamp>>,
    /// The worker is cut off: it does not get to commit any more.
    cut: AtomicBool,
}

struct Watched {
    worker: Worker,
    watch: Arc<Watch>,
    told: BTreeMap<ShardId, Timestamp>,
}

impl ShardOwner for Watched {
    fn assigned(&mut self, shards: Vec<Assignment>) {
        self.worker.assigned(shards);
    }

    fn awaiting(&mut self, shards: &[ShardId]) {
        self.worker.awaiting(shards);
    }

    fn park(&mut self, shard: ShardId, reason: String) {
        self.worker.park(shard, reason);
    }

    fn take_parked(&mut self) -> Vec<ShardId> {
        self.worker.take_parked()
    }

    fn kept(&self, shard: ShardId) -> Option<Progress> {
        self.worker.kept(shard)
    }

    fn begin_batch(&mut self) {
        self.worker.begin_batch();
    }
    fn record(&mut self, record: RawRecord<'_>) {
        self.worker.record(record);
        self.watch.records.fetch_add(1, Ordering::SeqCst);
    }

    fn control(&mut self, record: RawRecord<'_>) {
        self.worker.control(record);
        self.watch.records.fetch_add(1, Ordering::SeqCst);
    }

    fn handed_over(&mut self, record: RawRecord<'_>) {
        self.worker.handed_over(record);
        self.watch.records.fetch_add(1, Ordering::SeqCst);
    }

    fn caught_up(&mut self, shard: ShardId, input: usize, position: i64, at: Timestamp) {
        self.worker.caught_up(shard, input, position, at);
        self.told.insert(shard, at);
    }

    fn buffered(&self, shard: ShardId, input: usize) -> Waiting {
        self.worker.buffered(shard, input)
    }

    fn revoking(&mut self, shards: &[ShardId]) {
        self.watch.done.lock().expect("unpoisoned").retain(|shard, _| !shards.contains(shard));
        if !self.watch.cut.load(Ordering::SeqCst) {
            self.worker.revoking(shards);
        }
    }

    fn lost(&mut self, shards: &[ShardId]) {
        self.worker.lost(shards);
    }

    fn turn(&mut self) -> Result<(), String> {
        if self.watch.cut.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.worker.turn()?;
        self.watch.turns.fetch_add(1, Ordering::SeqCst);
        self.watch.done.lock().expect("unpoisoned").append(&mut self.told);
        Ok(())
    }
}

/// A store with its workers.
pub(super) struct Running {
    pub(super) store: Arc<Store>,
    watch: Arc<Watch>,
    lookup: Arc<Lookup>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<(), String>>>,
}

impl Running {
    fn start(settings: &Settings, models: &[Arc<Model>], now: &Now, workers: usize, commit_interval: Span) -> Self {
        Self::on(Store::open(settings, models, now).expect("opened"), models, now, workers, commit_interval)
    }

    pub(super) fn on(store: Arc<Store>, models: &[Arc<Model>], now: &Now, workers: usize, commit_interval: Span) -> Self {
        let (watch, stop, lookup) =
            (Arc::new(Watch::default()), Arc::new(AtomicBool::new(false)), Arc::new(Lookup::default()));
        let job = Job {
            models: models.into(),
            retired: Arc::default(),
            settings: shard::Settings { settle: Span::ZERO, ..shard::Settings::default() },
            format: Format::Json,
            mapping: None,
            limits: Limits::default(),
            topics: Arc::new([INPUT.to_owned()]),
            partitions: store.partitions(),
            partitioner: Partitioner::Murmur2,
            misrouted: shard::Misrouted::Apply,
            erase_on: None,
            commit_interval,
            stale_after: Span::from_days(3_650),
            now: Arc::clone(now),
            lookup: Arc::clone(&lookup),
            frontiers: None,
        };
        let thread = |worker| {
            let (store, watch, stop, job, now) =
                (Arc::clone(&store), Arc::clone(&watch), Arc::clone(&stop), job.clone(), Arc::clone(now));
            let run = move || {
                drive(&store, worker, workers, &now, &stop, |sink| {
                    Arc::new(Mutex::new(Watched { worker: Worker::new(job, sink), watch, told: BTreeMap::new() }))
                })
            };
            std::thread::Builder::new().spawn(run).expect("started")
        };
        let threads = (0..workers).map(thread).collect();
        Running { store, watch, lookup, stop, threads }
    }

    fn append(&self, batch: Vec<Entry>) {
        self.store.append(batch, Entering::Live).expect("appended");
    }

    /// Waits until all that is appended, and all that is due at `instant`, is decided and committed.
    pub(super) fn settle(&self, instant: Timestamp) {
        let shards = self.store.partitions() as usize;
        let over = || self.threads.iter().any(JoinHandle::is_finished);
        wait_until("everything is committed", || self.store.pending() == 0 || over());
        // A commit is in the store before its worker's turn is over, and a promise may be older than what was appended last:
        // only turns that end from here on count.
        self.watch.done.lock().expect("unpoisoned").clear();
        wait_until("everything is decided and committed", || {
            let done = self.watch.done.lock().expect("unpoisoned");
            let told = done.len() == shards && done.values().all(|at| *at >= instant);
            drop(done);
            (told && self.store.pending() == 0) || over()
        });
    }

    /// Ends, and says why a worker could not go on.
    pub(super) fn ended(mut self) -> Result<Arc<Store>, String> {
        self.stop.store(true, Ordering::SeqCst);
        // All are waited for, whatever the first one says.
        let ended: Vec<Result<(), String>> = self.threads.drain(..).map(|thread| thread.join().expect("no panic")).collect();
        ended.into_iter().collect::<Result<(), String>>().map(|()| Arc::clone(&self.store))
    }

    fn stop(mut self) -> Arc<Store> {
        self.end();
        Arc::clone(&self.store)
    }

    /// Ends without another commit, as a kill would.
    fn kill(mut self) {
        self.watch.cut.store(true, Ordering::SeqCst);
        self.end();
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().expect("no panic").expect("no reason to stop");
        }
    }

    fn outcomes(&self) -> Vec<(String, serde_json::Value)> {
        outcomes(&self.store)
    }
}

fn outcomes(store: &Store) -> Vec<(String, serde_json::Value)> {
    let stored = store.stored_after(0, usize::MAX, usize::MAX, Duration::ZERO).expect("read");
    assert!(stored.iter().enumerate().all(|(index, stored)| stored.position == index as u64 + 1), "contiguous positions");
    stored.into_iter().map(|stored| (stored.topic, serde_json::from_slice(&stored.value).expect("JSON"))).collect()
}

/// By customer, what was published, in order.
fn stories(outcomes: Vec<(String, serde_json::Value)>) -> BTreeMap<String, Vec<(String, serde_json::Value)>> {
    let mut stories: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for (topic, value) in outcomes {
        let who = value["customer_id"].as_str().expect("whose outcome").to_owned();
        stories.entry(who).or_default().push((topic, value));
    }
    stories
}

fn count(outcomes: &[(String, serde_json::Value)], topic: &str, customer: &str) -> usize {
    outcomes.iter().filter(|(of, value)| of == topic && value["customer_id"] == customer).count()
}

/// The store's file, with everything that SQLite's own log holds written to it.
fn file(store: &Settings) -> Vec<u8> {
    let path = store.dir.join("sillage.db");
    let connection = rusqlite::Connection::open(&path).expect("opened");
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("written");
    std::fs::read(&path).expect("the store")
}

#[test]
fn an_erased_customer_leaves_the_store_and_is_not_abandoned() {
    let (dir, clock) = (tempfile::tempdir().expect("a directory"), Clock::at(at(0)));
    let settings = settings(&dir);
    let running = Running::start(&settings, &[shop()], &clock.now(), 2, Span::ZERO);
    running.append(vec![entry("erasmus", "1", at(0), "cart.added"), entry("bob", "1", at(0), "cart.added")]);
    running.settle(at(0));
    let who = Identity::customer("erasmus");
    assert!(running.lookup.customer(&who).is_some());
    clock.set(at(10));
    running.store.erase(&who).expect("asked for");
    running.settle(at(10));
    assert!(running.lookup.customer(&who).is_none());
    clock.set(at(3_600));
    running.settle(at(3_600));
    assert_eq!(
        (count(&running.outcomes(), "abandonments", "erasmus"), count(&running.outcomes(), "abandonments", "bob")),
        (0, 1)
    );
    drop(running.stop());
    // The key of the row, which is how a state begins; the touchpoints themselves go by retention.
    let file = file(&settings);
    let holds = |bytes: &[u8]| file.windows(bytes.len()).any(|window| window == bytes);
    assert!(holds(b"\x0cbob") && !holds(b"\x1cerasmus"));
}

/// Whoever is asked for while nobody works is erased when somebody does; a kill before the commit changes nothing.
#[test]
fn an_erasure_outlives_a_kill() {
    let (dir, clock) = (tempfile::tempdir().expect("a directory"), Clock::at(at(0)));
    let settings = settings(&dir);
    let running = Running::start(&settings, &[shop()], &clock.now(), 1, Span::ZERO);
    running.append(vec![entry("ada", "1", at(0), "cart.added")]);
    running.settle(at(0));
    running.watch.cut.store(true, Ordering::SeqCst);
    clock.set(at(1));
    running.store.erase(&Identity::customer("ada")).expect("asked for");
    running.kill();
    let running = Running::start(&settings, &[shop()], &clock.now(), 2, Span::ZERO);
    running.settle(at(1));
    assert!(running.lookup.customer(&Identity::customer("ada")).is_none());
    clock.set(at(2));
    running.append(vec![entry("ada", "2", at(2), "cart.added")]);
    running.settle(at(2));
    let ada = running.lookup.customer(&Identity::customer("ada")).expect("anew");
    assert_eq!((ada.touchpoints, ada.journeys[0].number), (1, 1));
}

#[test]
fn while_a_history_is_loaded_nobody_can_ask_and_links_are_erased_in_its_time() {
    let (dir, clock) = (tempfile::tempdir().expect("a directory"), Clock::at(at(10_000)));
    let settings = settings(&dir);
    let running = Running::start(&settings, &[shop()], &clock.now(), 2, Span::ZERO);
    running.store.begin_history(at(0)).expect("open");
    let refused = running.store.erase(&Identity::customer("ada"));
    assert!(matches!(refused, Err(Refusal::Loading(_))), "{refused:?}");
    running.store.end_history().expect("ended");
    running.store.erase(&Identity::customer("ada")).expect("asked for");
}

/// Forty steps of ten minutes, in each of which some of twenty customers do something.
fn script() -> Vec<(Timestamp, Vec<Entry>)> {
    let mut dice = 12_345_u64;
    let mut roll = |sides: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % sides
    };
    let mut steps = Vec::new();
    for step in 0..40 {
        let now = at(600 * (step + 1));
        let mut entries = Vec::new();
        for n in 0..8 {
            let kind =
                ["looking.entered", "cart.added", "cart.added", "order.completed", "buying.entered"][roll(5) as usize];
            entries.push(entry(
                &format!("c{}", roll(20)),
                &format!("{step}-{n}"),
                now - Span::from_secs(roll(50) as i64),
                kind,
            ));
        }
        steps.push((now, entries));
    }
    steps
}

#[test]
fn wherever_a_worker_is_killed_the_story_is_the_same() {
    let told = |kills: bool| {
        let (dir, clock) = (tempfile::tempdir().expect("a directory"), Clock::at(at(0)));
        let start = |interval| Running::start(&settings(&dir), &[shop()], &clock.now(), 2, interval);
        let mut running = start(Span::ZERO);
        for (index, (now, entries)) in script().into_iter().enumerate() {
            match if kills { index % 4 } else { 0 } {
                // Killed as soon as the append is acknowledged.
                1 => {
                    clock.set(now);
                    running.append(entries);
                    running.kill();
                    running = start(Span::ZERO);
                }
                // Killed when everything is decided, and nothing of it committed.
                2 => {
                    running.kill();
                    clock.set(now);
                    running = start(HOUR);
                    let handed = entries.len() as u64;
                    running.append(entries);
                    wait_until("all is handed over", || running.watch.records.load(Ordering::SeqCst) == handed);
                    assert_eq!(running.store.pending(), handed, "nothing is committed");
                    running.kill();
                    running = start(Span::ZERO);
                }
                // Not killed; or stopped in good order.
                other => {
                    clock.set(now);
                    running.append(entries);
                    if other == 3 {
                        drop(running.stop());
                        running = start(Span::ZERO);
                    }
                }
            }
            running.settle(now);
        }
        clock.set(at(100_000));
        running.settle(at(100_000));
        stories(running.outcomes())
    };
    let (quiet, killed) = (told(false), told(true));
    for topic in ["transitions", "completions", "abandonments", "recoveries"] {
        assert!(quiet.values().flatten().any(|(of, _)| of == topic), "the script has {topic}");
    }
    assert_eq!(quiet, killed);
}

#[test]
fn what_cannot_be_read_becomes_a_dead_letter_and_the_rest_goes_on() {
    let (dir, clock) = (tempfile::tempdir().expect("a directory"), Clock::at(at(0)));
    let running = Running::start(&settings(&dir), &[shop()], &clock.now(), 1, Span::ZERO);
    let bad = Entry { identity: None, id: None, event_time: at(0), value: b"no touchpoint".to_vec() };
    running.append(vec![entry("c", "1", at(0), "looking.entered"), bad, entry("c", "2", at(0), "buying.entered")]);
    running.settle(at(0));
    let outcomes = running.outcomes();
    let dead: Vec<_> = outcomes.iter().filter(|(topic, _)| topic == "dead-letters").collect();
    assert_eq!((outcomes.len(), dead.len(), dead[0].1["value"].as_str()), (3, 1, Some("no touchpoint")));
    assert!(dead[0].1["reason"].as_str().is_some_and(|reason| reason.contains("JSON")), "{dead:?}");
}

#[test]
fn a_purchase_acknowledged_before_the_deadline_is_never_followed_by_an_abandonment() {
    const CUSTOMERS: i64 = 80;
    const QUIET: Span = Span::from_secs(1);
    let (dir, clock) = (tempfile::tempdir().expect("a directory"), Clock::at(at(0)));
    let text = include_str!("quick.yaml");
    let quick = Arc::new(crate::model::load("quick", text).0.expect("a model"));
    let running = Running::start(&settings(&dir), &[quick], &clock.restless(), 2, Span::ZERO);
    let acknowledged = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for sender in 0..3 {
            let (running, clock, acknowledged) = (&running, &clock, &acknowledged);
            scope.spawn(move || {
                let begun = clock.read();
                let opened = |n: i64| begun - Span::from_millis(5 * n);
                let cart = |n: i64| entry(&format!("{sender}-{n}"), "cart", opened(n), "cart.added");
                running.append((0..CUSTOMERS).map(cart).collect());
                // Those who came first have the earliest deadline.
                for n in (0..CUSTOMERS).rev() {
                    let deadline = opened(n) + QUIET;
                    wait_until("it is nearly too late", || clock.read() >= deadline - Span::from_millis(n % 12));
                    let customer = format!("{sender}-{n}");
                    running.append(vec![entry(&customer, "order", clock.read(), "order.completed")]);
                    if clock.read() < deadline {
                        acknowledged.lock().expect("unpoisoned").push(customer);
                    }
                }
            });
        }
    });
    let end = clock.read() + QUIET;
    running.settle(end);
    let outcomes = running.outcomes();
    let story = |customer: &str| (count(&outcomes, "completions", customer), count(&outcomes, "abandonments", customer));
    for customer in acknowledged.into_inner().expect("unpoisoned") {
        assert_eq!(story(&customer), (1, 0), "{customer}");
    }
    for customer in (0..3).flat_map(|sender| (0..CUSTOMERS).map(move |n| format!("{sender}-{n}"))) {
        let (completions, abandonments) = story(&customer);
        // Bought in time and told too late, it is abandoned, and that is retracted.
        assert!(completions == 1 && abandonments <= 2, "{customer}: {completions} and {abandonments}");
    }
}

#[test]
fn a_history_is_decided_in_its_own_time_and_then_life_goes_on() {
    let (dir, clock) = (tempfile::tempdir().expect("a directory"), Clock::at(at(500_000)));
    let running = Running::start(&settings(&dir), &[shop()], &clock.now(), 2, Span::ZERO);
    // The workers have gone to the present before anybody speaks of a history.
    running.settle(at(500_000));
    assert_eq!(running.store.begin_history(at(0)), Ok(()));
    let chunk = |chunk: &[(&str, i64, &str)]| {
        let entries =
            chunk.iter().map(|(who, minutes, kind)| entry(who, &format!("{who}-{minutes}"), at(60 * minutes), kind));
        running.store.append(entries.collect(), Entering::History).expect("appended");
        wait_until("the chunk is processed", || running.store.pending() == 0);
    };
    chunk(&[("steady", 0, "cart.added"), ("slow", 0, "cart.added"), ("late", 5, "cart.added")]);
    chunk(&[("steady", 20, "looking.entered"), ("slow", 31, "looking.entered"), ("steady", 40, "looking.entered")]);
    let turns = running.watch.turns.load(Ordering::SeqCst);
    wait_until("silence goes by", || running.watch.turns.load(Ordering::SeqCst) > turns + 10);
    chunk(&[("steady", 60, "order.completed"), ("lonely", 60, "cart.added")]);
    let turns = running.watch.turns.load(Ordering::SeqCst);
    wait_until("silence goes by", || running.watch.turns.load(Ordering::SeqCst) > turns + 10);
    let loaded = running.outcomes();
    let abandoned = |outcomes: &[_], who| count(outcomes, "abandonments", who);
    assert_eq!((abandoned(&loaded, "steady"), count(&loaded, "completions", "steady")), (0, 1));
    assert_eq!((abandoned(&loaded, "slow"), abandoned(&loaded, "lonely")), (1, 0), "silence proves nothing during a load");

    let live =
        |kind, n: i64| running.store.append(vec![entry("lonely", &format!("live-{n}"), at(500_000), kind)], Entering::Live);
    assert!(matches!(live("looking.entered", 0), Err(Refusal::Loading(_))));
    assert_eq!(running.store.end_history(), Ok(()));
    running.settle(at(500_000));
    let ended = running.outcomes();
    assert_eq!(["steady", "slow", "late", "lonely"].map(|who| abandoned(&ended, who)), [0, 1, 1, 1]);
    assert!(live("order.completed", 1).is_ok());
    running.settle(at(500_000));
    assert_eq!(count(&running.outcomes(), "recoveries", "lonely"), 1, "within seven days");
    assert!(matches!(running.store.begin_history(at(0)), Err(Refusal::TooLate(_))));
    clock.set(at(500_010));
    running.settle(at(500_010));
}

#[test]
fn on_a_full_disk_work_waits_and_is_done_once_there_is_space() {
    const CUSTOMERS: i64 = 3_000;
    let (dir, clock) = (tempfile::tempdir().expect("a directory"), Clock::at(at(0)));
    let store = open(&settings(&dir), &clock.now());
    let looks = (0..CUSTOMERS).map(|n| entry(&format!("c{n}"), "1", at(0), "looking.entered")).collect();
    store.append(looks, Entering::Live).expect("appended");
    drop(store);
    let raw = rusqlite::Connection::open(settings(&dir).dir.join("sillage.db")).expect("opened");
    raw.execute_batch("CREATE TABLE junk (bytes BLOB); INSERT INTO junk VALUES (zeroblob(8000000))").expect("written");
    // SQLite never makes the limit lower than what is there: the store is filled to the brim.
    let full = Settings { max_bytes: Some(1), ..settings(&dir) };
    let running = Running::start(&full, &[shop()], &clock.now(), 2, Span::ZERO);
    wait_until("some commits have failed", || running.watch.turns.load(Ordering::SeqCst) > 6);
    assert_eq!((running.store.pending() as i64, running.store.last_position()), (CUSTOMERS, 0));
    assert_eq!(running.lookup.customer(&Identity::customer("c7")), None, "readers see what is committed");
    let refused = running.store.append(vec![entry("x", "x", at(0), "x")], Entering::Live);
    assert!(matches!(refused, Err(Refusal::Full(_))), "{refused:?}");
    raw.execute("DELETE FROM junk", []).expect("deleted");
    running.settle(at(0));
    let outcomes = running.outcomes();
    assert_eq!(outcomes.len() as i64, CUSTOMERS, "one transition each");
    assert_eq!(stories(outcomes).len() as i64, CUSTOMERS);
    assert!(running.lookup.customer(&Identity::customer("c7")).is_some());
    drop(running.stop());
}

#[test]
fn another_model_at_the_end_begins_its_journeys_beside_the_running_ones() {
    let (dir, clock) = (tempfile::tempdir().expect("a directory"), Clock::at(at(0)));
    let first = Running::start(&settings(&dir), &[shop()], &clock.now(), 1, Span::ZERO);
    first.append(vec![entry("c", "1", at(0), "looking.entered")]);
    first.settle(at(0));
    drop(first.stop());
    let models = [shop(), model("more", 1, &["buying"])];
    let second = Running::start(&settings(&dir), &models, &clock.now(), 1, Span::ZERO);
    second.append(vec![entry("c", "2", at(0), "buying.entered")]);
    second.settle(at(0));
    let models: Vec<_> = second.outcomes().iter().map(|(_, value)| value["model"].clone()).collect();
    assert_eq!(models, ["shop", "shop", "more"]);
}
