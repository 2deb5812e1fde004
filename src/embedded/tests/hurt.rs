//! A store that was hurt says so: at its start, where it is read, or to `verify`; or nothing follows from it. Nothing that is
//! served is wrong.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tempfile::TempDir;

use super::super::{Deliveries, Entering, Entry, NoBackup, Settings, Snapshot, Store, backup, counter};
use super::workers::Running;
use super::{Clock, at, entry, open, settings, shop};
use crate::outbox::{Event, Outbox, Write};
use crate::time::Span;
use crate::touchpoint::Identity;

const FILES: [&str; 4] = ["sillage.db", "sillage.db-wal", "sillage.db-shm", "commits"];
/// When all that is told in these tests is over.
const END: i64 = 100_000;

/// What a store published: topic and outcome.
type Told = BTreeSet<(String, String)>;

fn dir() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

/// Touchpoints of forty customers.
fn deeds(range: std::ops::Range<i64>) -> Vec<Entry> {
    let kinds = ["looking.entered", "cart.added", "buying.entered", "cart.added", "order.completed"];
    let deed = |n: i64| {
        let mut dice = Dice(n.unsigned_abs());
        let (who, what) = (dice.roll(40), kinds[dice.roll(5)]);
        entry(&format!("customer-{who}"), &format!("e{n}"), at(n), what)
    };
    range.map(deed).collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for file in FILES {
        let _ = std::fs::remove_file(to.join(file));
        if from.join(file).exists() {
            std::fs::copy(from.join(file), to.join(file)).expect("copied");
        }
    }
}

/// Directories of one store as they were at several moments: ended well, killed later, killed later still.
struct Places {
    dir: TempDir,
    settings: Settings,
}

impl Places {
    fn of(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn make() -> Self {
        let dir = dir();
        let settings = Settings { partitions: 2, ..settings(&dir) };
        let places = Places { dir, settings };
        let (clock, from) = (Clock::at(at(0)), &places.settings.dir);
        let work = |deeds_: std::ops::Range<i64>| {
            clock.set(at(deeds_.end));
            let store = Store::open(&places.settings, &[shop()], &clock.now()).expect("opened");
            let running = Running::on(Arc::clone(&store), &[shop()], &clock.now(), 1, Span::ZERO);
            for begin in deeds_.clone().step_by(25) {
                store.append(deeds(begin..(begin + 25).min(deeds_.end)), Entering::Live).expect("appended");
                running.settle(at(deeds_.end));
            }
            running
        };
        drop(work(0..400).ended().expect("no reason to stop"));
        copy(from, &places.of("ended"));
        let running = work(400..500);
        // What SQLite's log held is in its file now; what comes begins the log anew.
        let raw = rusqlite::Connection::open(from.join("sillage.db")).expect("opened");
        raw.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).expect("moved");
        copy(from, &places.of("moved"));
        let store = running.ended().expect("no reason to stop");
        store.append(deeds(500..560), Entering::Live).expect("appended");
        copy(from, &places.of("killed"));
        drop((store, raw));
        places
    }
}

/// What came of a store: how it was noticed that it is not whole, and what it served.
#[derive(Debug, Default)]
struct Judged {
    by_verify: Option<String>,
    at_start: Option<String>,
    /// Of a worker, an append or a reader of outcomes.
    on_reading: Option<String>,
    told: Told,
    /// Something was served twice.
    twice: bool,
}

impl Judged {
    fn is_noticed(&self) -> bool {
        self.by_verify.is_some() || self.at_start.is_some() || self.on_reading.is_some()
    }
}

/// Starts a service on the store, sends what a client that has heard nothing would send, and reads all that comes.
fn judge(settings: &Settings) -> Judged {
    let mut judged = Judged::default();
    let verified = Snapshot::look(settings).and_then(|snapshot| snapshot.verify());
    judged.by_verify = match verified {
        Ok(found) => found.faults.first().cloned(),
        Err(reason) => Some(reason),
    };
    let clock = Clock::at(at(600));
    let store = match Store::open(settings, &[shop()], &clock.now()) {
        Ok(store) => store,
        Err(reason) => {
            judged.at_start = Some(reason);
            return judged;
        }
    };
    let running = Running::on(Arc::clone(&store), &[shop()], &clock.now(), 1, Span::ZERO);
    // The latest again, and some that were never sent.
    if let Err(refusal) = store.append(deeds(480..640), Entering::Live) {
        judged.on_reading = Some(format!("{refusal:?}"));
    } else {
        running.settle(at(600));
        clock.set(at(END));
        running.settle(at(END));
    }
    let mut position = 0;
    loop {
        match store.stored_after(position, 7, usize::MAX, Duration::ZERO) {
            Ok(rows) if rows.is_empty() => break,
            Ok(rows) => {
                for row in rows {
                    assert_eq!(row.position, position + 1, "none is left out");
                    position = row.position;
                    let value = String::from_utf8(row.value).expect("text");
                    judged.twice |= !judged.told.insert((row.topic, value));
                }
            }
            Err(reason) => {
                assert!(store.health().is_err(), "readiness follows");
                judged.on_reading = Some(reason);
                break;
            }
        }
    }
    if let Err(reason) = running.ended() {
        judged.on_reading = Some(reason);
    }
    judged
}

