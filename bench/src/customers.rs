//! Customers of one shape, as many as are wanted: the *profile*. Four touchpoints ever, UUIDs as ids, one open basket, nothing
//! closed, older than any window within which repeats are looked for.
//!
//! Its stages: awareness, consideration, retention; the basket is opened afterwards and waits for 300 days (`profile.yaml`).

use std::fmt::Write;
use std::time::Duration;

use crate::fill::{Filler, Format, PARTITIONS, Stamp};
use crate::ground::{Ground, now_ms};
use crate::home::Process;
use crate::load;
use crate::systems::{self, Run, System};
use crate::watch::{self, Cost, Watched};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// How long a system may take for all of them.
const LIMIT: Duration = Duration::from_secs(900);
/// The first touchpoints lie so far back.
const AGE_MS: i64 = 40 * 24 * HOUR_MS;
/// What each of them did, and how long after the first time.
const DEEDS: [(&str, i64); 4] =
    [("ad.seen", 0), ("product.viewed", HOUR_MS), ("order.completed", 25 * HOUR_MS), ("cart.added", 111 * HOUR_MS)];
/// All customers do the same thing within this time.
const ROUND_MS: i64 = 30 * MINUTE_MS;

/// A backlog of so many customers, and one touchpoint more in each partition, which closes it. Returns their number.
pub fn fill(brokers: &str, topic: &str, customers: u64) -> Result<u64, String> {
    let filler = Filler::create(brokers, topic, Stamp::Event)?;
    let begin = now_ms() - AGE_MS;
    let (mut key, mut value) = (String::new(), String::new());
    for (place, (kind, after)) in (0..).zip(DEEDS) {
        for number in 0..customers {
            let at = begin + after + (i128::from(ROUND_MS) * i128::from(number) / i128::from(customers)) as i64;
            key.clear();
            uuid(number, 0, &mut key);
            touchpoint(number, place + 1, kind, at, &mut value);
            filler.send(&key, value.as_bytes(), at);
        }
    }
    filler.close(begin + DEEDS[3].1 + 2 * ROUND_MS, Format::Json);
    filler.flush()?;
    Ok(customers * DEEDS.len() as u64 + PARTITIONS as u64)
}

/// The purchase of what lies in a customer's basket, now. Returns the key.
pub fn purchase(number: u64, value: &mut String) -> String {
    let mut key = String::new();
    uuid(number, 0, &mut key);
    touchpoint(number, DEEDS.len() as u64 + 1, "order.completed", now_ms(), value);
    let basket = format!(r#""properties":{{"cart_id":"{}"}}}}"#, basket(number));
    value.truncate(value.len() - r#""properties":{}}"#.len());
    value.push_str(&basket);
    key
}

fn touchpoint(number: u64, place: u64, kind: &str, at: i64, out: &mut String) {
    out.clear();
    out.push_str(r#"{"event_id":""#);
    uuid(number, place, out);
    out.push_str(r#"","customer_id":""#);
    uuid(number, 0, out);
    out.push_str(r#"","occurred_at":""#);
    load::instant(at, out);
    out.push_str(r#"","type":""#);
    out.push_str(kind);
    out.push_str(r#"","channel":"web","properties":{"#);
    if kind == "cart.added" {
        out.push_str(r#""cart_id":""#);
        out.push_str(&basket(number));
        out.push_str(r#"","value":89.9,"currency":"EUR""#);
    }
    out.push_str("}}");
}

fn basket(number: u64) -> String {
    let mut text = String::new();
    uuid(number, 7, &mut text);
    text
}

/// Appends a UUID that a customer's number and a place make.
fn uuid(number: u64, place: u64, out: &mut String) {
    let high = load::mixed(number * 16 + 2 * place);
    let low = load::mixed(number * 16 + 2 * place + 1);
    let (a, b, c) = (high >> 32, high >> 16 & 0xFFFF, high & 0x0FFF | 0x4000);
    let (d, e) = (low >> 48 & 0x3FFF | 0x8000, low & 0xFFFF_FFFF_FFFF);
    let _ = write!(out, "{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}");
}

/// The profile customers in a running system.
pub struct Loaded {
    /// The system that took them in.
    pub process: Process,
    /// What that cost.
    pub cost: Cost,
}

/// Fills a topic with so many customers, and lets a system take them in.
pub fn load(ground: &Ground, system: System, run: &Run<'_>, customers: u64) -> Result<Loaded, String> {
    fill(run.brokers, run.input, customers)?;
    let process = systems::start(system, ground, run)?;
    let watched = Watched::of(run.brokers, process.pid(), run.input, run.group);
    let cost = watch::drain(&watched, LIMIT).map_err(|reason| format!("{reason}\n{}", process.log_tail()))?;
    Ok(Loaded { process, cost })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purchase_names_the_basket_that_was_opened() {
        let (mut opened, mut bought) = (String::new(), String::new());
        touchpoint(7, 4, "cart.added", 0, &mut opened);
        let key = purchase(7, &mut bought);
        let cart = format!(r#""cart_id":"{}""#, basket(7));
        assert!(opened.contains(&cart) && bought.ends_with(&format!(r#""properties":{{{cart}}}}}"#)), "{bought}");
        assert!(opened.contains(&key) && bought.contains(&key) && key.len() == 36);
    }
}
