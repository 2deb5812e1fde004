//! A broker stands still while customers buy. It is in sync, so the high watermark stands still with it: the purchase stands in
//! the leader's log, nobody may read it yet, and its deadline passes. No silence may be made of that.
//!
//! The broker leads no input: one that does is waited for by all of a worker's inputs, and nothing is decided until it is back or
//! others lead. Baskets are filled before it stops, for as long as it will stand still, so that deadlines pass in every second of
//! that.
//!
//! `CHAOS=long` does it for 3, 8 and 20 seconds in turn, with one that leads nothing and with one that leads, until there were a
//! thousand purchases and more of either sort.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::clients::{Published, Reader, Record, Writer, create_placed_topic, delete_topic};
use crate::harness::cluster::{BROKERS, Cluster};
use crate::harness::command::Configured;
use crate::harness::service::{Service, Setup};
use crate::harness::{model, now_millis, say, wait};

const SOON: Duration = Duration::from_secs(60);
/// Where the copies of each partition are; the first of them leads.
const COPIES: [&[i32]; 4] = [&[1, 2, 3], &[2, 1, 3], &[1, 2, 3], &[2, 1, 3]];
/// A broker that leads no input, unless both others are gone.
const FOLLOWS: usize = 3;
/// A basket is abandoned after so many seconds more than the longest pause, so that all are filled before the broker stops.
const LONGER: u64 = 2;
/// Brokers give a replica up after eighteen seconds: so long after the stop it is looked what nobody may read yet, at most.
const LOOK: Duration = Duration::from_secs(15);
/// settle + commit interval + 1 s, and what a machine takes that runs three brokers beside.
const AFTER_DEADLINE: i64 = 50 + 100 + 1_000 + 3_000;
/// A proof of silence may take so much longer than none: an input with one replica needs none.
const PROOF: i64 = 250;
/// So many customers never come back.
const QUIET: i64 = 300;
/// A purchase comes so long before that, in milliseconds.
const BEFORE: i64 = 400;
/// The first deadline passes so long after the broker has stopped, in milliseconds.
const FIRST: i64 = 1_000;

/// Between two customers, in milliseconds.
const PACE: i64 = 10;
/// So many customers who wait for all copies come at once, through a writer of their own: a broker takes nothing more from a
/// connection as long as such a record is not acknowledged.
const AT_ONCE: i64 = 15;

/// One of those who come.
struct Customer {
    name: String,
    partition: i32,
    /// When the basket is filled.
    at: i64,
    acks: Acks,
}

/// The broker that stands still.
#[derive(Clone, Copy)]
struct Still {
    broker: usize,
    leads: bool,
}

impl Still {
    fn find(cluster: &Cluster, leads: bool) -> Self {
        let broker = if leads { cluster.leader("web", 0).expect("somebody leads") } else { FOLLOWS };
        assert!(leads || (0..COPIES.len() as i32).all(|partition| cluster.leader("web", partition) != Some(FOLLOWS)));
        Still { broker, leads }
    }

    /// Partitions that take records all the while.
    fn others(self, cluster: &Cluster) -> BTreeSet<i32> {
        (0..COPIES.len() as i32).filter(|partition| cluster.leader("web", *partition) != Some(self.broker)).collect()
    }
}

/// Who must have a record before it is acknowledged.
#[derive(Clone, Copy)]
enum Acks {
    Leader,
    /// All copies in sync; through the writer of this number.
    All(usize),
}

/// Customers in the order in which they come, from `begin` on; as many of either sort.
fn customers(round: usize, begin: i64, millis: i64) -> Vec<Customer> {
    let one = |number: i64| {
        let group = (number / (2 * AT_ONCE)) as usize;
        let (at, place, acks) = match number % 2 {
            0 => (group as i64 * 2 * AT_ONCE * PACE, group, Acks::All(group)),
            _ => (number * PACE, number as usize, Acks::Leader),
        };
        Customer {
            name: format!("stalled-{round}-{number}"),
            partition: (place % COPIES.len()) as i32,
            at: begin + at,
            acks,
        }
    };
    let mut customers: Vec<Customer> = (0..millis / PACE).map(one).collect();
    customers.sort_by_key(|customer| customer.at);
    customers
}

