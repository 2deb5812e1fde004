//! A store of version 1, as the Sillage of that time wrote it, is read.

use std::time::Duration;

use super::super::{Entering, Fate, Offline, Settings, Snapshot};
use super::{Clock, entry, open, settings};
use crate::time::Timestamp;
use crate::touchpoint::Identity;

/// Three posts of twelve touchpoints by seven customers, all processed.
const WRITTEN: &str = include_str!("../../../tests/golden/store.v1.sql");

#[test]
fn a_store_of_version_1_goes_on() {
    let (dir, clock) = (tempfile::tempdir().expect("a directory"), Clock::at(Timestamp::from_millis(1_796_017_300_000)));
    let settings = Settings { partitions: 2, ..settings(&dir) };
    std::fs::create_dir(&settings.dir).expect("made");
    let raw = rusqlite::Connection::open(settings.dir.join("sillage.db")).expect("opened");
    raw.execute_batch(WRITTEN).expect("written");
    raw.pragma_update(None, "application_id", 0x5369_6c6c).expect("set");
    raw.pragma_update(None, "user_version", 1).expect("set");
    let before: Vec<(i64, Vec<u8>)> = {
        let mut statement = raw.prepare("SELECT position, value FROM outcomes ORDER BY position").expect("read");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("read");
        rows.collect::<Result<_, _>>().expect("read")
    };
    drop(raw);
    // Looking at it is enough.
    let snapshot = Snapshot::open(&settings).expect("brought over");
    let found = snapshot.verify().expect("read");
    assert_eq!((found.faults, found.shards.iter().map(|(customers, _)| customers).sum::<u64>()), (vec![], 7));
    let (_, customer) = snapshot.customer(&Identity::customer("c3")).expect("read").expect("there");
    assert_eq!(customer.touchpoints, 6);
    drop(snapshot);

    let store = open(&settings, &clock.now());
    let read = store.stored_after(0, 1_000, usize::MAX, Duration::ZERO).expect("read");
    let read: Vec<(i64, Vec<u8>)> = read.into_iter().map(|row| (row.position.cast_signed(), row.value)).collect();
    assert_eq!((read.len(), read), (16, before));
    let repeat = entry("c3", "e0-3", clock.read(), "buying.entered");
    let appended = store.append(vec![repeat], Entering::Live).expect("appended");
    assert_eq!((appended.accepted, appended.duplicates), (0, 1), "what came is remembered");
    drop(store);
    // What is kept can be processed again.
    let mut offline = Offline::open(&settings, &[super::shop()]).expect("opened");
    let plan = offline.plan(Timestamp::MIN).expect("a plan");
    assert_eq!(plan.iter().map(|step| (step.from, step.to)).collect::<Vec<_>>(), [(12, 0), (24, 0)]);
    offline.reset(&plan, Fate::Drop).expect("done");
    drop(offline);
    assert_eq!(open(&settings, &clock.now()).pending(), 36);
}
