//! The steps whose instructions are counted: each prepares what it needs, and does its work within [`counted`].
//!
//! Loads are seeded and time is handed in, so that a step does the same work each time. A step warms up before it counts:
//! buffers have grown and caches are filled, as in a service that has run for a while.

use std::hint::black_box;
use std::sync::Arc;

use sillage::generate::{Load, Opening, Settings as LoadSettings};
use sillage::journey::packed::Words;
use sillage::journey::{Customer, Outcome};
use sillage::model::{self, Model};
use sillage::shard::{Action, Body, Buffered, Customers, Input, Position, Progress, Settings, Shard, Slot, StateLog};
use sillage::time::{Span, Timestamp};
use sillage::touchpoint::Touchpoint;
use sillage::wire::pages::{Draft, Head};
use sillage::wire::{self, Arrival, Format, Limits, Wanted};

use crate::profile::profile;
use crate::story;

/// A step, by the name under which its count is committed.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    /// What the count is divided by.
    pub(crate) unit: &'static str,
    /// Does the work; returns how many units it was.
    pub(crate) run: fn() -> usize,
}

pub(crate) const STEPS: &[Step] = &[
    Step { name: "decode json", unit: "touchpoint", run: || decode(Format::Json) },
    Step { name: "decode avro", unit: "touchpoint", run: || decode(Format::Avro) },
    Step { name: "open, profile", unit: "customer", run: || open(&profiles()) },
    Step { name: "open, full history", unit: "customer", run: || open(&typical()) },
    Step { name: "pack, profile", unit: "customer", run: || pack(&profiles()) },
    Step { name: "pack, full history", unit: "customer", run: || pack(&typical()) },
    Step { name: "apply, plain model", unit: "touchpoint", run: || apply(PLAIN) },
    Step { name: "apply, five stages", unit: "touchpoint", run: || apply(FULL) },
    Step { name: "fire", unit: "deadline", run: fire },
    Step { name: "difference", unit: "customer", run: difference },
    Step { name: "commit", unit: "customer", run: commit },
    Step { name: "encode json", unit: "outcome", run: || encode(Format::Json) },
    Step { name: "encode avro", unit: "outcome", run: || encode(Format::Avro) },
];

/// Callgrind counts what happens in here and nothing else. It knows the function by its name, so that it must not be inlined;
/// nor may the call within be its last act, since a function that is jumped out of is never left.
#[inline(never)]
pub(crate) fn counted(work: &mut dyn FnMut()) {
    work();
    black_box(());
}

/// The ready-made model, and the same stages without conditions, segments and friction.
const FULL: &str = include_str!("../../models/five-stages.yaml");
const PLAIN: &str = include_str!("../../tests/models/plain-five-stages.yaml");

const CUSTOMERS: u32 = 1_000;
/// Touchpoints applied before anything is counted: about ten of each customer.
const BEFORE: usize = 10_000;
const TRANSACTION: usize = 1_000;
const TRANSACTIONS: usize = 4;
/// A single customer is opened and packed so often.
const ROUNDS: usize = 100;

fn model(text: &str) -> Arc<Model> {
    let (model, faults) = model::load("five-stages.yaml", text);
    Arc::new(model.unwrap_or_else(|| panic!("{faults:?}")))
}

/// Touchpoints in the order of their instants, whose ids are UUIDs, as those of most shops are.
fn load() -> impl Iterator<Item = Touchpoint> {
    let start = Timestamp::from_millis(1_767_600_000_000);
    let opening = Opening::AllNew { within: Span::from_days(1) };
    Load::new(&LoadSettings { seed: 1, customers: CUSTOMERS, start, opening }).map(|mut touchpoint| {
        for id in [&mut touchpoint.id, &mut touchpoint.identity.id].into_iter().chain(&mut touchpoint.linked) {
            let hash = xxhash_rust::xxh3::xxh3_128(id.as_bytes());
            *id = uuid::Uuid::from_u128(hash).hyphenated().to_string().into();
        }
        touchpoint
    })
}

