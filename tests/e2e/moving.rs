//! Journeys move: out of the embedded log into Kafka and back, while their baskets are open. What is awaited comes at its
//! instant, once, wherever the journey is then. And they can be looked at and checked wherever they are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::clients::{Published, Record};
use crate::harness::command::Configured;
use crate::harness::service::{Service, Setup};
use crate::harness::{kafka, model, now_millis, say, wait};
use crate::lifecycle::SHORT_SESSION;
use crate::shop::{SOON, Shop, touchpoint};

/// Spans of `models/patient.yaml`, in milliseconds.
const BASKET: i64 = 20_000;
const STAGE: i64 = 40_000;
/// Everything that is awaited has come then.
const ALL: Duration = Duration::from_secs(120);

/// What was published about a customer, in the order of the sequence: kind and what about, when by its own word, and when it
/// stood in the log at the latest (0 where that is not known).
type Told = Vec<(String, i64, i64)>;

/// What was told in all places, by customer. No outcome comes twice, and no number of a sequence is missing or comes twice.
fn told(all: &[(Value, i64)]) -> BTreeMap<String, Told> {
    let mut told: BTreeMap<String, BTreeMap<u64, (String, i64, i64)>> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for (outcome, stood) in all {
        assert!(ids.insert(outcome["outcome_id"].to_string()), "an outcome comes twice: {outcome}");
        let about = &outcome["subject"];
        let place = [&outcome["to"], &about["stage"], &about["episode"]];
        let place = place.into_iter().find_map(Value::as_str).unwrap_or_default();
        let line = format!("{} {place}", outcome["kind"].as_str().expect("a kind"));
        let at: jiff::Timestamp = outcome["at"].as_str().expect("an instant").parse().expect("an instant");
        let customer = outcome["customer_id"].as_str().expect("a customer").to_owned();
        let sequence = outcome["sequence"].as_u64().expect("a number");
        let before = told.entry(customer).or_default().insert(sequence, (line, at.as_millisecond(), *stood));
        assert!(before.is_none(), "number {sequence} comes twice: {outcome}, before: {before:?}");
    }
    let whole = |(customer, told): (String, BTreeMap<u64, (String, i64, i64)>)| {
        let numbers: Vec<u64> = told.keys().copied().collect();
        assert_eq!(numbers, (1..=told.len() as u64).collect::<Vec<_>>(), "{customer}");
        (customer, told.into_values().collect())
    };
    told.into_iter().map(whole).collect()
}

fn on_kafka(published: &[Published]) -> Vec<(Value, i64)> {
    published.iter().map(|outcome| (outcome.json(), outcome.timestamp)).collect()
}

/// Everything that a service on the embedded log has published.
pub(crate) fn on_store(service: &Service) -> Vec<(Value, i64)> {
    let url = format!("http://{}/v1/outcomes?limit=10000", service.address().expect("an address").trim());
    let text = ureq::get(url).call().expect("an answer").body_mut().read_to_string().expect("text");
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).expect("JSON");
        (line["outcome"].take(), 0)
    };
    text.lines().map(line).collect()
}

pub(crate) fn post(service: &Service, customer: &str, kind: &str) -> i64 {
    let at = now_millis();
    let url = format!("http://{}/v1/touchpoints", service.address().expect("an address").trim());
    let mut value: Value = serde_json::from_slice(&touchpoint(customer, kind, at)).expect("JSON");
    value["event_id"] = format!("{customer}-{kind}").into();
    ureq::post(url).content_type("application/json").send(value.to_string()).expect("accepted");
    at
}

fn count(told: &Told, line: &str) -> usize {
    told.iter().filter(|(told, ..)| told == line).count()
}

fn serve_store(folder: &Path, partitions: u32) -> Service {
    serve_store_with(folder, "patient.yaml", partitions)
}

pub(crate) fn serve_store_with(folder: &Path, name: &str, partitions: u32) -> Service {
    let mut service = Service::start_embedded_with(folder, &model(name), partitions);
    service.wait_until_ready(SOON);
    service
}

