//! What a touchpoint costs where customers have ten open episodes and the model twenty friction rules: by the number of
//! customers, and by how many of the rules name the touchpoint's type. One run pairs them all.
//!
//! `cargo bench --bench rules`; figures are nanoseconds per touchpoint, and only ratios hold between machines.

use std::fmt::Write as _;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sillage::model::{self, Model};
use sillage::shard::{Body, Buffered, Customers, Input, Position, Progress, Settings, Shard, Undo};
use sillage::time::{Span, Timestamp};
use sillage::touchpoint::{Identity, Touchpoint, Value};

const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);
const EPISODES: u32 = 10;
const RULES: u32 = 20;
const BATCH: u64 = 10_000;

/// Twenty rules; `probe.N` is named by the first N of them.
fn model() -> Arc<Model> {
    let mut groups = "sillage: 1\nmodel: rules\ntouchpoints:\n".to_owned();
    let mut text = "stages: { visit: { enter: cart.added, quiet: 1d } }\nepisodes:\n  basket: { known by: \
                    cart_id, opens: cart.added, completes: order.completed, abandoned after: 1d }\nfriction:\n"
        .to_owned();
    for rule in 1..=RULES {
        let named: Vec<String> = [1, 5, 10, 20].iter().filter(|n| **n >= rule).map(|n| format!("probe.{n}")).collect();
        // The windows are shorter than what lies between two touchpoints, so that evidence is gathered for ever and no rule
        // rests in its cool-down; every other rule waits for a pattern whose end never comes.
        let named = named.join(", ");
        let sign = match rule % 2 {
            0 => format!("4 of: [{named}], within: 1s"),
            _ => {
                let _ = writeln!(groups, "  probes-{rule}: [{named}]");
                format!("pattern: [probes-{rule}, probes-{rule}, never.seen], within: 1s")
            }
        };
        let _ = writeln!(text, "  rule-{rule}: {{ in: basket, {sign} }}");
    }
    let (model, faults) = model::load("rules.yaml", &(groups + &text));
    Arc::new(model.unwrap_or_else(|| panic!("{faults:?}")))
}

struct Bench {
    shard: Shard,
    offset: i64,
    now: Timestamp,
    customers: u64,
    dice: u64,
}

impl Bench {
    fn new(model: &Arc<Model>, customers: u64) -> Self {
        let beginning = Position { offset: 0, log_time: Timestamp::MIN };
        let progress = Progress { positions: vec![beginning], ..Progress::default() };
        let settings = Settings { undo: Undo::Never, decisions_per_transaction: usize::MAX, ..Settings::default() };
        let models: Arc<[Arc<Model>]> = Arc::new([Arc::clone(model)]);
        let shard = Shard::new(models, settings, Customers::default(), progress);
        let mut bench = Bench { shard, offset: 0, now: START, customers, dice: 1 };
        for customer in 0..customers {
            for basket in 0..EPISODES {
                bench.give(customer, "cart.added", basket);
            }
        }
        bench
    }

    fn give(&mut self, customer: u64, kind: &str, basket: u32) {
        let touchpoint = Touchpoint {
            id: compact_str::format_compact!("t{}", self.offset),
            id_given: true,
            identity: Identity::customer(compact_str::format_compact!("c{customer}")),
            linked: None,
            event_time: self.now,
            kind: kind.into(),
            channel: None,
            session: None,
            properties: vec![("cart_id".into(), Value::Text(compact_str::format_compact!("{basket}")))],
        };
        let record = Buffered { offset: self.offset, log_time: self.now, body: Body::Touchpoint(Box::new(touchpoint)) };
        self.offset += 1;
        let mut actions = Vec::new();
        self.shard.handle(Input::Record { input: 0, record }, &mut actions);
    }

    /// Touchpoints of customers in no order, so that no cache holds them by chance.
    fn probe(&mut self, kind: &str) {
        self.now = self.now + Span::from_secs(2);
        for _ in 0..BATCH {
            self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let customer = (self.dice >> 33) % self.customers;
            self.give(customer, kind, (self.dice >> 20) as u32 % EPISODES);
        }
    }
}

fn rules(c: &mut Criterion) {
    let model = model();
    let mut group = c.benchmark_group("probe");
    group.sample_size(10).throughput(Throughput::Elements(BATCH));
    for customers in [1_000_u64, 10_000, 100_000] {
        let mut bench = Bench::new(&model, customers);
        for named in ["probe.none", "probe.1", "probe.5", "probe.10", "probe.20"] {
            group.bench_function(BenchmarkId::new(named, customers), |b| b.iter(|| bench.probe(named)));
        }
    }
    group.finish();
}

criterion_group!(benches, rules);
criterion_main!(benches);
