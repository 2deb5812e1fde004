//! What a touchpoint costs in the pure rooms: reading it, applying it, writing what comes of it. One run pairs them all.
//!
//! `cargo bench --bench core`; figures are nanoseconds per element, and only ratios hold between machines.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sillage::generate::{Load, Opening, Settings as LoadSettings};
use sillage::journey::Outcome;
use sillage::model::{self, Model};
use sillage::shard::{Action, Body, Buffered, Customers, Input, Position, Progress, Settings, Shard, Undo};
use sillage::time::{Span, Timestamp};
use sillage::touchpoint::Touchpoint;
use sillage::wire::{self, Arrival, Format, Limits};

const TOUCHPOINTS: usize = 100_000;
const CUSTOMERS: u32 = 5_000;

fn load() -> Vec<Touchpoint> {
    let start = Timestamp::from_millis(1_767_600_000_000);
    let opening = Opening::AllNew { within: Span::from_days(1) };
    Load::new(&LoadSettings { seed: 1, customers: CUSTOMERS, start, opening }).take(TOUCHPOINTS).collect()
}

/// The ready-made model, and the same stages without conditions, segments and friction.
const FULL: &str = include_str!("../models/five-stages.yaml");
const PLAIN: &str = include_str!("../tests/models/plain-five-stages.yaml");

fn models(text: &str) -> Arc<[Arc<Model>]> {
    let (model, _) = model::load("five-stages.yaml", text);
    Arc::new([Arc::new(model.expect("the shipped model is good"))])
}

fn shard(models: &Arc<[Arc<Model>]>, undo: Undo) -> Shard {
    let beginning = Position { offset: 0, log_time: Timestamp::MIN };
    let progress = Progress { positions: vec![beginning], ..Progress::default() };
    let settings = Settings { undo, decisions_per_transaction: usize::MAX, ..Settings::default() };
    Shard::new(Arc::clone(models), settings, Customers::default(), progress)
}

/// Applies everything, with a commit each `commit` touchpoints; returns the outcomes.
fn apply(mut shard: Shard, touchpoints: Vec<Touchpoint>, commit: usize) -> Vec<Outcome> {
    let mut actions = Vec::new();
    let mut outcomes = Vec::new();
    for (offset, touchpoint) in (0..).zip(touchpoints) {
        let log_time = shard.log_time(0, touchpoint.event_time, Timestamp::MAX);
        let record = Buffered { offset, log_time, body: Body::Touchpoint(Box::new(touchpoint)) };
        shard.handle(Input::Record { input: 0, record }, &mut actions);
        if (offset as usize + 1).is_multiple_of(commit) {
            shard.handle(Input::Prepare, &mut actions);
            shard.handle(Input::Committed, &mut actions);
        }
        outcomes.extend(actions.drain(..).filter_map(Action::outcome).map(|outcome| *outcome));
    }
    outcomes
}

fn core(c: &mut Criterion) {
    let (full, plain, touchpoints) = (models(FULL), models(PLAIN), load());
    let outcomes = apply(shard(&full, Undo::Never), touchpoints.clone(), usize::MAX);
    let mut group = c.benchmark_group("touchpoint");
    group.sample_size(10).throughput(Throughput::Elements(TOUCHPOINTS as u64));
    for (name, format) in [("decode json", Format::Json), ("decode avro", Format::Avro)] {
        let encoded: Vec<Vec<u8>> = touchpoints
            .iter()
            .map(|touchpoint| {
                let mut bytes = Vec::new();
                wire::encode_touchpoint(format, touchpoint, &mut bytes);
                bytes
            })
            .collect();
        let arrival = Arrival { log_time: Timestamp::MAX, topic: "t", partition: 0, offset: 0, limits: Limits::default() };
        group.bench_function(name, |b| {
            b.iter(|| encoded.iter().filter(|bytes| black_box(wire::decode(format, None, bytes, &arrival)).is_ok()).count());
        });
    }
    for (name, models, undo, commit) in [
        ("apply, nothing undone", &full, Undo::Never, usize::MAX),
        ("apply, commit each 5,000", &full, Undo::Kept, 5_000),
        ("apply to the plain model, nothing undone", &plain, Undo::Never, usize::MAX),
    ] {
        group.bench_function(name, |b| {
            let fresh = || (shard(models, undo), touchpoints.clone());
            b.iter_batched(fresh, |(shard, all)| apply(shard, all, commit), BatchSize::PerIteration);
        });
    }
    group.finish();
    let mut group = c.benchmark_group("outcome");
    group.sample_size(10).throughput(Throughput::Elements(outcomes.len() as u64));
    for (name, format) in [("encode json", Format::Json), ("encode avro", Format::Avro)] {
        group.bench_function(name, |b| {
            let mut bytes = Vec::new();
            b.iter(|| {
                for outcome in &outcomes {
                    bytes.clear();
                    wire::encode_outcome(format, outcome, &mut bytes);
                    black_box(&bytes);
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, core);
criterion_main!(benches);