/// A store that was hurt is noticed, or tells the same; what it serves is never wrong.
fn check(what: &str, judged: &Judged, expected: &Told) {
    let wrong: Vec<_> = judged.told.difference(expected).collect();
    assert!(wrong.is_empty() && !judged.twice, "{what}: served {wrong:?}, twice: {}", judged.twice);
    if !judged.is_noticed() {
        let missing = expected.difference(&judged.told).count();
        assert_eq!(missing, 0, "{what}: nobody noticed");
    }
}

/// What a store tells that nobody hurt.
fn expected(places: &Places, name: &str) -> Told {
    let dir = dir();
    copy(&places.of(name), &dir.path().join("store"));
    let judged = judge(&Settings { partitions: 2, ..settings(&dir) });
    assert!(!judged.is_noticed(), "{judged:?}");
    judged.told
}

#[test]
fn one_bit_turned_anywhere_is_noticed_or_without_consequence() {
    let places = Places::make();
    // More by environment variable; half in a store that ended well, half in one that was killed.
    let count = std::env::var("SILLAGE_PLACES").ok().and_then(|text| text.parse().ok()).unwrap_or(500);
    let expected = ["ended", "killed"].map(|name| expected(&places, name));
    assert!(expected.iter().all(|told| told.len() > 100), "{expected:?}");
    let mut dice = Dice(2_029);
    let (mut started, mut read, mut verified, mut nothing) = (0, 0, 0, 0);
    for place in 0..count {
        let (name, told) = [("ended", &expected[0]), ("killed", &expected[1])][place % 2];
        let dir = dir();
        let settings = Settings { partitions: 2, ..settings(&dir) };
        copy(&places.of(name), &settings.dir);
        // The small files would hardly ever be met.
        let there: Vec<&str> = FILES.into_iter().filter(|file| settings.dir.join(file).exists()).collect();
        let file = match dice.roll(10) {
            0 => there[dice.roll(there.len())],
            1..4 if name == "killed" => "sillage.db-wal",
            _ => "sillage.db",
        };
        let mut bytes = std::fs::read(settings.dir.join(file)).expect("there");
        let (byte, bit) = (dice.roll(bytes.len()), dice.roll(8));
        bytes[byte] ^= 1 << bit;
        std::fs::write(settings.dir.join(file), bytes).expect("written");
        let judged = judge(&settings);
        check(&format!("place {place}: {name}, {file}, byte {byte}, bit {bit}: {judged:?}"), &judged, told);
        match judged {
            Judged { at_start: Some(_), .. } => started += 1,
            Judged { on_reading: Some(_), .. } => read += 1,
            Judged { by_verify: Some(_), .. } => verified += 1,
            Judged { .. } => nothing += 1,
        }
    }
    eprintln!(
        "{count} places: noticed at start {started}, on reading {read}, by verify {verified}, without consequence {nothing}"
    );
    assert!(started > 0 && read > 0 && verified > 0 && nothing > 0, "every way is tried");
}

