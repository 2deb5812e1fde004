//! Beside the load: visitors who fill a basket on a device, log in and buy, or do not. The device and the customer lie nearly always
//! in different partitions, so their journeys are handed over while everything breaks. What is judged is what holds at last, as
//! a consumer keeps it by `outcome_id` and `sequence`.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::now_millis;
use crate::load::Writer;

/// One begins so often.
const PACE: Duration = Duration::from_millis(200);
/// Milliseconds from the beginning until a basket is filled, the login, and the purchase. Baskets are left after 30 s.
const ACTS: [i64; 4] = [0, 400, 12_000, 14_000];
const CUSTOMER: &str = "visitor-";
const DEVICE: &str = "device-";
const MERGE: &str = "merge";

/// Whether an outcome is about one of them.
pub(crate) fn is_one(who: &str) -> bool {
    who.starts_with(CUSTOMER) || who.starts_with(DEVICE)
}

/// Lets visitors come for so long; says how many came.
pub(crate) fn come(brokers: &str, topics: &[String], millis: i64, stop: &AtomicBool) -> usize {
    let writer = Writer::to(brokers);
    let begin = now_millis();
    let pace = PACE.as_millis() as i64;
    let count = ((millis - ACTS[3]) / pace).max(1) as usize;
    let mut acts: Vec<(i64, usize, usize)> = (0..count)
        .flat_map(|number| (0..acts_of(number)).map(move |place| (number as i64 * pace + ACTS[place], number, place)))
        .collect();
    acts.sort_unstable();
    for (after, number, place) in acts {
        while let early @ 1.. = begin + after - now_millis() {
            if stop.load(Ordering::Acquire) {
                return 0;
            }
            std::thread::sleep(Duration::from_millis(early.min(100).unsigned_abs()));
        }
        let act = act(number, place, begin + after);
        let key = act["customer_id"].as_str().or(act["anonymous_id"].as_str()).expect("somebody").to_owned();
        writer.send(&topics[number % topics.len()], &key, act.to_string().as_bytes());
    }
    writer.finish();
    count
}

/// One in four only fills a basket and logs in.
fn buys(number: usize) -> bool {
    !number.is_multiple_of(4)
}

fn acts_of(number: usize) -> usize {
    if buys(number) { 4 } else { 3 }
}

fn act(number: usize, place: usize, at: i64) -> Value {
    let (customer, device) = (format!("{CUSTOMER}{number}"), format!("{DEVICE}{number}"));
    let kind = ["product.viewed", "cart.added", "login", "order.completed"][place];
    // Some buy where nothing says which device it is.
    let on_device = place < 3 || number.is_multiple_of(2);
    json!({
        "event_id": format!("{CUSTOMER}{number}-{place}"),
        "occurred_at": at,
        "type": kind,
        "customer_id": (place >= 2).then_some(customer),
        "anonymous_id": on_device.then_some(device),
        "properties": {"cart_id": format!("{CUSTOMER}{number}-cart"), "value": 20, "currency": "EUR"},
    })
}

/// What is wrong about so many visitors, in words; by whom the outcomes are about.
pub(crate) fn judge(count: usize, told: &HashMap<String, Vec<Value>>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (who, records) in told {
        let mut sequence: Vec<u64> = records.iter().filter_map(|record| record["sequence"].as_u64()).collect();
        sequence.sort_unstable();
        // A merge goes on from the greater of both, so it may leave out some.
        let from_one = sequence.first() == Some(&1) || who.starts_with(CUSTOMER);
        let gaps = sequence.windows(2).filter(|pair| pair[1] > pair[0] + 1).count();
        let again = sequence.windows(2).any(|pair| pair[0] == pair[1]);
        if again || !from_one || gaps > usize::from(who.starts_with(CUSTOMER)) {
            wrong.push(format!("{who}: lost or twice: {sequence:?}"));
        }
    }
    for number in 0..count {
        let found = |who: &str| told.get(who).map(|records| holds(records)).unwrap_or_default();
        let (customer, device) = (format!("{CUSTOMER}{number}"), format!("{DEVICE}{number}"));
        let end = if buys(number) { "completion" } else { "abandonment" };
        let (by_customer, by_device) = (found(&customer), found(&device));
        if by_customer != [end, MERGE] {
            wrong.push(format!("{customer}: {by_customer:?}, and not {end} and {MERGE}"));
        }
        if !by_device.is_empty() {
            wrong.push(format!("{device}: {by_device:?} holds, and it belongs to {customer}"));
        }
    }
    wrong
}

/// The kinds of what holds at last about the basket, and the merge.
fn holds(records: &[Value]) -> Vec<&str> {
    let mut latest: BTreeMap<&str, &Value> = BTreeMap::new();
    for record in records {
        let id = record["outcome_id"].as_str().unwrap_or_default();
        let known = latest.entry(id).or_insert(record);
        if record["sequence"].as_u64() > known["sequence"].as_u64() {
            *known = record;
        }
    }
    let about = |record: &&&Value| {
        let ends = record["kind"] == "completion" || record["kind"] == "abandonment";
        record["kind"] == MERGE || ends && record["subject"]["episode"] == "basket"
    };
    let mut holds: Vec<&str> = latest.values().filter(about).filter_map(|record| record["kind"].as_str()).collect();
    holds.sort_unstable();
    holds
}
