//! The store by itself: who may open it, what an append does, what is kept.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::super::sink::{StoreSink, Trouble};
use super::super::{Appended, Entering, Entry, MAX_PARTITIONS, Refusal, Settings, Store, drive};
use super::{BEGIN, Clock, at, entry, model, open, settings, shop, wait_until};
use crate::journey::Customer;
use crate::journey::packed::Words;
use crate::memory::Waiting;
use crate::port::{Assignment, Origin, RawRecord, ShardId, ShardOwner, Sink, Verdict};
use crate::shard::{Position, Progress, Unusable, Written};
use crate::time::{Span, Timestamp};
use crate::touchpoint::Identity;

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

fn clicks(range: std::ops::Range<i64>) -> Vec<Entry> {
    range.map(|n| entry(&format!("c{}", n % 50), &format!("e{n}"), at(n), "looking.entered")).collect()
}

fn append(store: &Store, batch: Vec<Entry>) -> Appended {
    store.append(batch, Entering::Live).expect("appended")
}

/// Commits as a worker that has applied everything, with one dead letter a shard.
fn process_everything(store: &Arc<Store>) -> Verdict {
    let mut sink = StoreSink::new(Arc::clone(store), Arc::new(Trouble::default()));
    let shards: Vec<(ShardId, Progress)> = store.board.books(|books| {
        let processed = |(number, book): (usize, &super::super::books::ShardBook)| {
            let positions = vec![Position { offset: book.end, log_time: book.stamped }];
            let progress = Progress { positions, stream_time: Some(book.stamped), sequence: book.sequence + 1 };
            (number as ShardId, progress)
        };
        books.shards.iter().enumerate().map(processed).collect()
    });
    for (shard, progress) in &shards {
        let unusable = Unusable { reason: "a test".to_owned(), key: None, value: Some(vec![0xff, 0x00]) };
        sink.dead_letter(Origin { shard: *shard, input: 0, offset: progress.positions[0].offset }, &unusable);
        let (mut words, mut packed) = (Words::default(), Vec::new());
        Customer::new(Identity::customer(format!("customer of {shard}"))).pack(&mut words, &mut packed);
        sink.remember(*shard, Written { now: &packed, before: None, words: &words });
    }
    sink.commit(&shards)
}

#[test]
fn a_directory_belongs_to_one_at_a_time() {
    let (dir, clock) = (dir(), Clock::at(at(0)));
    let store = open(&settings(&dir), &clock.now());
    let refused = Store::open(&settings(&dir), &[shop()], &clock.now()).expect_err("in use");
    assert!(refused.contains("is in use by another Sillage (process "), "{refused}");
    assert!(refused.contains("stop that one, or choose another directory"), "{refused}");
    drop(store);
    open(&settings(&dir), &clock.now());
}

#[test]
fn other_partitions_are_refused_with_the_remedy() {
    let (dir, clock) = (dir(), Clock::at(at(0)));
    drop(open(&settings(&dir), &clock.now()));
    for (partitions, expected) in [
        (5, "was made with 4 partitions, and 5 are asked for; ask for 4, or begin with an empty directory"),
        (0, "out of range"),
        (MAX_PARTITIONS + 1, "out of range"),
    ] {
        let refused = Store::open(&Settings { partitions, ..settings(&dir) }, &[shop()], &clock.now());
        let refused = refused.expect_err("other partitions");
        assert!(refused.contains(expected), "{refused}");
    }
}

