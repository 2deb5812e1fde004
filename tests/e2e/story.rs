//! 200,000 touchpoints over two topics and two workers: what is published equals what the oracle says, customer by customer;
//! and the same records read later, as a backlog, by one worker, give the same bytes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::clients::{Published, Reader, Record, group};
use crate::harness::service::{Service, Setup};
use crate::harness::{kafka, model, now_millis, say, wait};
use crate::load::{self, Customer};
use crate::oracle::{self, Act, Told};
use crate::shop::{SOON, Shop};
use crate::told;

const TOUCHPOINTS: usize = 200_000;
const PARTITIONS: i32 = 6;
pub(crate) const OUTPUTS: [&str; 4] = ["transitions", "completions", "abandonments", "recoveries"];
/// Everything has been decided so long after the last touchpoint.
pub(crate) const ALL_PASSED: i64 = 16_000;
/// The load relies on gaps of 5 s; so far behind its schedule it is still good.
const MAY_LAG: i64 = 2_500;

#[test]
fn two_workers_tell_the_same_stories_as_the_oracle() {
    let Some(kafka) = kafka() else { return };
    let seed = std::env::var("SEED").map_or(20_261_124, |seed| seed.parse().expect("SEED is a number"));
    let customers = load::customers(seed, TOUCHPOINTS);
    let mut shop = Shop::open(kafka, "story", &["app", "web"], PARTITIONS);
    shop.setup.model = model("shop.yaml");
    let workers: Vec<Service> = ["one", "two"]
        .map(|instance| Service::start(&Setup { instance: instance.to_owned(), ..shop.setup.clone() }))
        .into_iter()
        .collect();
    let shared = || {
        let shards = |worker: &Service| worker.is_ready() && worker.metric("sillage_shards_assigned") == 3.0;
        group(&shop.direct, &shop.setup.group) == ("Stable".to_owned(), 2) && workers.iter().all(shards)
    };
    wait::until_true("both workers to have three shards", SOON * 2, shared);
    let reader = Reader::of(&shop.direct, &shop.setup.output_topics(&OUTPUTS));

    let begun = Instant::now();
    let cpu_before: f64 = workers.iter().map(Service::cpu_seconds).sum();
    let begin = now_millis() + 500;
    let end = write(&shop, &customers, begin);
    let expected = expected(&customers, begin, end + ALL_PASSED);
    let total = expected.values().map(Vec::len).sum::<usize>();
    reader.until("as many outcomes as the oracle tells", SOON * 2, |read| read.len() >= total);
    let cpu = workers.iter().map(Service::cpu_seconds).sum::<f64>() - cpu_before;
    let live = reader.to_the_end();
    let sum = |name: &str| workers.iter().map(|worker| worker.metric(name)).sum::<f64>();
    let commit = sum("sillage_commit_seconds_sum") / sum("sillage_commit_seconds_count");
    for worker in workers {
        let ended = worker.terminate();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    }
    compare(&customers, &expected, &live);
    say(&format!(
        "story, seed {seed}: {} customers, {TOUCHPOINTS} touchpoints, {total} outcomes; live {:.0} s, two workers used {:.1} \
         CPU-seconds per million touchpoints; a commit took {:.1} ms",
        customers.len(),
        begun.elapsed().as_secs_f64(),
        cpu * 1e6 / TOUCHPOINTS as f64,
        commit * 1e3
    ));

    let setup = Setup {
        group: format!("{}-later", shop.setup.group),
        output: format!("{}-later", shop.setup.output),
        ..shop.setup.clone()
    };
    let begun = Instant::now();
    let mut worker = Service::start(&setup);
    worker.wait_until_ready(SOON);
    let reader = Reader::of(&shop.direct, &setup.output_topics(&OUTPUTS));
    reader.until("the same outcomes from the backlog", SOON * 2, |read| read.len() >= total);
    let (took, cpu) = (begun.elapsed(), worker.cpu_seconds());
    let later = reader.to_the_end();
    assert_eq!(worker.terminate().status.code(), Some(0));
    assert!(bytes(&later) == bytes(&live), "a backlog gives other bytes than live processing");
    say(&format!(
        "story, backlog: {:.1} s with start and stop of reading, one worker used {:.1} CPU-seconds per million touchpoints",
        took.as_secs_f64(),
        cpu * 1e6 / TOUCHPOINTS as f64
    ));
}

/// Writes every touchpoint when its time has come; returns when the last one happened.
pub(crate) fn write(shop: &Shop, customers: &[Customer], begin: i64) -> i64 {
    let mut all: Vec<(&Customer, usize, &Act)> = customers
        .iter()
        .flat_map(|customer| customer.acts.iter().map(move |(topic, act)| (customer, *topic, act)))
        .collect();
    all.sort_by_key(|(_, _, act)| act.at);
    let mut worst = 0;
    for (customer, topic, act) in &all {
        let value = load::encode(customer, act, begin);
        let due = begin + act.at;
        let early = due - now_millis();
        if early > 0 {
            std::thread::sleep(Duration::from_millis(early as u64));
        }
        // Time has come only when this clock says so; the sleep may have been short.
        while now_millis() < due {
            std::thread::yield_now();
        }
        worst = worst.max(now_millis() - due);
        let topic = &shop.setup.inputs[*topic];
        shop.writer.send(Record { topic, key: &customer.id, value: &value, partition: None });
    }
    shop.writer.flush();
    assert!(worst < MAY_LAG, "this machine is too slow: the load was {worst} ms behind its schedule");
    begin + all.last().expect("a load").2.at
}

