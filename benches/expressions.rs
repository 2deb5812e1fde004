//! What a condition costs: compiled, and as the crate `cel` interprets the same text on facts already in its maps.
//! `cargo bench --bench expressions`.

use std::collections::HashMap;
use std::hint::black_box;

use cel::{Context, Program, Value};
use criterion::{Criterion, criterion_group, criterion_main};
use sillage::diagnostic::{Faults, Source, Spanned};
use sillage::expression::{Environment, Expression, Facts, Slot, Type};
use sillage::time::{Span, Timestamp};

/// Names, texts of Sillage, texts of CEL where its numbers and units differ, types.
const CASES: &[(&str, &str, &str, Type)] = &[
    ("number", "touchpoint.nps >= 9", "touchpoint.nps >= 9.0", Type::Flag),
    (
        "number or text",
        "touchpoint.nps >= 9 || touchpoint.type != \"survey.answered\"",
        "touchpoint.nps >= 9.0 || touchpoint.type != \"survey.answered\"",
        Type::Flag,
    ),
    (
        "three terms",
        "touchpoint.type == \"order.completed\" && basket.value > 500 && customer.purchases >= 3",
        "touchpoint.type == \"order.completed\" && basket.value > 500.0 && customer.purchases >= 3.0",
        Type::Flag,
    ),
    (
        "list and prefix",
        "touchpoint.channel in [\"web\", \"app\", \"store\"] && touchpoint.type.startsWith(\"order.\")",
        "touchpoint.channel in [\"web\", \"app\", \"store\"] && touchpoint.type.startsWith(\"order.\")",
        Type::Flag,
    ),
    (
        "choice of durations",
        "basket.value > 200 ? duration(\"15m\") : duration(\"1h\")",
        "basket.value > 200.0 ? duration(\"15m\") : duration(\"1h\")",
        Type::Duration,
    ),
];

struct Given {
    numbers: [Option<f64>; 3],
    texts: [&'static str; 2],
}

impl Facts for Given {
    fn number(&self, slot: Slot) -> Option<f64> {
        self.numbers.get(usize::from(slot)).copied().flatten()
    }
    fn text(&self, slot: Slot) -> Option<&str> {
        self.texts.get(usize::from(slot).checked_sub(3)?).copied()
    }
    fn flag(&self, _: Slot) -> Option<bool> {
        None
    }
    fn instant(&self, _: Slot) -> Option<Timestamp> {
        None
    }
    fn duration(&self, _: Slot) -> Option<Span> {
        None
    }
}

fn compiled(text: &str, kind: Type) -> Expression {
    let mut environment = Environment::default();
    for name in ["touchpoint.nps", "basket.value", "customer.purchases"] {
        environment.declare(name, Type::Number);
    }
    for name in ["touchpoint.type", "touchpoint.channel"] {
        environment.declare(name, Type::Text);
    }
    let source = Source::file("m.yaml", text);
    let text = Spanned { value: text.to_owned(), place: source.place(0..text.len()) };
    Expression::compile(&text, &environment, kind, &mut Faults::default()).expect("a good expression")
}

fn expressions(c: &mut Criterion) {
    let given = Given { numbers: [Some(7.0), Some(620.0), Some(4.0)], texts: ["order.completed", "store"] };
    let mut context = Context::default();
    let map = |entries: &[(&str, Value)]| -> HashMap<String, Value> {
        entries.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    };
    let text = |text: &str| Value::from(text.to_owned());
    context.add_variable_from_value(
        "touchpoint",
        map(&[("nps", Value::Float(7.0)), ("type", text(given.texts[0])), ("channel", text(given.texts[1]))]),
    );
    context.add_variable_from_value("basket", map(&[("value", Value::Float(620.0))]));
    context.add_variable_from_value("customer", map(&[("purchases", Value::Float(4.0))]));
    for (name, ours, theirs, kind) in CASES {
        let mut group = c.benchmark_group(*name);
        group.sample_size(20).measurement_time(std::time::Duration::from_secs(1));
        group.warm_up_time(std::time::Duration::from_millis(300));
        let expression = compiled(ours, *kind);
        let program = Program::compile(theirs).expect("CEL");
        let facts: &dyn Facts = &given;
        group.bench_function("compiled", |b| {
            b.iter(|| match kind {
                Type::Duration => black_box(&expression).span(black_box(facts)).is_some(),
                Type::Flag | Type::Number | Type::Text | Type::Instant => black_box(&expression).holds(black_box(facts)),
            });
        });
        group.bench_function("cel", |b| b.iter(|| black_box(&program).execute(black_box(&context)).is_ok()));
        group.bench_function("compile", |b| b.iter(|| compiled(black_box(ours), *kind)));
        group.finish();
    }
}

criterion_group!(benches, expressions);
criterion_main!(benches);