#[test]
fn models_go_on_once_journeys_run_or_are_refused_with_the_remedy() {
    let (dir, clock) = (dir(), Clock::at(at(0)));
    let with = |models: &[_], retired: &[&str]| {
        let retired = retired.iter().map(|name| (*name).to_owned()).collect();
        Store::open(&Settings { retired, ..settings(&dir) }, models, &clock.now()).map(drop)
    };
    let opened = |models: &[_]| with(models, &[]);
    let three = |version| model("shop", version, &["looking", "asking", "buying"]);
    opened(&[shop()]).expect("new");
    opened(&[three(1)]).expect("nobody's journey runs yet");
    opened(&[shop()]).expect("nobody's journey runs yet");
    assert_eq!(process_everything(&open(&settings(&dir), &clock.now())), Verdict::Committed);
    let other = || model("other", 1, &["looking"]);
    for (what, models, retired, refused) in [
        ("another stage, and not another version", vec![three(1)], vec![], Some("write `version: 2`")),
        ("a stage that is gone", vec![model("shop", 2, &["looking"])], vec![], Some("(D001)")),
        ("no model", vec![], vec![], Some("list its name under `retired`")),
        ("another version of the same structure", vec![model("shop", 2, &["looking", "buying"])], vec![], None),
        ("one more model, before", vec![other(), shop()], vec![], None),
        ("the new one is missing", vec![shop()], vec![], Some("under the model other")),
        ("the new one is gone for good", vec![shop()], vec!["other"], None),
        ("another stage in between", vec![three(2)], vec![], None),
        ("the version before", vec![shop()], vec![], Some("version 2 of the model shop, and this is version 1")),
    ] {
        match (with(&models, &retired), refused) {
            (Ok(()), None) => {}
            (Err(reason), Some(told)) => assert!(reason.contains(told), "{what}: {reason}"),
            (judged, _) => panic!("{what}: {judged:?}"),
        }
    }
}

#[test]
fn a_store_of_another_version_is_left_alone() {
    let (dir, clock) = (dir(), Clock::at(at(0)));
    drop(open(&settings(&dir), &clock.now()));
    let file = settings(&dir).dir.join("sillage.db");
    let raw = rusqlite::Connection::open(file).expect("opened");
    raw.pragma_update(None, "user_version", 3).expect("set");
    drop(raw);
    let refused = Store::open(&settings(&dir), &[shop()], &clock.now()).expect_err("a newer version");
    assert!(refused.contains("use the Sillage that made it"), "{refused}");
}

#[test]
fn repeats_are_dropped_for_a_day_whatever_their_number_and_across_restarts() {
    let (dir, clock) = (dir(), Clock::at(at(0)));
    let mut store = open(&settings(&dir), &clock.now());
    let mut twice = clicks(0..300);
    twice.extend(clicks(0..300));
    assert_eq!(append(&store, twice), Appended { accepted: 300, duplicates: 300 });
    const DAY: i64 = 86_400;
    for (seconds, repeat) in [(1, true), (7 * 3_600, true), (DAY - 1, true), (DAY, false), (DAY + 1, true)] {
        drop(store);
        clock.set(at(seconds));
        store = open(&settings(&dir), &clock.now());
        let expected = Appended { accepted: u64::from(!repeat), duplicates: u64::from(repeat) };
        assert_eq!(append(&store, clicks(7..8)), expected, "after {seconds} s");
    }
    let same_id = |identity| Entry { identity, ..entry("x", "e7", at(0), "looking.entered") };
    let mut without_id = entry("c7", "e7", at(0), "looking.entered");
    without_id.id = None;
    let others = vec![
        same_id(Some(Identity::customer("c8"))),
        same_id(Some(Identity::anonymous("c7"))),
        same_id(None),
        without_id.clone(),
        without_id,
    ];
    assert_eq!(append(&store, others), Appended { accepted: 5, duplicates: 0 });
}

#[test]
fn stamps_never_go_back_even_if_the_clock_does() {
    let (dir, clock) = (dir(), Clock::at(at(100)));
    let store = open(&settings(&dir), &clock.now());
    append(&store, clicks(0..10));
    drop(store);
    clock.set(at(40));
    let store = open(&settings(&dir), &clock.now());
    append(&store, clicks(10..20));
    clock.set(at(120));
    append(&store, clicks(20..30));
    drop(store);
    let raw = rusqlite::Connection::open(settings(&dir).dir.join("sillage.db")).expect("opened");
    let mut statement =
        raw.prepare("SELECT stamped, sum(count) FROM batches GROUP BY stamped ORDER BY stamped").expect("read");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("read");
    let stamps: Vec<(i64, i64)> = rows.collect::<Result<_, _>>().expect("read");
    assert_eq!(stamps, [(BEGIN + 100_000, 20), (BEGIN + 120_000, 10)]);
}