/// Writes every touchpoint when its time has come, and does something again and again meanwhile, which is told whether all is
/// written; returns when the last one happened.
pub(crate) fn write_amid(shop: &Shop, customers: &[Customer], begin: i64, mut work: impl FnMut(&AtomicBool)) -> i64 {
    let written = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let end = write(shop, customers, begin);
            written.store(true, Ordering::Release);
            end
        });
        while !written.load(Ordering::Acquire) {
            work(&written);
        }
        writing.join().expect("the load is written")
    })
}

/// The customers whose touchpoints stand in the log in the order in which they happened, which is what the oracle judges by.
/// Where the machine was so busy that two topics were written to in another order than they should, the log is right and the
/// oracle is not.
pub(crate) fn in_order(shop: &Shop, customers: Vec<Customer>) -> Vec<Customer> {
    let mut logged = Reader::of(&shop.direct, &shop.setup.inputs).to_the_end();
    logged.sort_by(|one, other| (one.timestamp, &one.topic).cmp(&(other.timestamp, &other.topic)));
    let mut order: HashMap<String, Vec<String>> = HashMap::new();
    for record in &logged {
        let touchpoint = record.json();
        let who = touchpoint["customer_id"].as_str().or(touchpoint["anonymous_id"].as_str()).expect("a customer");
        let id = touchpoint["event_id"].as_str().expect("an id");
        order.entry(who.to_owned()).or_default().push(id.to_owned());
    }
    let all = customers.len();
    let is_in_order = |customer: &Customer| {
        order.get(&customer.id).is_some_and(|ids| ids.iter().eq(customer.acts.iter().map(|(_, act)| &act.id)))
    };
    let kept: Vec<Customer> = customers.into_iter().filter(is_in_order).collect();
    say(&format!("{} of {all} customers were written out of order", all - kept.len()));
    assert!(kept.len() * 100 >= all * 95, "this machine is too busy: {} of {all} customers are in order", kept.len());
    kept
}

pub(crate) fn expected(customers: &[Customer], begin: i64, end: i64) -> HashMap<String, Vec<Told>> {
    let told = |customer: &Customer| {
        let acts: Vec<Act> = customer.acts.iter().map(|(_, act)| Act { at: begin + act.at, ..act.clone() }).collect();
        (customer.id.clone(), oracle::judge(&acts, end))
    };
    customers.iter().map(told).collect()
}

/// Every customer's outcomes in sequence equal the oracle's; `customers` only tell what they did where they differ.
pub(crate) fn compare(customers: &[Customer], expected: &HashMap<String, Vec<Told>>, published: &[Published]) {
    let mut by_customer: HashMap<String, Vec<Value>> = HashMap::new();
    let mut ids = BTreeSet::new();
    let mut abandoned = BTreeMap::new();
    for record in published {
        let outcome = record.json();
        let kind = outcome["kind"].as_str().expect("a kind");
        let topic = match kind {
            "transition" => "transitions",
            "completion" => "completions",
            "abandonment" => "abandonments",
            _ => "recoveries",
        };
        assert!(record.topic.ends_with(topic), "{kind} in {}", record.topic);
        let who = outcome["customer_id"].as_str().or(outcome["anonymous_id"].as_str()).expect("a customer").to_owned();
        assert_eq!(record.key.as_ref(), Some(&who), "outcomes are keyed by the customer");
        let id = outcome["outcome_id"].as_str().expect("an id").to_owned();
        assert!(ids.insert(id.clone()), "outcome {id} came twice");
        if kind == "abandonment" {
            abandoned.insert(id, (who.clone(), outcome["at"].clone()));
        }
        by_customer.entry(who).or_default().push(outcome);
    }
    let mut wrong = 0;
    for (who, expected) in expected {
        let mut outcomes = by_customer.remove(who).unwrap_or_default();
        outcomes.sort_by_key(|outcome| outcome["sequence"].as_u64());
        for outcome in outcomes.iter().filter(|outcome| !outcome["answers"].is_null()) {
            let answered = abandoned.get(outcome["answers"]["outcome_id"].as_str().expect("an id"));
            assert_eq!(answered, Some(&(who.clone(), outcome["answers"]["at"].clone())), "{outcome}");
        }
        let told: Vec<Told> = outcomes.iter().map(told::read).collect();
        if told != *expected {
            wrong += 1;
            if wrong <= 3 {
                let differs = told.iter().zip(expected).position(|(told, expected)| told != expected);
                let at = differs.unwrap_or(told.len().min(expected.len()));
                eprintln!(
                    "{who} differs from outcome {} on:\nexpected {:#?}\ntold {:#?}",
                    at + 1,
                    expected.get(at),
                    told.get(at)
                );
                eprintln!("{who}: {} outcomes expected, {} told", expected.len(), told.len());
                let customer = customers.iter().find(|customer| customer.id == *who);
                eprintln!("{who} did {:#?}", customer.map(|customer| &customer.acts));
            }
        }
    }
    assert!(by_customer.is_empty(), "outcomes of {} customers that do not exist", by_customer.len());
    assert_eq!(wrong, 0, "customers whose stories differ from the oracle's, of {}", expected.len());
}

fn bytes(published: &[Published]) -> BTreeMap<&[u8], usize> {
    let mut all = BTreeMap::new();
    for record in published {
        *all.entry(record.value.as_deref().unwrap_or_default()).or_default() += 1;
    }
    all
}