fn decode(format: Format) -> usize {
    let encode = |touchpoint: &Touchpoint| {
        let mut bytes = Vec::new();
        wire::encode_touchpoint(format, touchpoint, &mut bytes);
        bytes
    };
    let records: Vec<Vec<u8>> = load().skip(BEFORE).take(TRANSACTION).map(|touchpoint| encode(&touchpoint)).collect();
    let wanted = Wanted::of([&*model(FULL)]);
    let arrival =
        Arrival { log_time: Timestamp::MAX, topic: "touchpoints", partition: 3, offset: 17, limits: Limits::default() };
    let mut touchpoint = Touchpoint::default();
    let mut all = || {
        for bytes in &records {
            wire::decode_into(format, None, &wanted, black_box(bytes), &arrival, &mut touchpoint).expect("a touchpoint");
            black_box(&touchpoint);
        }
    };
    all();
    counted(&mut all);
    records.len()
}

fn profiles() -> Vec<Customer> {
    let model = story::model();
    (1..=ROUNDS as u64).map(|number| story::customer(&model, &profile(number)).0).collect()
}

fn typical() -> Vec<Customer> {
    let (typical, _) = story::customer(&story::model(), &story::touchpoints());
    vec![typical; ROUNDS]
}

fn open(customers: &[Customer]) -> usize {
    let mut words = Words::default();
    let pack = |customer: &Customer| {
        let mut bytes = Vec::new();
        customer.pack(&mut words, &mut bytes);
        bytes
    };
    let images: Vec<Vec<u8>> = customers.iter().map(pack).collect();
    let mut hand = Customer::default();
    let mut all = || {
        for image in &images {
            hand.open(black_box(image), &words).expect("a packed customer");
            black_box(&hand);
        }
    };
    all();
    counted(&mut all);
    images.len()
}

fn pack(customers: &[Customer]) -> usize {
    let (mut words, mut bytes) = (Words::default(), Vec::new());
    let mut all = || {
        for customer in customers {
            bytes.clear();
            black_box(customer).pack(&mut words, &mut bytes);
            black_box(&bytes);
        }
    };
    all();
    counted(&mut all);
    customers.len()
}

/// The customer is found, opened, worked on, packed and put back; deadlines that are due before the touchpoint do not count.
fn apply(text: &str) -> usize {
    let mut shop = Shop::open(text);
    for _ in 0..TRANSACTIONS {
        for _ in 0..TRANSACTION {
            let mut record = Some(shop.next());
            counted(&mut || shop.handle(record.take().map(|record| Input::Record { input: 0, record })));
        }
        shop.prepare();
        shop.handle(Some(Input::Committed));
    }
    TRANSACTIONS * TRANSACTION
}

/// Each of many profile customers leaves an open basket, one a second.
fn fire() -> usize {
    let mut shop = Shop::new(FULL);
    for number in 1..=TRANSACTION as u64 {
        for touchpoint in profile(number) {
            let event_time = touchpoint.event_time + Span::from_secs(number as i64);
            let record = shop.record(Touchpoint { event_time, ..touchpoint });
            shop.handle(Some(Input::Record { input: 0, record }));
        }
    }
    shop.prepare();
    shop.handle(Some(Input::Committed));
    let mut last = Timestamp::MIN;
    shop.shard.customers().each(|customer| last = last.max(customer.next_deadline()));
    let mut told = Some(shop.silence_until(last));
    counted(&mut || shop.handle(told.take()));
    let fired = shop.outcomes().count();
    assert_eq!(fired, TRANSACTION, "each customer abandons a basket, and nothing else is decided");
    fired
}

/// How each customer that a transaction changed follows from what the state log holds, as a page of it.
fn difference() -> usize {
    let (mut shop, mut customers) = (Shop::open(FULL), 0);
    for _ in 0..TRANSACTIONS {
        shop.transaction();
        let changed = shop.prepare();
        // Of somebody who is new, all is written.
        let changed =
            changed.iter().filter_map(|slot| shop.shard.written(*slot)).filter_map(|it| Some((it.before?, it.now)));
        let changed: Vec<(&[u8], &[u8])> = changed.collect();
        let (mut draft, head) = (Draft::default(), head());
        counted(&mut || {
            for (before, now) in &changed {
                draft.add_change(before, now).expect("packed customers");
            }
            black_box(draft.finish(&head).expect("a page"));
        });
        customers += changed.len();
        shop.handle(Some(Input::Committed));
    }
    customers
}