#[test]
fn files_that_are_emptied_cut_off_or_mixed_up_are_noticed() {
    let places = Places::make();
    // Another store, which did much the same.
    let other = Places::make();
    type Hurt<'a> = Box<dyn Fn(&Path) + 'a>;
    let cut = |file: &'static str, keep: fn(u64) -> u64| -> Hurt<'_> {
        Box::new(move |dir| {
            let file = std::fs::OpenOptions::new().write(true).open(dir.join(file)).expect("there");
            let length = file.metadata().expect("there").len();
            file.set_len(keep(length)).expect("cut");
        })
    };
    let gone =
        |file: &'static str| -> Hurt<'_> { Box::new(move |dir| std::fs::remove_file(dir.join(file)).expect("there")) };
    let from = |places: &'_ Places, name: &str, file: &'static str| -> Hurt<'_> {
        let from = places.of(name).join(file);
        Box::new(move |dir| assert!(std::fs::copy(&from, dir.join(file)).expect("copied") > 0))
    };
    const NOTICED: bool = true;
    for (what, name, hurt, noticed) in [
        ("nothing", "ended", Box::new(|_: &Path| {}) as Hurt<'_>, false),
        ("an emptied store", "ended", cut("sillage.db", |_| 0), NOTICED),
        ("an emptied store", "killed", cut("sillage.db", |_| 0), NOTICED),
        ("no store", "ended", gone("sillage.db"), NOTICED),
        ("no store", "killed", gone("sillage.db"), NOTICED),
        ("half a store", "ended", cut("sillage.db", |length| length / 2), NOTICED),
        ("half a store", "killed", cut("sillage.db", |length| length / 2), NOTICED),
        ("a page less", "ended", cut("sillage.db", |length| length - 4_096), NOTICED),
        ("a byte less", "ended", cut("sillage.db", |length| length - 1), NOTICED),
        ("an emptied log", "killed", cut("sillage.db-wal", |_| 0), NOTICED),
        ("no log", "killed", gone("sillage.db-wal"), NOTICED),
        ("little of a log", "killed", cut("sillage.db-wal", |_| 10_000), NOTICED),
        ("an emptied counter", "ended", cut("commits", |_| 0), NOTICED),
        ("half a counter", "killed", cut("commits", |_| 20), NOTICED),
        ("no counter", "killed", gone("commits"), false),
        ("the store of before", "killed", from(&places, "ended", "sillage.db"), NOTICED),
        ("the log of before", "killed", from(&places, "moved", "sillage.db-wal"), NOTICED),
        ("the counter of before", "killed", from(&places, "ended", "commits"), false),
        ("the counter of later", "ended", from(&places, "killed", "commits"), NOTICED),
        ("another store", "ended", from(&other, "ended", "sillage.db"), NOTICED),
        ("another store", "killed", from(&other, "killed", "sillage.db"), NOTICED),
        ("another store's log", "killed", from(&other, "killed", "sillage.db-wal"), NOTICED),
        ("another store's counter", "killed", from(&other, "killed", "commits"), NOTICED),
    ] {
        let dir = dir();
        let settings = Settings { partitions: 2, ..settings(&dir) };
        copy(&places.of(name), &settings.dir);
        hurt(&settings.dir);
        let judged = judge(&settings);
        check(&format!("{what}, {name}: {judged:?}"), &judged, &expected(&places, name));
        assert_eq!(judged.is_noticed(), noticed, "{what}, {name}: {judged:?}");
        for reason in [&judged.at_start, &judged.on_reading].into_iter().flatten() {
            assert!(reason.contains("backup") || reason.contains("delete"), "{what}, {name}: no remedy in {reason:?}");
        }
    }
}

/// Whoever is refused can still look, and what they are told to do helps.
#[test]
fn a_store_that_has_lost_commits_goes_on_without_them_once_somebody_says_so() {
    let places = Places::make();
    let dir = dir();
    let settings = Settings { partitions: 2, ..settings(&dir) };
    copy(&places.of("killed"), &settings.dir);
    std::fs::write(settings.dir.join("sillage.db-wal"), []).expect("emptied");
    let clock = Clock::at(at(600));
    let refused = Store::open(&settings, &[shop()], &clock.now()).expect_err("it has lost commits");
    assert!(refused.contains("was acknowledged") && refused.contains("delete the file `commits` there"), "{refused}");
    std::fs::remove_file(settings.dir.join("commits")).expect("there");
    let store = Store::open(&settings, &[shop()], &clock.now()).expect("as somebody said");
    assert!(store.last_position() > 0);
}

#[test]
fn after_a_clean_end_the_file_alone_is_the_store() {
    let (dir, clock) = (dir(), Clock::at(at(0)));
    let settings = settings(&dir);
    let store = open(&settings, &clock.now());
    store.append(deeds(0..100), Entering::Live).expect("appended");
    drop(store);
    let names: BTreeSet<String> = std::fs::read_dir(&settings.dir)
        .expect("there")
        .map(|file| file.expect("there").file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names, ["commits", "lock", "sillage.db"].map(str::to_owned).into());
    let alone = Settings { dir: dir.path().join("alone"), ..settings.clone() };
    std::fs::create_dir(&alone.dir).expect("made");
    std::fs::copy(settings.dir.join("sillage.db"), alone.dir.join("sillage.db")).expect("copied");
    assert_eq!(open(&alone, &clock.now()).pending(), 100);
}