#[test]
fn a_replica_that_stands_still_makes_no_silence_of_a_purchase() {
    let _alone = crate::alone();
    if !crate::may_break_brokers("stalled") {
        return;
    }
    let cluster = Cluster::start_patient();
    let direct = cluster.bootstrap();
    let stamps = [("message.timestamp.type", "LogAppendTime")];
    create_placed_topic(&direct, "web", &COPIES, &stamps);
    let long = std::env::var("CHAOS").is_ok_and(|size| size == "long");
    let pauses: &[u64] = if long { &[3, 8, 20] } else { &[8] };
    let home = tempfile::tempdir().expect("a temporary directory");
    let patience = Duration::from_secs(pauses.iter().max().expect("a pause") + LONGER);
    let model = patient(home.path(), patience);
    let setup = setup(&direct, "web", "stalled", &model);
    let mut service = Service::start(&setup);
    service.wait_until_ready(SOON);
    cluster.wait_until_whole(SOON);
    let (proved, unproved) = punctuality(&direct, &model, patience);
    assert!(!long || proved <= unproved + PROOF, "a proof takes its time: {proved} ms, and without one {unproved} ms");
    let mut bought = (0, 0);
    for (round, seconds) in pauses.iter().cycle().enumerate() {
        // In the short form, one that leads nothing.
        let still = Still::find(&cluster, round / pauses.len() % 2 == 1);
        let (one, all) = stall(&cluster, &service, (round, still), Duration::from_secs(*seconds), patience);
        bought = (bought.0 + one, bought.1 + all);
        if !long || (round + 1 >= 2 * pauses.len() && bought.0.min(bought.1) >= 1_000) {
            break;
        }
    }
    say(&format!(
        "stalled: purchases that entered before their deadline while a broker stood still: {} acknowledged by the leader, {} that \
         waited for all copies",
        bought.0, bought.1
    ));
    service.wait_for_line("a replica does not keep up", SOON);
    service.wait_for_line("the replicas keep up again", SOON);
    let promised = Configured::kafka(&setup).run(&["run"], &["--dry-run"], b"").fine().text();
    let words = ["web: partitions 4, replicas 3, min.insync.replicas 2, LogAppendTime", "silence is proved"];
    assert!(words.iter().all(|words| promised.contains(words)), "{promised}");
    assert_eq!(service.terminate().status.code(), Some(0));
}

/// `models/quick.yaml`, with baskets that are waited for so long.
fn patient(home: &Path, patience: Duration) -> PathBuf {
    let text = std::fs::read_to_string(model("quick.yaml")).expect("the model");
    let (usual, path) = ("abandoned after: 5s", home.join("patient.yaml"));
    assert!(text.contains(usual), "{text}");
    std::fs::write(&path, text.replace(usual, &format!("abandoned after: {}s", patience.as_secs()))).expect("written");
    path
}

fn setup(direct: &str, input: &str, output: &str, model: &Path) -> Setup {
    Setup {
        brokers: direct.to_owned(),
        group: format!("{output}-group"),
        instance: "one".to_owned(),
        inputs: vec![input.to_owned()],
        output: output.to_owned(),
        model: model.to_owned(),
        start: "earliest",
        commit_interval: "100ms",
        // Everybody stays where the test puts them.
        extra: vec![format!("replication: {BROKERS}"), "misrouted: apply".to_owned()],
        arguments: Vec::new(),
    }
}