#[test]
fn outcomes_have_contiguous_positions_and_readers_wait_for_them() {
    let (dir, clock) = (dir(), Clock::at(at(0)));
    let settings = Settings { keep_outcomes: Span::from_secs(60), ..settings(&dir) };
    let store = open(&settings, &clock.now());
    assert_eq!(store.stored_after(0, 10, usize::MAX, Duration::ZERO), Ok(vec![]));
    let waiting = Arc::clone(&store);
    let reader = std::thread::Builder::new().spawn(move || waiting.stored_after(0, 3, usize::MAX, Duration::from_secs(30)));
    assert_eq!(process_everything(&store), Verdict::Committed);
    let read = reader.expect("started").join().expect("no panic").expect("read");
    assert_eq!(read.iter().map(|stored| stored.position).collect::<Vec<_>>(), [1, 2, 3]);
    let expected = r#"{"topic":"touchpoints","partition":0,"offset":0,"reason":"a test","value_hex":"ff00","size":2}"#;
    assert_eq!((read[0].topic.as_str(), std::str::from_utf8(&read[0].value)), ("dead-letters", Ok(expected)));
    assert_eq!(store.stored_after(3, 10, usize::MAX, Duration::ZERO).expect("read").len(), 1);

    // What is old enough goes; positions go on, also after a restart.
    clock.set(at(61));
    wait_until("outcomes are deleted", || store.stored_after(0, 10, usize::MAX, Duration::ZERO) == Ok(vec![]));
    drop(store);
    let store = open(&settings, &clock.now());
    assert_eq!((store.last_position(), process_everything(&store)), (4, Verdict::Committed));
    assert_eq!(store.stored_after(0, 1, usize::MAX, Duration::ZERO).expect("read")[0].position, 5);
}

#[test]
fn a_second_worker_on_a_partition_is_told_to_stop() {
    let (dir, clock) = (dir(), Clock::at(at(0)));
    let store = open(&settings(&dir), &clock.now());
    let progress = |sequence| {
        vec![(2, Progress { positions: vec![Position { offset: 0, log_time: at(0) }], stream_time: None, sequence })]
    };
    let mut sinks = [0, 1].map(|_| StoreSink::new(Arc::clone(&store), Arc::new(Trouble::default())));
    assert_eq!(sinks[0].commit(&progress(1)), Verdict::Committed);
    assert!(matches!(sinks[1].commit(&progress(1)), Verdict::Lost(reason) if reason.contains("another worker")));
    assert_eq!(sinks[0].commit(&progress(2)), Verdict::Committed);
}

#[test]
fn a_full_store_refuses_keeps_what_it_has_and_recovers() {
    let (dir, clock) = (dir(), Clock::at(at(0)));
    let settings = Settings { max_bytes: Some(1 << 20), keep_touchpoints: Span::from_secs(60), ..settings(&dir) };
    let store = open(&settings, &clock.now());
    let mut accepted = 0;
    let refusal = loop {
        match store.append(clicks(accepted..accepted + 100), Entering::Live) {
            Ok(appended) => accepted += appended.accepted as i64,
            Err(refusal) => break refusal,
        }
        assert!(accepted < 20_000, "a megabyte does not hold so many");
    };
    assert!(matches!(&refusal, Refusal::Full(reason) if reason.contains("free some or raise its limit")), "{refusal:?}");
    assert!(accepted > 1_000, "{accepted}");
    assert_eq!(store.pending() as i64, accepted);
    drop(store);
    let store = open(&settings, &clock.now());
    assert_eq!(store.pending() as i64, accepted, "what was acknowledged is there after a restart");
    // The last eighth is for commits: what is there can be processed, and then be deleted.
    assert_eq!(process_everything(&store), Verdict::Committed);
    let again = || store.append(clicks(accepted..accepted + 100), Entering::Live);
    assert!(matches!(again(), Err(Refusal::Full(_))), "processed, but not old enough");
    clock.set(at(61));
    wait_until("there is space again", || again().is_ok());
}

