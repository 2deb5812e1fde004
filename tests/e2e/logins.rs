//! Baskets that somebody anonymous fills and a customer buys who has logged in between, on a topic of six partitions: nearly
//! always the two live in different ones (rule 19).
//!
//! `LOGINS` asks for more of them than CI runs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::clients::{Published, Record, extents};
use crate::harness::command::Configured;
use crate::harness::service::{Service, Setup};
use crate::harness::{kafka, model, now_millis, say, wait};
use crate::late::net;
use crate::shop::{BASKET_QUIET, SOON, STAGE_QUIET, Shop};

/// What a customer does begins so long before it is written, in milliseconds, and the login comes so long after.
const AGO: i64 = 2_000;
const LOGIN: i64 = 900;
/// So many come each by themselves, and nobody is killed.
const MANY: usize = 10_000;
const PACE: Duration = Duration::from_millis(2);
/// So many customers log in between two kills.
const BETWEEN: usize = 150;
const PARTITIONS: i32 = 6;
/// Of a backlog: touchpoints of others in one partition, for each customer.
const BALLAST: usize = 10;
/// So long a process stands still.
const STANDS: Duration = Duration::from_secs(15);
/// The last of them does nothing but fill a basket and log in.
const KINDS: usize = 5;

fn logins() -> usize {
    std::env::var("LOGINS").ok().and_then(|count| count.parse().ok()).unwrap_or(600)
}

struct Customer(usize);

impl Customer {
    fn id(&self) -> String {
        format!("c-{}", self.0)
    }

    fn device(&self) -> String {
        format!("d-{}", self.0)
    }

    fn buys(&self) -> bool {
        self.0 % KINDS != KINDS - 1
    }

    /// What it does, and when: a basket is filled, the customer logs in and buys.
    fn acts(&self, began: i64) -> Vec<Value> {
        let (customer, device) = (Some(self.id()), Some(self.device()));
        let act = |after: i64, kind: &str, customer: Option<&String>, device: Option<&String>| {
            json!({
                "event_id": format!("{}-{after}", self.0),
                "occurred_at": began + after,
                "type": kind,
                "customer_id": customer,
                "anonymous_id": device,
                "properties": {"cart_id": format!("cart-{}", self.0), "value": 20, "currency": "EUR"},
            })
        };
        let mut acts = vec![
            act(0, "product.viewed", None, device.as_ref()),
            act(100, "cart.added", None, device.as_ref()),
            act(LOGIN, "login", customer.as_ref(), device.as_ref()),
        ];
        if self.buys() {
            // By half of them without the device.
            let device = device.as_ref().filter(|_| self.0.is_multiple_of(2));
            acts.push(act(1_400, "order.completed", customer.as_ref(), device));
        }
        acts
    }

    /// By what the producer keys it: the identity, the device, or nothing useful.
    fn key(&self, act: &Value, number: usize, partitions: i32) -> (String, Option<i32>) {
        let text = |name: &str| act[name].as_str().map(ToOwned::to_owned);
        let by_identity = text("customer_id").or(text("anonymous_id")).unwrap_or_default();
        match self.0 % 3 {
            0 => (by_identity, None),
            1 => (text("anonymous_id").unwrap_or(by_identity), None),
            _ => (by_identity, Some((self.0 + number) as i32 % partitions)),
        }
    }
}

