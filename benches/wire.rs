//! What reading a touchpoint and writing an outcome cost, each by itself.
//!
//! `cargo bench --bench wire`; figures are nanoseconds per element, and only ratios hold between machines.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sillage::journey::{About, Movement, Outcome, Passed, Subject, What};
use sillage::time::{Span, Timestamp};
use sillage::touchpoint::{Currency, Identity, Money, Touchpoint};
use sillage::wire::{self, Arrival, Format, Limits, Mapping, Wanted};
use uuid::Uuid;

/// What a shop sends, 230 to 250 bytes each: ids as UUIDs, and properties that the model reads beside some that it does not.
const RECORDS: [&str; 5] = [
    r#"{"event_id":"5f0c7a52-91d3-4e0b-8c55-7d1f0a3c9b64","customer_id":"c-00123456","occurred_at":"2026-01-05T12:34:56.789Z","type":"cart.added","channel":"web","session_id":"s-3f2a1","properties":{"cart_id":"B88123","value":129.90,"currency":"EUR","sku":"P4711","quantity":1}}"#,
    r#"{"event_id":"aa20e7b8-0f0e-4f6e-b6f5-2e5cf9b5d7f1","customer_id":"c-00004711","occurred_at":"2026-01-05T12:34:57.001Z","type":"product.viewed","channel":"app","session_id":"s-3f2a2","properties":{"product_id":"P1234","price":19.90,"currency":"EUR","list":"recommended"}}"#,
    r#"{"event_id":"c7d8e9f0-1a2b-4c3d-9e4f-5a6b7c8d9e0f","customer_id":"c-00990011","occurred_at":"2026-01-05T12:34:57.250Z","type":"page.viewed","channel":"web","session_id":"s-3f2a3","properties":{"campaign":"winter-2026","url":"https://shop.example/web/4711"}}"#,
    r#"{"event_id":"0e1d2c3b-4a59-4687-8796-a5b4c3d2e1f0","customer_id":"c-00500500","occurred_at":"2026-01-05T12:34:57.500Z","type":"checkout.step","channel":"web","session_id":"s-3f2a4","properties":{"checkout_id":"C88123","step":2,"name":"address and delivery","valid":true}}"#,
    r#"{"event_id":"91a2b3c4-d5e6-4f70-8192-a3b4c5d6e7f8","customer_id":"c-00777777","occurred_at":"2026-01-05T12:34:58.000Z","type":"order.completed","channel":"web","session_id":"s-3f2a5","properties":{"cart_id":"B88123","checkout_id":"C88123","order_id":"O88123","total":129.90,"currency":"EUR"}}"#,
];

fn arrival() -> Arrival<'static> {
    Arrival { log_time: Timestamp::MAX, topic: "touchpoints", partition: 3, offset: 17, limits: Limits::default() }
}

fn wanted() -> Wanted {
    let text = include_str!("../tests/models/plain-five-stages.yaml");
    let (model, _) = sillage::model::load("five-stages.yaml", text);
    Wanted::of([&model.expect("the model is good")])
}

fn decode(c: &mut Criterion) {
    let wanted = wanted();
    let json: Vec<Vec<u8>> = RECORDS.iter().map(|record| record.as_bytes().to_vec()).collect();
    let fresh = |bytes: &[u8]| wire::decode(Format::Json, None, bytes, &arrival()).expect("usable").touchpoint;
    let avro: Vec<Vec<u8>> = json
        .iter()
        .map(|bytes| {
            let mut avro = Vec::new();
            wire::encode_touchpoint(Format::Avro, &fresh(bytes), &mut avro);
            avro
        })
        .collect();
    let named = [("customer_id", "customer_id"), ("properties.value", "properties.total")];
    let mapping = Mapping::new(&named.map(|(name, path)| (name.to_owned(), path.to_owned()))).expect("good");
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(RECORDS.len() as u64));
    for (name, format, mapping, records) in [
        ("json", Format::Json, None, &json),
        ("mapped json", Format::Json, Some(&mapping), &json),
        ("avro", Format::Avro, None, &avro),
    ] {
        group.bench_function(format!("{name}, all, fresh"), |b| {
            b.iter(|| {
                for bytes in records {
                    let _ = black_box(wire::decode(format, mapping, black_box(bytes), &arrival()));
                }
            });
        });
        for (which, wanted) in [("all", &Wanted::All), ("wanted", &wanted)] {
            group.bench_function(format!("{name}, {which}, reused"), |b| {
                let mut touchpoint = Touchpoint::default();
                b.iter(|| {
                    for bytes in records {
                        let _ = wire::decode_into(format, mapping, wanted, black_box(bytes), &arrival(), &mut touchpoint);
                        black_box(&touchpoint);
                    }
                });
            });
        }
    }
    group.finish();
}

fn outcome(what: What) -> Outcome {
    let at = Timestamp::from_millis(1_767_616_496_789);
    Outcome {
        id: Uuid::from_u128(0x5f0c_7a52_91d3_5e0b_8c55_7d1f_0a3c_9b64),
        model: "five-stages".into(),
        model_version: 1,
        identity: Identity::customer("c-00123456"),
        journey: 1,
        journey_started_at: at - Span::from_days(2),
        sequence: 7,
        at,
        cause: None,
        value: Currency::parse("EUR").map(|currency| Money { micros: 129_900_000, currency }),
        channel: None,
        session: None,
        segment: None,
        hindsight: false,
        again: false,
        what,
    }
}

fn transition() -> Outcome {
    let what = What::Transition {
        from: Some("consideration".into()),
        to: "decision".into(),
        movement: Movement::Advance,
        time_in_stage: Some(Span::from_secs(754)),
        decision: None,
    };
    Outcome { cause: Some("5f0c7a52-91d3-4e0b-8c55-7d1f0a3c9b64".into()), ..outcome(what) }
}

fn abandonment() -> Outcome {
    let opened_at = Timestamp::from_millis(1_767_614_000_000);
    let about = About {
        subject: Subject::Episode {
            kind: "basket".into(),
            number: 2,
            ids: vec![("cart_id".into(), "B88123".into()), ("checkout_id".into(), "C88123".into())],
        },
        opened_by: "5f0c7a52-91d3-4e0b-8c55-7d1f0a3c9b64".into(),
        opened_at,
        last_progress: "aa20e7b8-0f0e-4f6e-b6f5-2e5cf9b5d7f1".into(),
        last_progress_at: opened_at + Span::from_secs(697),
        progress_count: 4,
        abandonments: 0,
    };
    outcome(What::Abandonment { about, passed: Passed::Silence })
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    group.throughput(Throughput::Elements(1));
    for (kind, outcome) in [("transition", transition()), ("abandonment", abandonment())] {
        for (name, format) in [("json", Format::Json), ("avro", Format::Avro)] {
            group.bench_function(format!("{kind}, {name}"), |b| {
                let mut bytes = Vec::new();
                b.iter(|| {
                    bytes.clear();
                    wire::encode_outcome(format, black_box(&outcome), &mut bytes);
                    black_box(&bytes);
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);