/// How late abandonments are in quiet times, beside those of a service whose input has one replica and needs no proof.
fn punctuality(direct: &str, model: &Path, patience: Duration) -> (i64, i64) {
    create_placed_topic(direct, "alone", &COPIES.map(|copies| &copies[..1]), &[("message.timestamp.type", "LogAppendTime")]);
    let mut other = Service::start(&setup(direct, "alone", "unproved", model));
    other.wait_until_ready(SOON);
    let lateness = std::thread::scope(|scope| {
        let other = scope.spawn(|| quiet(direct, "alone", "unproved", patience));
        (quiet(direct, "web", "stalled", patience), other.join().expect("baskets are abandoned"))
    });
    assert_eq!(other.terminate().status.code(), Some(0));
    delete_topic(direct, "alone");
    lateness
}

/// Nothing stands still: baskets that nobody comes back to are abandoned in time. After how many milliseconds 99 % of them are.
fn quiet(direct: &str, input: &str, output: &str, patience: Duration) -> i64 {
    let (writer, begin) = (Writer::new(direct), now_millis());
    let mut deadlines = BTreeMap::new();
    for number in 0..QUIET {
        while now_millis() < begin + number * PACE {
            std::thread::sleep(Duration::from_millis(1));
        }
        let (name, at) = (format!("quiet-{number}"), now_millis());
        let touchpoint = json!({
            "customer_id": name, "occurred_at": at, "type": "cart.added",
            "properties": {"cart_id": format!("{name}-cart"), "value": 9.5, "currency": "EUR"},
        });
        let value = touchpoint.to_string().into_bytes();
        writer.send(Record { topic: input, key: &name, value: &value, partition: None });
        deadlines.insert(name, at + patience.as_millis() as i64);
    }
    writer.flush();
    let is_basket = |record: &&Published| !record.json()["subject"]["episode"].is_null();
    let read = Reader::of(direct, &[format!("{output}.abandonments")])
        .until("all baskets to be abandoned", SOON, |read| read.iter().filter(is_basket).count() >= deadlines.len());
    let late = |record: &Published| Some(record.timestamp - deadlines.get(record.key.as_deref()?)?);
    let mut late: Vec<i64> = read.iter().filter(is_basket).filter_map(late).collect();
    late.sort_unstable();
    let (half, most, last) = (late[late.len() / 2], late[late.len() * 99 / 100], late[late.len() - 1]);
    say(&format!(
        "stalled: in quiet, abandonments of {input} come {half} ms after their deadline, 99 % within {most}, the last {last}"
    ));
    assert!(late[0] >= 0 && most <= AFTER_DEADLINE, "{late:?}");
    most
}