#[test]
fn open_baskets_move_to_kafka_and_back_and_are_abandoned_once_each_at_its_instant() {
    let Some(kafka) = kafka() else { return };
    let folder = tempfile::Builder::new().prefix("sillage-e2e-moving-").tempdir().expect("a temporary directory");
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let mut shop = Shop::open(kafka, "moving", &["web"], 3);
    shop.setup.model = model("patient.yaml");
    shop.setup.extra.push(SHORT_SESSION.to_owned());
    shop.setup.start = "latest";
    let model = model("patient.yaml");
    let begun = Instant::now();

    // Thirty baskets on the embedded log, some of them bought there.
    let service = serve_store(&first, 4);
    let mut opened: BTreeMap<String, i64> = BTreeMap::new();
    for number in 0..30 {
        let customer = format!("c{number}");
        let at = post(&service, &customer, "cart.added");
        opened.insert(customer, at);
    }
    for number in 0..6 {
        post(&service, &format!("c{number}"), "order.completed");
    }
    wait::until_true("all to be told", SOON, || on_store(&service).len() >= 30 + 2 * 6);
    let mut all = on_store(&service);
    assert_eq!(service.terminate().status.code(), Some(0));

    // To Kafka, into other partitions.
    let store = Configured::embedded(&first, &model, 4);
    assert!(store.run(&["state", "verify"], &[], b"").fine().text().contains("all is well"));
    let export = store.run(&["state", "export"], &[], b"").fine().out;
    let group = Configured::kafka(&shop.setup);
    let said = group.run(&["state", "import"], &[], &export).fine();
    assert!(said.err.contains("30 customers are in 3 partitions"), "{}", said.err);
    let service = shop.serve();
    let reader = shop.reader();
    for number in 6..12 {
        shop.does(&format!("c{number}"), "order.completed", 0);
    }
    // New ones here, to be moved back.
    for number in 0..12 {
        let customer = format!("k{number}");
        let at = shop.does(&customer, "cart.added", 0);
        opened.insert(customer, at);
    }
    let abandoned = |read: &[Published], who: &str| {
        let of = |outcome: &Value| {
            outcome["kind"] == "abandonment"
                && outcome["subject"]["episode"] == "basket"
                && outcome["customer_id"].as_str().is_some_and(|customer| customer.starts_with(who))
        };
        read.iter().map(Published::json).filter(of).count()
    };
    reader.until("the baskets that moved to be abandoned", ALL, |read| abandoned(read, "c") >= 18);
    reader.until("the new ones to be there", SOON, |read| {
        let told = |outcome: &Value| outcome["customer_id"].as_str().is_some_and(|customer| customer.starts_with('k'));
        read.iter().map(Published::json).filter(told).count() >= 12
    });
    assert_eq!(service.terminate().status.code(), Some(0));
    let published = reader.to_the_end();
    let on_time_here = abandoned(&published, "k");
    all.extend(on_kafka(&published));

    // And back, with what is still awaited: baskets of the new ones, stages of the old ones.
    assert!(group.run(&["state", "verify"], &[], b"").fine().text().contains("all is well"));
    let export = group.run(&["state", "export"], &[], b"").fine().out;
    let store = Configured::embedded(&second, &model, 5);
    let said = store.run(&["state", "import"], &[], &export).fine();
    assert!(said.err.contains("42 customers are in 5 partitions"), "{}", said.err);
    let service = serve_store(&second, 5);
    let stages = |all: &[(Value, i64)]| all.iter().filter(|(outcome, _)| outcome["subject"]["stage"] == "deciding").count();
    let so_far = stages(&all);
    wait::until_true("everything that was awaited", ALL, || so_far + stages(&on_store(&service)) >= 18 + 12);
    all.extend(on_store(&service));
    assert_eq!(service.terminate().status.code(), Some(0));

    let told = told(&all);
    assert_eq!(told.len(), 42);
    for (customer, at) in &opened {
        let (told, bought) =
            (&told[customer], customer.starts_with('c') && customer[1..].parse::<u32>().is_ok_and(|n| n < 12));
        let due = usize::from(!bought);
        assert_eq!(count(told, "transition deciding"), 1, "{customer}: {told:?}");
        assert_eq!(count(told, "completion basket"), 1 - due, "{customer}: {told:?}");
        assert_eq!(count(told, "abandonment basket"), due, "{customer}: {told:?}");
        assert_eq!(count(told, "abandonment deciding"), due, "{customer}: {told:?}");
        for (line, instant, stood) in told {
            let span = match line.as_str() {
                "abandonment basket" => BASKET,
                "abandonment deciding" => STAGE,
                _ => continue,
            };
            assert_eq!(*instant, at + span, "{customer}: {line}");
            assert!(*stood == 0 || *stood >= *instant, "{customer}: {line} came {} ms early", instant - stood);
        }
    }
    say(&format!(
        "moving: 30 customers to Kafka, 42 back, {} outcomes, {on_time_here} of the new baskets were abandoned before they \
         moved, {:.0} s",
        all.len(),
        begun.elapsed().as_secs_f64()
    ));
}

