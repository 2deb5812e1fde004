//! Two producers, one of which is minutes late: what a consumer keeps by the rule of `outcomes.md` is what happened.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::clients::{Published, Record};
use crate::harness::{kafka, now_millis, wait};
use crate::shop::{SOON, Shop, touchpoint};

const CUSTOMERS: usize = 120;
/// The mobile app's touchpoints come so late.
const LATE: i64 = 240_000;
const KILLS: usize = 4;

/// What the example in `examples/net-outcomes` says that holds.
pub(crate) fn net(published: &[Published]) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/net-outcomes/net.py");
    let mut python =
        Command::new("python3").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 is there");
    let mut lines: Vec<u8> = Vec::new();
    for outcome in published {
        lines.extend_from_slice(outcome.value.as_deref().expect("no tombstones"));
        lines.push(b'\n');
    }
    let mut stdin = python.stdin.take().expect("a pipe");
    let writer = std::thread::Builder::new().name("writer".to_owned()).spawn(move || stdin.write_all(&lines));
    let writer = writer.expect("a thread");
    let ended = python.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("it reads everything");
    assert!(ended.status.success());
    let text = String::from_utf8(ended.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Web touchpoints come at once: somebody fills a basket four minutes ago, as the clock of this story goes, and it is left. Half
/// of the customers bought it in the app seconds after, which is told late, while workers are killed.
#[test]
fn what_the_example_consumer_keeps_is_what_happened() {
    let Some(kafka) = kafka() else { return };
    let shop = Shop::open(kafka, "late-app", &["web", "app"], 3);
    let mut service = shop.serve();
    let reader = shop.reader();
    let began = now_millis() - LATE;
    let customer = |number: usize| format!("c{number}");
    let happens = |number: usize, kind: &str, input: usize, after: i64| {
        let at = began + number as i64 * 7 + after;
        let value = touchpoint(&customer(number), kind, at);
        shop.writer.write(Record {
            topic: &shop.setup.inputs[input],
            key: &customer(number),
            value: &value,
            partition: None,
        });
    };
    for number in 0..CUSTOMERS {
        happens(number, "product.viewed", 0, 0);
        happens(number, "cart.added", 0, 1_000);
    }
    let left = |read: &[Published], number: usize| {
        read.iter().map(Published::json).any(|outcome| {
            outcome["customer_id"] == customer(number).as_str()
                && outcome["kind"] == "abandonment"
                && outcome["subject"]["episode"] == "basket"
        })
    };
    reader.until("everybody has left", SOON, |read| (0..CUSTOMERS).all(|number| left(read, number)));
    // The app's story comes backwards: what happened last is told first.
    let buyers: BTreeSet<usize> = (0..CUSTOMERS).filter(|number| number % 2 == 0).collect();
    for (place, number) in buyers.iter().rev().enumerate() {
        happens(*number, "order.completed", 1, 2_500);
        happens(*number, "cart.viewed", 1, 1_800);
        if place % (buyers.len() / KILLS) == 3 {
            service.kill();
            service = shop.serve();
        }
    }
    let bought = |read: &[Published]| {
        let said = |number: &usize, kind: &str| {
            read.iter()
                .map(Published::json)
                .any(|outcome| outcome["customer_id"] == customer(*number).as_str() && outcome["kind"] == kind)
        };
        buyers.iter().all(|number| said(number, "completion") && said(number, "retraction"))
    };
    reader.until("everybody who bought is known", SOON * 2, bought);
    wait::until("all is applied", SOON, || (service.metric("sillage_lag_records") == 0.0).then_some(()));
    assert_eq!(service.terminate().status.code(), Some(0));
    let read = reader.to_the_end();
    let retracted = read.iter().filter(|outcome| outcome.json()["kind"] == "retraction").count();
    assert!(retracted >= buyers.len(), "{retracted} retractions");
    let mut ids = BTreeSet::new();
    for outcome in read.iter().map(Published::json) {
        let record = (outcome["customer_id"].to_string(), outcome["sequence"].as_u64());
        assert!(ids.insert(record), "a number comes twice: {outcome}");
    }
    let mut baskets: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for outcome in net(&read) {
        if outcome["subject"]["episode"] == "basket" {
            let who = outcome["customer_id"].as_str().expect("a customer").to_owned();
            baskets.entry(who).or_default().push(outcome["kind"].as_str().expect("a kind").to_owned());
        }
    }
    for number in 0..CUSTOMERS {
        let expected = if buyers.contains(&number) { "completion" } else { "abandonment" };
        assert_eq!(baskets.get(&customer(number)), Some(&vec![expected.to_owned()]), "{}", customer(number));
    }
}
