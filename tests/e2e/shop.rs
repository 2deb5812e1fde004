//! A small shop for one test: its own topics and group, a writer, and short words for what customers do.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::harness::clients::{Published, Reader, Record, Writer, create_topic};
use crate::harness::service::{Service, Setup};
use crate::harness::{Kafka, model, now_millis};

/// Spans of `models/quick.yaml`, in milliseconds.
pub(crate) const BASKET_QUIET: i64 = 5_000;
pub(crate) const STAGE_QUIET: i64 = 8_000;

/// How long anything may take that takes no time in principle, on a machine that is busy with other things.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// When something happened last, in any shop.
static LAST: AtomicI64 = AtomicI64::new(0);

pub(crate) struct Shop {
    pub setup: Setup,
    pub writer: Writer,
    pub direct: String,
}

impl Shop {
    /// Creates the inputs, with the brokers' timestamps.
    pub(crate) fn open(kafka: &Kafka, name: &str, inputs: &[&str], partitions: i32) -> Shop {
        Shop::with_settings(kafka, name, inputs, partitions, &[])
    }

    /// Creates the inputs with further settings, or other ones.
    pub(crate) fn with_settings(
        kafka: &Kafka,
        name: &str,
        inputs: &[&str],
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> Shop {
        let direct = kafka.bootstrap();
        // A broker that stands already may remember earlier runs.
        let prefix = format!("{name}-{}", now_millis());
        let inputs: Vec<String> = inputs.iter().map(|input| format!("{prefix}.{input}")).collect();
        for input in &inputs {
            let stamped = ("message.timestamp.type", "LogAppendTime");
            let is_said = settings.iter().any(|(name, _)| *name == stamped.0);
            let all: Vec<_> = settings.iter().copied().chain((!is_said).then_some(stamped)).collect();
            create_topic(&direct, input, partitions, &all);
        }
        let setup = Setup {
            brokers: direct.clone(),
            group: format!("{prefix}-group"),
            instance: "one".to_owned(),
            inputs,
            output: prefix,
            model: model("quick.yaml"),
            start: "earliest",
            commit_interval: "100ms",
            extra: Vec::new(),
            arguments: Vec::new(),
        };
        Shop { setup, writer: Writer::new(&direct), direct }
    }

    /// Starts the service and waits until it has its shards.
    pub(crate) fn serve(&self) -> Service {
        let mut service = Service::start(&self.setup);
        service.wait_until_ready(SOON);
        service
    }

    /// A reader of all outcomes; the topics exist once the service is ready.
    pub(crate) fn reader(&self) -> Reader {
        Reader::of(&self.direct, &self.setup.output_topics(&["transitions", "completions", "abandonments", "recoveries"]))
    }

    pub(crate) fn dead_letters(&self) -> Reader {
        Reader::of(&self.direct, &self.setup.output_topics(&["dead-letters"]))
    }

    /// Writes a touchpoint that happened a moment ago and waits until the broker has it; returns when it happened.
    pub(crate) fn does(&self, customer: &str, kind: &str, input: usize) -> i64 {
        // No two at one instant: which of them came first would be told by the order of the topics. And none ahead of the broker,
        // which would count it from when it came: other tests count on as well.
        let now = now_millis() - A_MOMENT;
        let before = LAST.fetch_max(now, Ordering::Relaxed);
        let at = if before < now { now } else { LAST.fetch_add(1, Ordering::Relaxed) + 1 };
        self.writer.write(Record {
            topic: &self.setup.inputs[input],
            key: customer,
            value: &touchpoint(customer, kind, at),
            partition: None,
        });
        at
    }
}

/// Milliseconds.
const A_MOMENT: i64 = 50;

/// A touchpoint about the customer's one basket.
pub(crate) fn touchpoint(customer: &str, kind: &str, at: i64) -> Vec<u8> {
    let properties = json!({"cart_id": format!("{customer}-cart"), "value": 49.5, "currency": "EUR"});
    let touchpoint = json!({"customer_id": customer, "occurred_at": at, "type": kind, "properties": properties});
    touchpoint.to_string().into_bytes()
}

/// What was published about a customer, in sequence, in short: `abandonment basket`, `transition deciding`.
pub(crate) fn story(published: &[Published], customer: &str) -> Vec<String> {
    let mut told: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for outcome in published.iter().map(Published::json).filter(|outcome| outcome["customer_id"] == customer) {
        let what = ["to", "stage", "episode"].into_iter().find_map(|field| {
            let place = if field == "to" { &outcome[field] } else { &outcome["subject"][field] };
            place.as_str().map(ToOwned::to_owned)
        });
        let line = format!("{} {}", outcome["kind"].as_str().unwrap_or("?"), what.unwrap_or_default());
        told.entry(outcome["sequence"].as_u64().expect("a sequence number")).or_default().push(line);
    }
    // A sequence number that comes twice, or is missing, shows as a difference.
    told.into_iter()
        .enumerate()
        .map(|(place, (sequence, lines))| {
            let lines = lines.join(" AND ");
            if sequence == place as u64 + 1 { lines } else { format!("{lines} NUMBERED {sequence}") }
        })
        .collect()
}

/// Whether something was published about a customer.
pub(crate) fn tells(published: &[Published], customer: &str, line: &str) -> bool {
    story(published, customer).iter().any(|told| told == line)
}

/// The outcome of this kind about a customer and an episode or stage.
pub(crate) fn outcome<'a>(published: &'a [Published], customer: &str, kind: &str, subject: &str) -> &'a Published {
    let is = |record: &&Published| {
        let outcome = record.json();
        let about = &outcome["subject"];
        outcome["customer_id"] == customer
            && outcome["kind"] == kind
            && (about["episode"] == subject || about["stage"] == subject || outcome["to"] == subject)
    };
    published.iter().find(is).unwrap_or_else(|| panic!("no {kind} of {subject} for {customer}"))
}