#[test]
fn a_backup_of_a_store_at_work_is_whole_and_is_put_back_as_it_was() {
    let (dir, clock) = (dir(), Clock::at(at(0)));
    let settings = settings(&dir);
    let file = dir.path().join("backup.db");
    let store = open(&settings, &clock.now());
    let running = Running::on(Arc::clone(&store), &[shop()], &clock.now(), 2, Span::ZERO);
    let sent = std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut sent = 0;
            while !file.exists() {
                store.append(deeds(sent..sent + 10), Entering::Live).expect("appended");
                sent += 10;
            }
            sent
        });
        let made = backup(&settings, &file).expect("made");
        assert!(made.bytes > 0, "{made:?}");
        sending.join().expect("no panic")
    });
    let again = backup(&settings, &file).expect_err("there already");
    assert!(matches!(&again, NoBackup::Failed(reason) if reason.contains("is there already")), "{again:?}");
    let ended = |running: Running, store: &Store| {
        running.settle(at(0));
        clock.set(at(END));
        running.settle(at(END));
        let read = store.stored_after(0, 100_000, usize::MAX, Duration::ZERO).expect("read");
        let told: Told = read.into_iter().map(|row| (row.topic, String::from_utf8(row.value).expect("text"))).collect();
        drop(running.ended().expect("no reason to stop"));
        told
    };
    let told = ended(running, &store);
    drop(store);
    // Put back, and sent again what came after: the story is the same.
    let back = Settings { dir: dir.path().join("back"), ..settings.clone() };
    std::fs::create_dir(&back.dir).expect("made");
    std::fs::copy(&file, back.dir.join("sillage.db")).expect("copied");
    clock.set(at(0));
    let store = open(&back, &clock.now());
    let running = Running::on(Arc::clone(&store), &[shop()], &clock.now(), 2, Span::ZERO);
    for begin in (0..sent).step_by(10) {
        store.append(deeds(begin..begin + 10), Entering::Live).expect("appended");
    }
    assert_eq!(ended(running, &store), told);
    assert!(matches!(counter::read(&back.dir), Ok(counter::Counted::Commits { .. })), "it counts again");
    drop(store);

    // What is damaged is no backup.
    let raw = rusqlite::Connection::open(back.dir.join("sillage.db")).expect("opened");
    raw.execute("UPDATE outcomes SET stale = 1 WHERE position = 1", []).expect("damaged");
    drop(raw);
    let third = dir.path().join("third.db");
    let refused = backup(&back, &third).expect_err("damaged");
    assert!(matches!(&refused, NoBackup::Damaged(faults) if faults[0].contains("outcome 1 ")), "{refused:?}");
    let left = std::fs::read_dir(dir.path()).expect("there").count();
    assert_eq!(left, 3, "nothing is left of it but store, backup and what was put back");
}

/// Customers come, change, are erased and come back, in one transaction or in several; touchpoints, outcomes and ids go by
/// retention: what is there is what the sums say.
#[test]
fn nothing_is_missed_that_is_not_missing() {
    let (dir, clock, mut dice) = (dir(), Clock::at(at(0)), Dice(11));
    let keep = Span::from_secs(20_000);
    let settings = Settings { keep_touchpoints: keep, keep_outcomes: keep, ..settings(&dir) };
    let (mut sent, mut seconds) = (0, 0);
    for round in 0..24 {
        seconds += 3_600 * (1 + dice.roll(2)) as i64;
        clock.set(at(seconds));
        let store = open(&settings, &clock.now());
        for _ in 0..3 {
            let more = 20 + dice.roll(40) as i64;
            store.append(deeds(sent..sent + more), Entering::Live).expect("appended");
            sent += more;
            let gone = Identity::customer(format!("customer-{}", dice.roll(40)));
            store.erase(&gone).expect("asked for");
        }
        let running = Running::on(Arc::clone(&store), &[shop()], &clock.now(), 1 + dice.roll(2), Span::ZERO);
        running.settle(at(seconds));
        drop((running.ended().expect("no reason to stop"), store));
        let found = Snapshot::open(&settings).expect("a store").verify().expect("readable");
        assert_eq!(found.faults, Vec::<String>::new(), "round {round}");
    }
    let kept = |book: &super::super::books::ShardBook| book.kept_from;
    let store = open(&settings, &clock.now());
    assert!(store.board.books(|books| books.outcomes_from > 1 && books.shards.iter().map(kept).sum::<i64>() > 100));
    assert!(store.board.books(|books| books.seen != 0), "ids are folded");
}