#[test]
fn a_basket_begun_before_the_login_and_bought_after_it_is_never_left() {
    let Some(kafka) = kafka() else { return };
    let shop = Shop::open(kafka, "logins", &["web"], PARTITIONS);
    let mut service = shop.serve();
    let reader = shop.reader();
    let count = logins();
    for number in 0..count {
        let customer = Customer(number);
        let began = now_millis() - AGO;
        for (place, act) in customer.acts(began).iter().enumerate() {
            let (key, partition) = customer.key(act, place, PARTITIONS);
            shop.writer.send(Record {
                topic: &shop.setup.inputs[0],
                key: &key,
                value: act.to_string().as_bytes(),
                partition,
            });
        }
        if count >= MANY {
            // At their pace, not all at once: then it is seen how long a merge takes.
            std::thread::sleep(PACE);
        } else if number % BETWEEN == BETWEEN / 2 {
            shop.writer.flush();
            service.kill();
            service = shop.serve();
        }
    }
    shop.writer.flush();
    until_decided(&service);
    wait::until("all is applied", SOON, || (service.metric("sillage_lag_records") == 0.0).then_some(()));
    let handed = &shop.setup.output_topics(&["handoff"])[0];
    wait::until_true("journeys that went over to be gone from their topic", SOON, || {
        extents(&shop.direct, handed, PARTITIONS).iter().all(|(begin, _)| *begin > 0)
    });
    assert_eq!(service.terminate().status.code(), Some(0));
    let read = reader.to_the_end();
    tell_latency(&read);
    check(count, &read);
}

/// How long after a login was written its merge could be read, to a part of a second: what is written together takes its time.
fn tell_latency(read: &[Published]) {
    let took = |record: &Published| {
        let outcome = record.json();
        let at = outcome["at"].as_str().expect("an instant").parse::<jiff::Timestamp>().expect("an instant");
        // It happened so long before it was written.
        (outcome["kind"] == "merge").then(|| record.timestamp - at.as_millisecond() - (AGO - LOGIN))
    };
    let mut took: Vec<i64> = read.iter().filter_map(took).collect();
    took.sort_unstable();
    let part = |percent: usize| took[(took.len() - 1) * percent / 100];
    say(&format!("logins: merges after {} ms, 99 % within {}, the last {}", part(50), part(99), part(100)));
}

/// Waits until stream time has passed every deadline of those who have bought nothing.
fn until_decided(service: &Service) {
    until_told(service, now_millis() + BASKET_QUIET + 1_000);
}

/// Waits until stream time has passed an instant.
fn until_told(service: &Service, end: i64) {
    wait::until_true("stream time to pass the last deadline", SOON * 4, || {
        let behind = service.metric("sillage_stream_time_behind_seconds");
        now_millis() - (behind * 1e3) as i64 > end
    });
}

/// Each customer has joined the device once, and has bought the basket, or left it where nothing was bought; of the device alone
/// nothing is left.
fn check(count: usize, read: &[Published]) {
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for outcome in net(read) {
        let who = outcome["customer_id"].as_str().or(outcome["anonymous_id"].as_str()).expect("somebody").to_owned();
        let about = outcome["subject"]["episode"].as_str().unwrap_or_default();
        if outcome["kind"] == "merge" || about == "basket" {
            told.entry(who).or_default().push(format!("{} {about}", outcome["kind"].as_str().expect("a kind")));
        }
    }
    for number in 0..count {
        let customer = Customer(number);
        let expected = if customer.buys() { ["merge ", "completion basket"] } else { ["merge ", "abandonment basket"] };
        let found = told.get(&customer.id()).map(|told| {
            let mut told = told.clone();
            told.sort_by_key(|line| !line.starts_with("merge"));
            told
        });
        assert_eq!(found, Some(expected.map(ToOwned::to_owned).to_vec()), "{}", customer.id());
        assert_eq!(told.get(&customer.device()), None, "{}", customer.device());
    }
}