/// A broker stands still; customers buy just before their deadline. How many purchases entered in time, by how they were
/// acknowledged.
fn stall(
    cluster: &Cluster,
    service: &Service,
    (round, still): (usize, Still),
    pause: Duration,
    patience: Duration,
) -> (usize, usize) {
    let (direct, others) = (cluster.bootstrap(), still.others(cluster));
    let (begin, quiet) = (now_millis() + 1_000, patience.as_millis() as i64);
    // All baskets are filled before the broker stops, and the last of them is bought while it stands still.
    let millis = pause.as_millis() as i64 - FIRST;
    let customers = customers(round, begin, millis);
    let groups = millis / (2 * AT_ONCE * PACE) + 1;
    let (all, one): (Vec<Writer>, Writer) = ((0..groups).map(|_| Writer::slow(&direct)).collect(), Writer::hasty(&direct));
    let does = |customer: &Customer, kind: &str, at: i64| {
        let touchpoint = json!({
            "customer_id": customer.name, "occurred_at": at, "type": kind,
            "properties": {"cart_id": format!("{}-cart", customer.name), "value": 9.5, "currency": "EUR"},
        });
        let value = touchpoint.to_string().into_bytes();
        let writer = match customer.acks {
            Acks::Leader => &one,
            Acks::All(writer) => &all[writer],
        };
        // Nobody waits: with `acks=all` the answer comes when the broker is back, or has been given up.
        writer.send(Record { topic: "web", key: &customer.name, value: &value, partition: Some(customer.partition) });
    };
    let (fills, buys) = (|customer: &Customer| customer.at, |customer: &Customer| customer.at + quiet - BEFORE);
    let stops = begin + quiet - FIRST;
    let (mut filled, mut paid, mut frozen) = (0, 0, None);
    let looks = stops + pause.min(LOOK).as_millis() as i64;
    let near = cluster.broker(1).bootstrap();
    let look = move || {
        wait::until_true("the time to look", LOOK + SOON + patience, || now_millis() >= looks);
        Reader::of(&near, &["web".to_owned()]).to_the_end().len()
    };
    // Of partitions that nobody leads, nobody can say what may be read.
    let named = || std::thread::Builder::new().name("looking".to_owned());
    let looking = (!still.leads).then(|| named().spawn(look).expect("a thread"));
    while paid < customers.len() {
        let now = now_millis();
        if frozen.is_none() && now >= stops {
            cluster.broker(still.broker).freeze();
            frozen = Some(Instant::now());
        }
        while let Some(customer) = customers.get(filled).filter(|customer| fills(customer) <= now) {
            does(customer, "cart.added", now);
            filled += 1;
        }
        while let Some(customer) = customers.get(paid).filter(|customer| buys(customer) <= now) {
            does(customer, "order.completed", now);
            paid += 1;
        }
        if frozen.is_some_and(|frozen| frozen.elapsed() >= pause) {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let frozen = frozen.expect("the broker was stopped before anybody bought");
    wait::until_true("the pause to be over", pause + SOON, || frozen.elapsed() >= pause);
    let stalled = service.metric("sillage_high_watermark_stalled_seconds");
    let readable = looking.map(|looking| looking.join().expect("what can be read"));
    cluster.broker(still.broker).thaw();
    cluster.wait_until_whole(SOON * 2);
    all.iter().chain([&one]).for_each(Writer::flush);

    // What entered in time is what the brokers say that did.
    let entered = Reader::of(&direct, &["web".to_owned()]).to_the_end();
    let (mut in_time, mut by_all) = (Vec::new(), 0);
    let could = customers[..paid].iter().filter(|customer| others.contains(&customer.partition)).count();
    for customer in &customers[..paid] {
        let of = |kind: &str| {
            let is = |record: &&Published| record.key.as_deref() == Some(&customer.name) && record.json()["type"] == kind;
            entered.iter().find(is).map(|record| (record.timestamp, record.json()["occurred_at"].as_i64()))
        };
        let (Some((_, Some(filled))), Some((bought, _))) = (of("cart.added"), of("order.completed")) else { continue };
        if bought < filled + quiet {
            in_time.push(customer.name.as_str());
            by_all += usize::from(matches!(customer.acks, Acks::All(_)));
        }
    }
    assert!(in_time.len() * 2 > could, "this machine is too slow for the test: {} of {could} were in time", in_time.len());
    let outputs = ["completions", "abandonments"].map(|output| format!("stalled.{output}"));
    let read = Reader::of(&direct, &outputs).until("all purchases", SOON * 2, |read| {
        let completed = read.iter().filter(|record| record.topic == outputs[0]);
        let completed: BTreeSet<&str> = completed.filter_map(|record| record.key.as_deref()).collect();
        in_time.iter().all(|name| completed.contains(name))
    });
    let wrong: Vec<&str> = read
        .iter()
        .filter(|record| record.topic == outputs[1] && !record.json()["subject"]["episode"].is_null())
        .filter_map(|record| in_time.iter().copied().find(|name| record.key.as_deref() == Some(name)))
        .collect();
    say(&format!(
        "stalled: a broker that leads {} stood still for {pause:?}; of {} purchases in time {} were called abandoned; the \
         service saw high watermarks stand still for {stalled:.1} s together",
        if still.leads { "inputs" } else { "nothing" },
        in_time.len(),
        wrong.len()
    ));
    assert!(wrong.is_empty(), "abandoned though they had bought in time: {wrong:?}");
    if let Some(readable) = readable {
        let hidden = entered.iter().filter(|record| record.timestamp < looks).count().saturating_sub(readable);
        assert!(hidden > 0, "the high watermarks must have stood still");
    }
    (in_time.len() - by_all, by_all)
}