/// Rows that are changed, moved, taken away or doubled by a hand that knows SQL.
#[test]
fn a_hand_that_changes_a_row_is_noticed() {
    let places = Places::make();
    for sql in [
        "UPDATE outcomes SET topic = 'abandonments' WHERE position = 3",
        "DELETE FROM outcomes WHERE position = 3",
        "DELETE FROM outcomes WHERE position = 1",
        "DELETE FROM outcomes WHERE position = (SELECT max(position) FROM outcomes)",
        "UPDATE batches SET stamped = stamped + 1 WHERE id = (SELECT max(id) FROM batches)",
        "DELETE FROM batches WHERE id = (SELECT min(id) FROM batches)",
        "DELETE FROM batches WHERE id = (SELECT max(id) FROM batches)",
        "DELETE FROM customers WHERE id = (SELECT min(id) FROM customers)",
        "UPDATE customers SET state = (SELECT state FROM customers AS other WHERE other.id != customers.id LIMIT 1)",
        "INSERT INTO customers (shard, identity, state) SELECT 1 - shard, identity, state FROM customers LIMIT 1",
        "DELETE FROM words WHERE number = 1",
        "UPDATE words SET text = text || 'x' WHERE number = 1",
        "DELETE FROM fresh",
        "DELETE FROM seen WHERE hash = (SELECT min(hash) FROM seen)",
        "UPDATE shards SET position = position - 1 WHERE shard = 0",
        "UPDATE meta SET value = value - 1 WHERE name = 'published'",
        "UPDATE meta SET value = '[]' WHERE name = 'models'",
        "UPDATE meta SET value = 7 WHERE name = 'seed'",
    ] {
        let dir = dir();
        let settings = Settings { partitions: 2, ..settings(&dir) };
        copy(&places.of("ended"), &settings.dir);
        let raw = rusqlite::Connection::open(settings.dir.join("sillage.db")).expect("opened");
        assert!(raw.execute(sql, []).expect("done") > 0, "{sql}");
        drop(raw);
        let verified = Snapshot::look(&settings).and_then(|snapshot| snapshot.verify());
        assert!(verified.as_ref().map_or(true, |found| !found.faults.is_empty()), "{sql}: {verified:?}");
    }
}