/// The same touchpoints in one partition and in six: every field of every outcome that stands is the same, but for its number.
#[test]
fn one_partition_tells_what_six_tell() {
    let Some(kafka) = kafka() else { return };
    let shops = [1, PARTITIONS].map(|partitions| {
        let shop = Shop::open(kafka, &format!("same-{partitions}"), &["web"], partitions);
        let service = shop.serve();
        (partitions, shop.reader(), shop, service)
    });
    let (count, began) = (200, now_millis() - AGO);
    for number in 0..count {
        // No two at one instant.
        for (place, act) in Customer(number).acts(began + number as i64).iter().enumerate() {
            for (partitions, _, shop, _) in &shops {
                let (key, partition) = Customer(number).key(act, place, *partitions);
                let value = act.to_string();
                shop.writer.send(Record { topic: &shop.setup.inputs[0], key: &key, value: value.as_bytes(), partition });
            }
        }
    }
    shops.iter().for_each(|(_, _, shop, _)| shop.writer.flush());
    let end = now_millis() + STAGE_QUIET + 1_000;
    let told = shops.map(|(_, reader, _, service)| {
        until_told(&service, end);
        wait::until("all is applied", SOON, || (service.metric("sillage_lag_records") == 0.0).then_some(()));
        assert_eq!(service.terminate().status.code(), Some(0));
        let mut told: Vec<Value> = net(&reader.to_the_end());
        for outcome in &mut told {
            outcome["sequence"].take();
        }
        told.sort_by_key(|outcome| outcome["outcome_id"].to_string());
        told
    });
    assert!(told[0].len() > count * 2, "{} outcomes", told[0].len());
    assert_eq!(told[0], told[1]);
}

/// What piled up in a day is read by two processes at once, one partition with ten times as much as the others. The logins of that
/// day reach the devices' partitions before that day's deadlines are told for good.
#[test]
fn logins_of_a_day_that_piled_up_join_in_time() {
    const DAY: i64 = 24 * 3_600_000;
    let Some(kafka) = kafka() else { return };
    let mut shop = Shop::with_settings(kafka, "piled", &["web"], PARTITIONS, &[("message.timestamp.type", "CreateTime")]);
    shop.setup.extra.push("grace: 10m".to_owned());
    let (count, topic) = (logins(), shop.setup.inputs[0].clone());
    let begins = now_millis() - DAY;
    for number in 0..count {
        let (customer, began) = (Customer(number), begins + DAY / count as i64 * number as i64);
        for (place, act) in customer.acts(began).iter().enumerate() {
            let (key, partition) = customer.key(act, place, PARTITIONS);
            let value = act.to_string();
            let record = Record { topic: &topic, key: &key, value: value.as_bytes(), partition };
            shop.writer.send_stamped(record, act["occurred_at"].as_i64());
        }
        for other in 0..BALLAST {
            let at = began + 1_500 + other as i64;
            let act = json!({"occurred_at": at, "type": "product.viewed", "customer_id": format!("o-{number}-{other}")});
            let value = act.to_string();
            let record = Record { topic: &topic, key: "other", value: value.as_bytes(), partition: Some(0) };
            shop.writer.send_stamped(record, Some(at));
        }
    }
    shop.writer.flush();
    let two = Setup { instance: "two".to_owned(), ..shop.setup.clone() };
    let mut services = [Service::start(&shop.setup), Service::start(&two)];
    services.iter_mut().for_each(|service| service.wait_until_ready(SOON));
    let reader = shop.reader();
    for service in &services {
        wait::until("all is applied", SOON * 8, || (service.metric("sillage_lag_records") == 0.0).then_some(()));
    }
    services.iter().for_each(until_decided);
    for service in services {
        assert_eq!(service.terminate().status.code(), Some(0));
    }
    check(count, &reader.to_the_end());
}