fn head() -> Head {
    let (inputs, models) = (Vec::new(), Vec::new());
    Head { part: 0, partitions: 1, inputs, models, progress: None, attempt: String::new(), retain_from: 0 }
}

/// What the shard does for a commit; what is written of it is another step.
fn commit() -> usize {
    let (mut shop, mut customers) = (Shop::open(FULL), 0);
    for _ in 0..TRANSACTIONS {
        shop.transaction();
        shop.actions.clear();
        counted(&mut || shop.handle(Some(Input::Prepare)));
        customers += shop.changed().len();
        counted(&mut || shop.handle(Some(Input::Committed)));
    }
    customers
}

fn encode(format: Format) -> usize {
    let mut shop = Shop::open(FULL);
    for _ in 0..TRANSACTION {
        let record = shop.next();
        shop.handle(Some(Input::Record { input: 0, record }));
    }
    let outcomes: Vec<&Outcome> = shop.outcomes().collect();
    assert!(outcomes.len() > TRANSACTION / 10, "only {} outcomes", outcomes.len());
    let mut bytes = Vec::new();
    let mut all = || {
        for outcome in &outcomes {
            bytes.clear();
            wire::encode_outcome(format, black_box(outcome), &mut bytes);
            black_box(&bytes);
        }
    };
    all();
    counted(&mut all);
    outcomes.len()
}

/// A shard as the worker drives it, and the load that it gets.
struct Shop {
    shard: Shard,
    load: Box<dyn Iterator<Item = Touchpoint>>,
    actions: Vec<Action>,
    offset: i64,
    settle: Span,
}

impl Shop {
    fn new(text: &str) -> Self {
        let progress = Progress { positions: vec![Position { offset: 0, log_time: Timestamp::MIN }], ..Progress::default() };
        let settings = Settings { state_log: StateLog::Changes, ..Settings::default() };
        let settle = settings.settle;
        let shard = Shard::new(Arc::new([model(text)]), settings, Customers::default(), progress);
        Shop { shard, load: Box::new(load()), actions: Vec::new(), offset: 0, settle }
    }

    /// One in which customers have done something already.
    fn open(text: &str) -> Self {
        let mut shop = Shop::new(text);
        for _ in 0..BEFORE / TRANSACTION {
            shop.transaction();
            shop.prepare();
            shop.handle(Some(Input::Committed));
        }
        shop
    }

    /// The next touchpoint of the load, after everything that is due before it.
    fn next(&mut self) -> Buffered {
        let touchpoint = self.load.next().expect("the load is endless");
        let silence = self.silence_until(touchpoint.event_time);
        self.handle(Some(silence));
        self.record(touchpoint)
    }

    fn record(&mut self, touchpoint: Touchpoint) -> Buffered {
        let log_time = self.shard.log_time(0, touchpoint.event_time, Timestamp::MAX);
        self.offset += 1;
        Buffered { offset: self.offset - 1, log_time, body: Body::Touchpoint(Box::new(touchpoint)) }
    }

    fn silence_until(&self, instant: Timestamp) -> Input {
        Input::CaughtUp { input: 0, position: self.offset, at: instant + self.settle }
    }

    /// Takes an `Option`, since what is counted is a closure that could be called again.
    fn handle(&mut self, input: Option<Input>) {
        if let Some(input) = input {
            self.shard.handle(input, &mut self.actions);
        }
    }

    fn transaction(&mut self) {
        for _ in 0..TRANSACTION {
            let record = self.next();
            self.handle(Some(Input::Record { input: 0, record }));
        }
    }

    /// Begins the commit; returns who changed.
    fn prepare(&mut self) -> Vec<Slot> {
        self.actions.clear();
        self.handle(Some(Input::Prepare));
        let changed = self.changed();
        self.actions.clear();
        changed
    }

    fn changed(&self) -> Vec<Slot> {
        let slot = |action: &Action| if let Action::Remember(slot) = action { Some(*slot) } else { None };
        self.actions.iter().filter_map(slot).collect()
    }

    fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.actions
            .iter()
            .filter_map(|action| if let Action::Publish { outcome, .. } = action { Some(&**outcome) } else { None })
    }
}