/// What delivery keeps beside the store, likewise: nothing is delivered that was not written, and nothing is left out without a word.
#[test]
fn deliveries_that_were_hurt_are_noticed() {
    let dir = dir();
    let settings = settings(&dir);
    let (clock, stop) = (Clock::at(at(0)), Arc::new(AtomicBool::new(false)));
    let file = |name: &str| settings.dir.join(name);
    let deliveries = || Deliveries::open(open(&settings, &clock.now()), Arc::clone(&stop));
    let verified = || Snapshot::look(&settings).and_then(|snapshot| snapshot.verify()).map(|found| found.faults);
    drop(open(&settings, &clock.now()));
    assert_eq!(verified(), Ok(Vec::new()), "a store that has never delivered is whole");
    let keep = |number: u32, value: Option<&str>| Write::Keep {
        shard: 0,
        key: format!("offer-{number}"),
        value: value.map(|value| format!("{value} {number}").into_bytes()),
    };
    let letter = || Write::DeadLetter {
        from: (0, 1),
        key: "c".to_owned(),
        value: b"nobody there".to_vec(),
        reason: "410".to_owned(),
        destination: "crm".to_owned(),
    };
    {
        let mut deliveries = deliveries().expect("made");
        let writes: Vec<Write> = (0..20).map(|number| keep(number, Some("hello dear"))).collect();
        deliveries.write(writes, at(0)).expect("written");
        deliveries.write(vec![keep(3, None), keep(4, Some("goodbye")), letter()], at(1)).expect("written");
        deliveries.commit(&[(0, 1)].into()).expect("written");
    }
    let whole = std::fs::read(file("deliveries.db")).expect("closed, all of it is in the one file");
    assert!(!file("deliveries.db-wal").exists());
    let events = deliveries().and_then(|mut whole| whole.poll(Duration::ZERO)).expect("whole");
    let Some(Event::Assigned { kept, .. }) = events.first() else { panic!("what is kept comes first") };
    assert_eq!((kept.len(), verified()), (19, Ok(Vec::new())));
    let raw = |sql: &str| {
        let raw = rusqlite::Connection::open(file("deliveries.db")).expect("opened");
        raw.execute_batch(sql).expect("done");
    };
    let hurt: [(&str, &dyn Fn()); 8] = [
        ("a word of an offer", &|| raw("UPDATE kept SET value = CAST('hello deaR 7' AS BLOB) WHERE key = 'offer-7'")),
        ("whose it is", &|| raw("UPDATE kept SET key = 'offer-3' WHERE key = 'offer-7'")),
        ("a row that is gone", &|| raw("DELETE FROM kept WHERE key = 'offer-7'")),
        ("where to go on", &|| raw("UPDATE position SET next = 40")),
        ("the position is gone", &|| raw("DELETE FROM position")),
        ("emptied", &|| std::fs::write(file("deliveries.db"), b"").expect("written")),
        ("gone", &|| std::fs::remove_file(file("deliveries.db")).expect("removed")),
        ("cut in half", &|| std::fs::write(file("deliveries.db"), &whole[..whole.len() / 2]).expect("written")),
    ];
    for (what, hurt) in hurt {
        hurt();
        let found = verified().expect("the store itself is whole");
        assert!(found.len() == 1 && found[0].contains("deliveries.db"), "{what}: {found:?}");
        let refused = deliveries().err().unwrap_or_else(|| panic!("{what}: delivery goes on"));
        assert!(refused.contains("delete deliveries.db and deliveries.made"), "{what}: {refused}");
        std::fs::write(file("deliveries.db"), &whole).expect("put back");
        drop(deliveries().unwrap_or_else(|refused| panic!("{what}: {refused}")));
    }
    raw("UPDATE dead_letters SET reason = '200'");
    assert!(verified().is_ok_and(|found| found.len() == 1 && found[0].contains("dead letter 1")));
    // What the message says helps.
    for name in ["deliveries.db", "deliveries.made"] {
        std::fs::remove_file(file(name)).expect("removed");
    }
    drop(deliveries().expect("made anew"));
    assert_eq!(verified(), Ok(Vec::new()));
}

/// What is acknowledged is where the next start finds it.
#[test]
fn a_store_that_is_taken_away_while_it_is_open_acknowledges_nothing_more() {
    let away: [&dyn Fn(&Path); 4] = [
        &|store| std::fs::remove_dir_all(store).expect("removed"),
        &|store| std::fs::rename(store, store.with_extension("old")).expect("moved"),
        &|store| {
            std::fs::rename(store, store.with_extension("old")).expect("moved");
            std::fs::create_dir(store).expect("made");
        },
        &|store| std::fs::remove_file(store.join("sillage.db")).expect("removed"),
    ];
    for take_away in away {
        let dir = dir();
        let settings = settings(&dir);
        let clock = Clock::at(at(0));
        let store = open(&settings, &clock.now());
        store.append(deeds(0..5), Entering::Live).expect("appended");
        assert_eq!(store.trouble(at(0), Duration::MAX), None);
        take_away(&settings.dir);
        let trouble = store.trouble(at(0), Duration::MAX).expect("noticed without a post");
        assert!(trouble.contains("moved, removed or replaced"), "{trouble}");
        let refused = store.append(deeds(5..10), Entering::Live).expect_err("nobody would find it");
        assert!(format!("{refused:?}").contains("moved, removed or replaced"), "{refused:?}");
    }
}

#[test]
fn a_counter_that_cannot_be_read_hides_nothing_else_from_verify() {
    let places = Places::make();
    std::fs::write(places.settings.dir.join("commits"), b"").expect("written");
    let raw = rusqlite::Connection::open(places.settings.dir.join("sillage.db")).expect("opened");
    let faults = || Snapshot::look(&places.settings).expect("readable").verify().expect("readable").faults;
    assert_eq!(faults().len(), 1);
    raw.execute("UPDATE outcomes SET value = CAST('{}' AS BLOB) WHERE position = 3", []).expect("done");
    let faults = faults();
    assert!(faults.len() == 2 && faults[0].contains("commits is damaged or empty"), "{faults:?}");
}
