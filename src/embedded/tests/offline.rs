//! A store that nobody serves: filled as a whole or not at all, set back and forward.

use super::super::{Entering, Fate, Offline, Snapshot, Step};
use super::{Clock, at, entry, open, settings, shop};
use crate::journey::{Arm, ArmOf, Customer, Measured, Sums};
use crate::time::Timestamp;
use crate::touchpoint::Identity;

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

fn customer(number: usize) -> Customer {
    Customer::new(Identity::customer(format!("c{number}")))
}

/// One customer who was measured.
fn sums() -> Sums {
    let mut sums = Sums::default();
    let of = ArmOf { intervention: "shop/help".into(), version: 1, arm: Arm::HeldOut, variant: None };
    sums.measure(of, Measured { converted: true, value: None, before: 3, due: at(7) });
    sums
}

#[test]
fn what_is_brought_in_is_there_as_a_whole_or_not_at_all() {
    let dir = dir();
    let mut store = Offline::open(&settings(&dir), &[shop()]).expect("opened");
    let refused = store.fill(|filling| {
        (0..50).for_each(|number| assert!(filling.put(&customer(number)) < 4));
        Err::<(), _>("the file ends here".to_owned())
    });
    assert_eq!(refused, Err("the file ends here".to_owned()));
    assert_eq!(store.occupied(), Ok(None));
    store
        .fill(|filling| {
            filling.stream_times(|shard| (shard < 2).then(|| at(i64::from(shard))));
            (0..50).for_each(|number| assert!(filling.put(&customer(number)) < 4));
            filling.put_sums(&sums());
            filling.put_sums(&sums());
            Ok(())
        })
        .expect("filled");
    assert!(store.occupied().expect("readable").is_some_and(|reason| reason.contains("holds journeys already")));
    drop(store);
    let snapshot = Snapshot::open(&settings(&dir)).expect("a store");
    let shards = snapshot.shards();
    let times: Vec<_> = shards.iter().map(|shard| shard.progress.stream_time).collect();
    assert_eq!(times, [Some(at(0)), Some(at(1)), None, None]);
    assert!(shards.iter().all(|shard| shard.progress.sequence == 1 && shard.waiting == 0));
    let mut twice = sums();
    twice.append(&sums());
    assert_eq!(snapshot.sums(), Ok((vec![0, 1, 2, 3], twice)));
    let (mut found, mut rows) = (0, 0);
    let counted = snapshot.each(|_, customer| {
        found += usize::from(!customer.identity.id.is_empty());
        rows += usize::from(customer.identity.id.is_empty());
        Ok(())
    });
    assert_eq!(rows, 1);
    counted.expect("readable");
    let (shard, one) = snapshot.customer(&Identity::customer("c7")).expect("readable").expect("there");
    assert_eq!((found, one), (50, customer(7)));
    assert!(snapshot.verify().expect("readable").faults.is_empty());
    // Nothing is stamped before what has been decided, and the numbers of commits go on.
    let clock = Clock::at(at(-100));
    let store = super::super::Store::open(&settings(&dir), &[shop()], &clock.now()).expect("opened");
    store.append(vec![entry("c7", "1", at(-100), "looking.entered")], Entering::Live).expect("appended");
    drop(store);
    let waiting = &Snapshot::open(&settings(&dir)).expect("a store").shards()[shard as usize];
    assert_eq!(waiting.waiting, 1);
}

#[test]
fn positions_go_where_they_are_told_and_the_state_with_them() {
    let (dir, clock) = (dir(), Clock::at(at(0)));
    let store = open(&settings(&dir), &clock.now());
    for second in 0..40 {
        clock.set(at(second));
        let touchpoint = entry(&format!("c{second}"), "1", at(second), "looking.entered");
        store.append(vec![touchpoint], Entering::Live).expect("appended");
    }
    drop(store);
    let waiting = || -> u64 {
        let shards = Snapshot::open(&settings(&dir)).expect("a store").shards();
        shards.iter().map(|shard| shard.waiting).sum()
    };
    let reset = |since: Timestamp, fate: Fate| -> Vec<Step> {
        let mut store = Offline::open(&settings(&dir), &[shop()]).expect("opened");
        let plan = store.plan(since).expect("a plan");
        store.reset(&plan, fate).expect("done");
        plan
    };
    assert_eq!(waiting(), 40);
    for (since, fate, left) in [
        (Timestamp::MAX, Fate::Keep, 0),
        (at(30), Fate::Drop, 10),
        (Timestamp::MIN, Fate::Keep, 40),
        (at(39) + crate::time::Span::from_millis(1), Fate::Drop, 0),
    ] {
        reset(since, fate);
        assert_eq!(waiting(), left, "since {since}");
    }
    let snapshot = Snapshot::open(&settings(&dir)).expect("a store");
    assert!(snapshot.shards().iter().all(|shard| shard.progress.sequence == 4 && shard.progress.stream_time.is_none()));
    assert!(snapshot.verify().expect("readable").faults.is_empty());
}

/// Whoever is asked whether to do it may say no.
#[test]
fn a_store_stays_under_its_models_until_something_is_done_to_it() {
    let (dir, clock) = (dir(), Clock::at(at(0)));
    drop(open(&settings(&dir), &clock.now()));
    let mut store = Offline::open(&settings(&dir), &[shop()]).expect("opened");
    store.fill(|filling| Ok(filling.put(&customer(1)))).expect("filled");
    drop(store);
    // It lacks the stages that journeys may stand in, under the same version: nobody may go on under it.
    let other = super::model("shop", 1, &["elsewhere"]);
    let store = Offline::open(&settings(&dir), std::slice::from_ref(&other)).expect("opened, and nothing done");
    store.plan(Timestamp::MAX).expect("a plan");
    drop(store);
    drop(open(&settings(&dir), &clock.now()));
    let mut store = Offline::open(&settings(&dir), std::slice::from_ref(&other)).expect("opened");
    let plan = store.plan(Timestamp::MAX).expect("a plan");
    let refused = store.reset(&plan, Fate::Keep).expect_err("journeys may not go on");
    assert!(refused.contains("the store in"), "{refused}");
    store.reset(&plan, Fate::Drop).expect("whoever is dropped need not go on");
    drop(store);
    let snapshot = Snapshot::open(&settings(&dir)).expect("a store");
    assert!(snapshot.customer(&Identity::customer("c1")).expect("readable").is_none());
    drop(snapshot);
    super::super::Store::open(&settings(&dir), &[other], &clock.now()).expect("the store is about the other model now");
}
