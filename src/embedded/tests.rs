//! The store and real workers on it, under clocks that the tests move.

mod before;
mod hurt;
mod offline;
mod store;
mod workers;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Entry, Settings, Store};
use crate::model::Model;
use crate::port::Now;
use crate::time::Timestamp;
use crate::touchpoint::Identity;

/// Where the tests' clocks begin: 2026-01-01T00:00:00Z.
const BEGIN: i64 = 1_767_225_600_000;
/// A condition that does not come true within this time never will.
const PATIENCE: Duration = Duration::from_secs(30);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(BEGIN + seconds * 1_000)
}

/// A clock that stands where it is put.
#[derive(Clone)]
struct Clock(Arc<AtomicI64>);

impl Clock {
    fn at(instant: Timestamp) -> Self {
        Clock(Arc::new(AtomicI64::new(instant.as_millis())))
    }

    fn set(&self, instant: Timestamp) {
        self.0.store(instant.as_millis(), Ordering::SeqCst);
    }

    fn read(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }

    fn now(&self) -> Now {
        let clock = self.clone();
        Arc::new(move || clock.read())
    }

    /// Goes on by a millisecond whenever somebody looks.
    fn restless(&self) -> Now {
        let clock = self.clone();
        Arc::new(move || Timestamp::from_millis(clock.0.fetch_add(1, Ordering::SeqCst)))
    }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

fn model(name: &str, version: u32, stages: &[&str]) -> Arc<Model> {
    let stages: String = stages.iter().map(|stage| format!("  {stage}: {{ enter: {stage}.entered }}\n")).collect();
    let text = format!(
        "sillage: 1\nmodel: {name}\nversion: {version}\nstages:\n{stages}episodes:\n  basket:\n    known by: [customer]\n    \
         opens: cart.added\n    completes: order.completed\n    worth: value\n    abandoned after: 30m\n    recovered within: 7d\n"
    );
    let (model, faults) = crate::model::load(name, &text);
    assert_eq!(faults, [], "{text}");
    Arc::new(model.expect("no diagnostic, so a model"))
}

fn shop() -> Arc<Model> {
    model("shop", 1, &["looking", "buying"])
}

fn settings(dir: &TempDir) -> Settings {
    Settings::new(dir.path().join("store"))
}

fn open(settings: &Settings, now: &Now) -> Arc<Store> {
    Store::open(settings, &[shop()], now).expect("opened")
}

fn entry(customer: &str, id: &str, happened: Timestamp, kind: &str) -> Entry {
    let value = format!(
        r#"{{"event_id":"{id}","customer_id":"{customer}","occurred_at":"{happened}","type":"{kind}","properties":{{"value":20,"currency":"EUR"}}}}"#
    );
    Entry {
        identity: Some(Identity::customer(customer)),
        id: Some(id.into()),
        event_time: happened,
        value: value.into_bytes(),
    }
}