#[test]
fn a_transaction_that_the_disk_refuses_is_undone_and_the_others_of_its_group_are_not() {
    let (dir, clock) = (dir(), Clock::at(at(0)));
    let settings = Settings { max_bytes: Some(4 << 20), ..settings(&dir) };
    let store = open(&settings, &clock.now());
    // More than fits, while the store still looks empty: SQLite itself has to say no.
    let huge: Vec<Entry> =
        (0..8).map(|n| Entry { value: vec![b'x'; 1 << 20], ..entry("h", &format!("h{n}"), at(0), "x") }).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let full: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    while !stop.load(Ordering::SeqCst) {
                        assert!(matches!(store.append(huge.clone(), Entering::Live), Err(Refusal::Full(_))));
                    }
                })
            })
            .collect();
        for n in 0..50 {
            assert_eq!(append(&store, clicks(n * 10..n * 10 + 10)), Appended { accepted: 10, duplicates: 0 });
        }
        stop.store(true, Ordering::SeqCst);
        full.into_iter().for_each(|thread| thread.join().expect("no panic"));
    });
    assert_eq!(store.pending(), 500);
    assert_eq!(process_everything(&store), Verdict::Committed);
}

#[test]
fn processed_touchpoints_are_deleted_when_old_and_offsets_go_on() {
    let (dir, clock) = (dir(), Clock::at(at(0)));
    let settings = Settings { keep_touchpoints: Span::from_secs(60), ..settings(&dir) };
    let store = open(&settings, &clock.now());
    append(&store, clicks(0..1_000));
    process_everything(&store);
    clock.set(at(10));
    append(&store, clicks(1_000..1_100));
    clock.set(at(61));
    let raw = rusqlite::Connection::open(settings.dir.join("sillage.db")).expect("opened");
    let count = || raw.query_row("SELECT sum(count) FROM batches", [], |row| row.get::<_, i64>(0)).expect("counted");
    wait_until("old ones are deleted", || count() == 100);
    clock.set(at(10_000));
    assert_eq!(store.pending(), 100, "whatever their age, these are not processed");
    drop((raw, store));
    let store = open(&settings, &clock.now());
    append(&store, clicks(1_100..1_101));
    assert_eq!(store.pending(), 101);
    assert_eq!(store.board.books(|books| books.shards.iter().map(|shard| shard.end).sum::<i64>()), 1_101);
}

#[test]
fn histories_and_live_touchpoints_do_not_mix() {
    let (dir, clock) = (dir(), Clock::at(at(1_000)));
    let store = open(&settings(&dir), &clock.now());
    let history = |store: &Store, n| store.append(clicks(n..n + 1), Entering::History);
    assert!(matches!(history(&store, 0), Err(Refusal::Loading(_))), "no load is open");
    assert_eq!(store.begin_history(at(0)), Ok(()));
    assert_eq!(history(&store, 0).map(|appended| appended.accepted), Ok(1));
    assert!(matches!(store.append(clicks(1..2), Entering::Live), Err(Refusal::Loading(_))));
    drop(store);
    let store = open(&settings(&dir), &clock.now());
    assert!(store.is_loading(), "a load survives a restart");
    assert_eq!(store.begin_history(at(0)), Ok(()), "and goes on");
    assert_eq!(history(&store, 5_000).map(|appended| appended.accepted), Ok(1));
    assert_eq!(store.end_history(), Ok(()));
    assert!(matches!(history(&store, 6), Err(Refusal::Loading(_))));
    let latest = store.board.books(|books| books.latest());
    assert_eq!(latest, at(1_000), "a history's touchpoint from the future enters as of now");
    assert!(matches!(store.begin_history(at(999)), Err(Refusal::TooLate(reason)) if reason.contains("empty directory")));
    assert_eq!(store.begin_history(at(1_000)), Ok(()));
}