#[test]
fn an_import_is_whole_or_nothing_and_goes_nowhere_where_journeys_are_already() {
    let Some(kafka) = kafka() else { return };
    let folder = tempfile::Builder::new().prefix("sillage-e2e-import-").tempdir().expect("a temporary directory");
    let (patient, first) = (model("patient.yaml"), folder.path().join("first"));
    let service = serve_store(&first, 2);
    for number in 0..20 {
        post(&service, &format!("c{number}"), "product.viewed");
    }
    wait::until_true("all to be told", SOON, || on_store(&service).len() >= 20);
    // While it runs, it can be looked at.
    let store = Configured::embedded(&first, &patient, 2);
    let said = store.run(&["state", "inspect"], &["c7"], b"").fine().text();
    assert!(said.contains("customer c7") && said.contains("stage      browsing, since"), "{said}");
    store.run(&["state", "inspect"], &["c77"], b"").refused("nothing is known of the customer c77");
    store.run(&["state", "inspect"], &["c7", "--anonymous"], b"").refused("nothing is known of the anonymous customer c7");
    assert!(store.run(&["state", "verify"], &[], b"").fine().text().contains("all is well"));
    let export = store.run(&["state", "export"], &[], b"").fine().out;
    let importing = store.run(&["state", "import"], &[], &export);
    assert_eq!(importing.code, Some(2), "{}", importing.err);
    assert!(importing.err.contains("is in use by another Sillage"), "{}", importing.err);
    service.terminate();

    let lines: Vec<&[u8]> = export.split_inclusive(|byte| *byte == b'\n').collect();
    assert_eq!(lines.len(), 22);
    let (cut, doubled) = (lines[..15].concat(), [&lines[..2], &lines[1..]].concat().concat());
    let mut shop = Shop::open(kafka, "import", &["web"], 2);
    shop.setup.model = patient.clone();
    shop.setup.extra.push(SHORT_SESSION.to_owned());
    let other = Setup { model: model("quick.yaml"), ..shop.setup.clone() };
    let second = folder.path().join("second");
    for target in [Configured::embedded(&second, &patient, 3), Configured::kafka(&shop.setup)] {
        let import = |input: &[u8]| target.run(&["state", "import"], &[], input);
        import(&cut).refused("the export is cut off after 14 customers");
        import(&doubled).refused("comes a second time");
        import(b"").refused("the export is empty");
        assert!(target.run(&["state", "export"], &[], b"").fine().err.contains("0 customers"), "nothing is left of it");
        assert!(import(&export).fine().err.contains("20 customers"));
        import(&export).refused("already");
        assert_eq!(target.run(&["state", "export"], &[], b"").fine().out.split(|byte| *byte == b'\n').count(), 23);
        let said = target.run(&["state", "inspect"], &["c7", "--json"], b"").fine();
        let shown: Value = serde_json::from_slice(&said.out).expect("JSON");
        assert_eq!((&shown["customer_id"], &shown["journeys"][0]["stage"]["stage"]), (&"c7".into(), &"browsing".into()));
        assert!(target.run(&["state", "verify"], &[], b"").fine().text().contains("all is well"));
    }
    Configured::kafka(&other).run(&["state", "import"], &[], &export).refused("is not among the models that run now");

    // Not while somebody is there, whoever deals the partitions.
    let service = shop.serve();
    Configured::kafka(&shop.setup).run(&["state", "import"], &[], &export).refused("1 members of group");
    service.terminate();
    let mut shop = Shop::open(kafka, "import-848", &["web"], 2);
    shop.setup.model = patient;
    shop.setup.extra.push("group_protocol: consumer".to_owned());
    let target = Configured::kafka(&shop.setup);
    let service = shop.serve();
    target.run(&["state", "import"], &[], &export).refused("1 members of group");
    service.terminate();
    assert!(target.run(&["state", "import"], &[], &export).fine().err.contains("20 customers"));
}

#[test]
fn a_state_log_that_something_else_wrote_to_is_found_out() {
    let Some(kafka) = kafka() else { return };
    let shop = Shop::open(kafka, "verify", &["web"], 2);
    let service = shop.serve();
    let reader = shop.reader();
    for number in 0..30 {
        shop.does(&format!("c{number}"), "product.viewed", 0);
    }
    reader.until("all to be told", SOON, |read| read.len() >= 30);
    // While commits go on beside it as well.
    let group = Configured::kafka(&shop.setup);
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                if over.load(std::sync::atomic::Ordering::Acquire) {
                    break;
                }
                shop.does(&format!("d{number}"), "product.viewed", 0);
            }
        });
        let said = group.run(&["state", "verify"], &[], b"");
        over.store(true, std::sync::atomic::Ordering::Release);
        assert!(said.fine().text().contains("all is well"));
    });
    service.terminate();
    let said = group.run(&["state", "verify"], &[], b"").fine().text();
    assert!(said.contains("all is well") && said.contains("bytes of log"), "{said}");
    let topic = format!("{}.state", shop.setup.output);
    shop.writer.write(Record { topic: &topic, key: "k", value: b"no page", partition: Some(1) });
    let said = group.run(&["state", "verify"], &[], b"").refused("1 things are wrong").text();
    assert!(said.contains("wrong: partition 1: ") && said.contains("page of"), "{said}");
}