/// A process that has half of the partitions stands still, and keeps them: its session is longer. `STANDS` asks for longer, in
/// seconds.
#[test]
fn logins_join_though_a_part_of_the_partitions_stands_still() {
    let stands = std::env::var("STANDS").ok().and_then(|seconds| seconds.parse().ok()).map_or(STANDS, Duration::from_secs);
    let Some(kafka) = kafka() else { return };
    let mut shop = Shop::open(kafka, "stands", &["web"], PARTITIONS);
    shop.setup.extra.push("properties: { session.timeout.ms: 120000 }".to_owned());
    let two = Setup { instance: "two".to_owned(), ..shop.setup.clone() };
    let mut services = [Service::start(&shop.setup), Service::start(&two)];
    services.iter_mut().for_each(|service| service.wait_until_ready(SOON));
    let reader = shop.reader();
    let has_some = |service: &Service| service.metric("sillage_shards_assigned") > 0.0;
    wait::until_true("both to have partitions", SOON, || services.iter().all(has_some));
    let count = logins();
    let pace = stands / count as u32 * 2;
    for number in 0..count {
        if number == count / 4 {
            services[1].freeze();
        } else if number == count * 3 / 4 {
            services[1].thaw();
        }
        let began = now_millis() - AGO;
        for (place, act) in Customer(number).acts(began).iter().enumerate() {
            let (key, partition) = Customer(number).key(act, place, PARTITIONS);
            let value = act.to_string();
            shop.writer.send(Record { topic: &shop.setup.inputs[0], key: &key, value: value.as_bytes(), partition });
        }
        std::thread::sleep(pace);
    }
    shop.writer.flush();
    services.iter().for_each(until_decided);
    for service in &services {
        wait::until("all is applied", SOON, || (service.metric("sillage_lag_records") == 0.0).then_some(()));
    }
    for service in services {
        assert_eq!(service.terminate().status.code(), Some(0));
    }
    check(count, &reader.to_the_end());
}

/// The same on the embedded log, with a kill.
#[test]
fn customers_who_log_in_join_their_devices_over_the_partitions_of_the_embedded_log() {
    const EACH: usize = 50;
    let folder = tempfile::Builder::new().prefix("sillage-e2e-logins-").tempdir().expect("a temporary directory");
    let start = || {
        let mut service = Service::start_embedded_with(folder.path(), &model("quick.yaml"), 4);
        service.wait_until_ready(SOON);
        service
    };
    let mut service = start();
    let count = logins();
    for first in (0..count).step_by(EACH) {
        let began = now_millis() - AGO;
        let acts = (first..count.min(first + EACH)).flat_map(|number| Customer(number).acts(began));
        let lines: String = acts.map(|act| format!("{act}\n")).collect();
        let url = format!("http://{}/v1/touchpoints", service.address().expect("it runs"));
        ureq::post(&url).content_type("application/x-ndjson").send(lines.as_bytes()).expect("touchpoints are taken");
        if first == count / 2 / EACH * EACH {
            service.kill();
            service = start();
        }
    }
    until_decided(&service);
    let mut read: Vec<Published> = Vec::new();
    loop {
        let before = read.len();
        let url = format!("http://{}/v1/outcomes?after={before}&limit=10000", service.address().expect("it runs"));
        let mut answer = ureq::get(&url).call().expect("an answer");
        let text = answer.body_mut().with_config().limit(1 << 30).read_to_string().expect("text");
        for line in text.lines() {
            let mut line: Value = serde_json::from_str(line).expect("a line is JSON");
            let (topic, value) = (line["topic"].to_string(), line["outcome"].take().to_string().into_bytes());
            read.push(Published { topic, timestamp: 0, key: None, headers: BTreeMap::new(), value: Some(value) });
        }
        if read.len() == before {
            break;
        }
    }
    assert_eq!(service.terminate().status.code(), Some(0));
    check(count, &read);
}

/// Whoever is on the way from one partition to another would be in no export.
#[test]
fn an_export_is_refused_while_somebody_is_on_the_way() {
    let Some(kafka) = kafka() else { return };
    let shop = Shop::open(kafka, "way", &["web"], 2);
    let service = shop.serve();
    shop.does("anna", "product.viewed", 0);
    service.until_known(200, "anna");
    assert_eq!(service.terminate().status.code(), Some(0));
    let commands = Configured::kafka(&shop.setup);
    commands.run(&["state", "export"], &[], b"").fine();
    let topic = &shop.setup.output_topics(&["handoff"])[0];
    shop.writer.write(Record { topic, key: "", value: b"somebody", partition: Some(1) });
    commands.run(&["state", "export"], &[], b"").refused("partition 1: customers are on their way to it");
}