/// A owner that only looks whether what it is told can be true.
struct Witness {
    seen: Arc<Mutex<BTreeMap<ShardId, Seen>>>,
    records: Arc<AtomicU64>,
}

#[derive(Default)]
struct Seen {
    next: i64,
    promised: Option<Timestamp>,
    caught_up_to: i64,
}

impl ShardOwner for Witness {
    fn assigned(&mut self, shards: Vec<Assignment>) {
        let mut seen = self.seen.lock().expect("unpoisoned");
        for assignment in shards {
            seen.insert(assignment.shard, Seen::default());
        }
    }

    fn awaiting(&mut self, _: &[ShardId]) {}

    fn park(&mut self, shard: ShardId, reason: String) {
        panic!("shard {shard}: {reason}");
    }

    fn take_parked(&mut self) -> Vec<ShardId> {
        Vec::new()
    }

    fn kept(&self, _: ShardId) -> Option<Progress> {
        None
    }

    fn begin_batch(&mut self) {}
    fn record(&mut self, record: RawRecord<'_>) {
        let mut seen = self.seen.lock().expect("unpoisoned");
        let seen = seen.get_mut(&record.origin.shard).expect("assigned");
        assert_eq!(record.origin.offset, seen.next, "each once, in order");
        assert!(seen.promised.is_none_or(|at| record.timestamp >= at), "{:?} after {:?}", record.timestamp, seen.promised);
        seen.next += 1;
        self.records.fetch_add(1, Ordering::SeqCst);
    }

    fn control(&mut self, record: RawRecord<'_>) {
        self.record(record);
    }

    fn handed_over(&mut self, record: RawRecord<'_>) {
        self.record(record);
    }

    fn caught_up(&mut self, shard: ShardId, _input: usize, position: i64, at: Timestamp) {
        let mut seen = self.seen.lock().expect("unpoisoned");
        let seen = seen.get_mut(&shard).expect("assigned");
        assert_eq!(position, seen.next, "only what was handed over");
        assert!(seen.promised.is_none_or(|before| before <= at), "promises do not go back");
        (seen.promised, seen.caught_up_to) = (Some(at), position);
    }

    fn buffered(&self, _shard: ShardId, _input: usize) -> Waiting {
        Waiting::default()
    }

    fn revoking(&mut self, _shards: &[ShardId]) {}

    fn lost(&mut self, _shards: &[ShardId]) {}

    fn turn(&mut self) -> Result<(), String> {
        Ok(())
    }
}

#[test]
fn nothing_is_stamped_before_an_instant_that_a_worker_was_told() {
    let (dir, clock) = (dir(), Clock::at(at(0)));
    let now = clock.restless();
    let store = open(&settings(&dir), &now);
    let (stop, seen, records) = (AtomicBool::new(false), Arc::default(), Arc::new(AtomicU64::new(0)));
    let seen: Arc<Mutex<BTreeMap<ShardId, Seen>>> = seen;
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (seen, records) = (Arc::clone(&seen), Arc::clone(&records));
            let (store, stop, now) = (&store, &stop, &now);
            scope.spawn(move || {
                drive(store, worker, 2, now, stop, |_| Arc::new(Mutex::new(Witness { seen, records }))).expect("goes on");
            });
        }
        let senders: Vec<_> = (0..4)
            .map(|sender| {
                let store = &store;
                scope.spawn(move || {
                    for batch in 0..100 {
                        let from = sender * 1_000_000 + batch * 10;
                        append(store, clicks(from..from + 10));
                    }
                })
            })
            .collect();
        senders.into_iter().for_each(|sender| sender.join().expect("no panic"));
        wait_until("all is handed over", || records.load(Ordering::SeqCst) == 4_000);
        let all_told = || {
            let seen = seen.lock().expect("unpoisoned");
            seen.len() == 4 && seen.values().map(|seen| seen.caught_up_to).sum::<i64>() == 4_000
        };
        wait_until("the workers are told that this is the end", all_told);
        stop.store(true, Ordering::SeqCst);
    });
}
