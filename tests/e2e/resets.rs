//! A stopped service is set back or forward: to tell everything again, or to leave something out for ever.

use std::collections::BTreeMap;

use crate::harness::clients::{Published, Record, committed, delete_before, group, set_offset};
use crate::harness::command::Configured;
use crate::harness::service::Service;
use crate::harness::{kafka, model, now_millis, wait};
use crate::lifecycle::SHORT_SESSION;
use crate::moving::{on_store, post, serve_store_with};
use crate::shop::{SOON, Shop, story, tells, touchpoint};

/// How often each outcome was published, by its bytes.
fn counted(published: &[Published]) -> BTreeMap<Vec<u8>, usize> {
    let mut counted = BTreeMap::new();
    for outcome in published {
        *counted.entry(outcome.value.clone().unwrap_or_default()).or_default() += 1;
    }
    counted
}

#[test]
fn reset_to_the_beginning_without_the_state_tells_the_same_again() {
    let Some(kafka) = kafka() else { return };
    let mut shop = Shop::open(kafka, "again", &["web", "app"], 3);
    shop.setup.extra.push(SHORT_SESSION.to_owned());
    let service = shop.serve();
    let reader = shop.reader();
    for number in 0..12 {
        shop.does(&format!("c{number}"), "product.viewed", 0);
        shop.does(&format!("c{number}"), "cart.added", 1);
    }
    for number in 0..4 {
        shop.does(&format!("c{number}"), "order.completed", 0);
    }
    // Transitions, completions, abandonments of baskets and of stages.
    let total = 24 + 2 * 4 + 2 * 8;
    reader.until("everything", SOON, |read| read.len() >= total);
    let commands = Configured::kafka(&shop.setup);
    let reset = ["--to", "earliest", "--state", "drop"];
    // Not while the service runs, and not without a yes.
    commands.run(&["reset"], &[&reset[..], &["--yes"]].concat(), b"").refused("members of group");
    assert_eq!(service.terminate().status.code(), Some(0));
    let places = || {
        let of = |input: &String| committed(&shop.direct, &shop.setup.group, input, 3);
        shop.setup.inputs.iter().flat_map(of).collect::<Vec<_>>()
    };
    let before = places();
    let said = commands.run(&["reset"], &reset, b"").refused("nothing was done; add --yes").text();
    assert!(said.contains("12 customers are dropped") && said.contains("again"), "{said}");
    assert_eq!(places(), before);
    commands.run(&["reset"], &[&reset[..], &["--yes"]].concat(), b"").fine();
    assert!(places().iter().all(|offset| *offset == 0), "{:?}", places());
    assert!(commands.run(&["state", "verify"], &[], b"").fine().text().contains("all is well"));
    assert!(commands.run(&["state", "export"], &[], b"").fine().err.contains("0 customers"));

    let service = shop.serve();
    let read = reader.until("everything again", SOON, |read| read.len() >= 2 * total);
    assert_eq!(service.terminate().status.code(), Some(0));
    let read = if read.len() == 2 * total { reader.to_the_end() } else { read };
    let counted = counted(&read);
    assert_eq!((read.len(), counted.len()), (2 * total, total), "the same bytes, and so the same ids");
    assert!(counted.values().all(|times| *times == 2));
}

#[test]
fn reset_to_the_end_with_the_state_skips_what_lies_between_and_heals_offsets_that_somebody_set() {
    let Some(kafka) = kafka() else { return };
    let mut shop = Shop::open(kafka, "skip", &["web"], 1);
    shop.setup.extra.push(SHORT_SESSION.to_owned());
    let service = shop.serve();
    let reader = shop.reader();
    shop.does("anna", "product.viewed", 0);
    reader.until("her visit", SOON, |read| tells(read, "anna", "transition browsing"));
    assert_eq!(service.terminate().status.code(), Some(0));
    shop.does("anna", "order.completed", 0);
    shop.does("bob", "cart.added", 0);
    // Somebody set the offsets by hand: a service would park the shard.
    wait::until_true("the group to be empty", SOON, || group(&shop.direct, &shop.setup.group).1 == 0);
    set_offset(&shop.direct, &shop.setup.group, &shop.setup.inputs[0], 0, 0);
    let commands = Configured::kafka(&shop.setup);
    commands.run(&["state", "verify"], &[], b"").refused("1 things are wrong");
    let said = commands.run(&["reset"], &["--to", "latest", "--state", "keep", "--yes"], b"").fine().text();
    assert!(said.contains("1 customers are kept; 3 records never count for them"), "{said}");
    assert!(commands.run(&["state", "verify"], &[], b"").fine().text().contains("all is well"));
    let service = shop.serve();
    shop.does("anna", "cart.added", 0);
    reader.until("her decision", SOON, |read| tells(read, "anna", "transition deciding"));
    assert_eq!(service.terminate().status.code(), Some(0));
    let read = reader.to_the_end();
    // She goes on where she was, and what lay between was never there.
    assert_eq!(story(&read, "anna")[..2], ["transition browsing", "transition deciding"]);
    assert!(story(&read, "bob").is_empty(), "{:?}", story(&read, "bob"));
}

/// The order to erase is read again with the touchpoints, and after them (docs/privacy.md, "Reading again").
#[test]
fn reset_to_the_beginning_with_the_state_brings_nobody_back_who_was_erased() {
    let Some(kafka) = kafka() else { return };
    let mut shop = Shop::open(kafka, "erased", &["web"], 2);
    // The least of all buffers: an input is paused and resumed with every record.
    shop.setup.extra.extend([SHORT_SESSION.to_owned(), "buffered_records: 1".to_owned()]);
    let service = shop.serve();
    let reader = shop.reader();
    for who in ["anna", "bob", "carla", "dora"] {
        shop.does(who, "product.viewed", 0);
        shop.does(who, "product.viewed", 0);
        reader.until("the visit", SOON, |read| tells(read, who, "transition browsing"));
    }
    service.until_known(200, "anna");
    assert_eq!(service.erase("anna"), 202);
    service.until_known(404, "anna");
    assert_eq!(service.terminate().status.code(), Some(0));
    let commands = Configured::kafka(&shop.setup);
    let said = commands.run(&["reset"], &["--to", "earliest", "--state", "keep", "--yes"], b"").fine().text();
    assert!(said.contains("3 customers are kept, and 8 records"), "{said}");
    // Whoever came after the order stays.
    shop.does("emil", "product.viewed", 0);
    let service = shop.serve();
    reader.until("a new visit", SOON, |read| tells(read, "emil", "transition browsing"));
    service.until_known(404, "anna");
    ["bob", "carla", "dora", "emil"].iter().for_each(|who| service.until_known(200, who));
    assert_eq!(service.terminate().status.code(), Some(0));
    let said = commands.run(&["state", "export"], &[], b"").fine();
    assert!(said.err.contains("4 customers"), "{}", said.err);
}

#[test]
fn a_shard_whose_records_retention_has_deleted_is_parked_and_a_reset_leaves_them_out() {
    let Some(kafka) = kafka() else { return };
    let mut shop = Shop::open(kafka, "deleted", &["web"], 2);
    // Everybody stays where the test puts them.
    shop.setup.extra.extend([SHORT_SESSION.to_owned(), "misrouted: apply".to_owned()]);
    let writes = |who: &str, partition: i32| {
        let (topic, value) = (&shop.setup.inputs[0], touchpoint(who, "product.viewed", now_millis()));
        shop.writer.write(Record { topic, key: who, value: &value, partition: Some(partition) });
    };
    let service = shop.serve();
    let reader = shop.reader();
    writes("anna", 0);
    writes("bob", 1);
    let visits = |read: &[Published], all: &[&str]| all.iter().all(|who| tells(read, who, "transition browsing"));
    reader.until("their visits", SOON, |read| visits(read, &["anna", "bob"]));
    assert_eq!(service.terminate().status.code(), Some(0));
    writes("carla", 0);
    writes("dora", 0);
    writes("emil", 1);
    delete_before(&shop.direct, &shop.setup.inputs[0], 0, 2);
    let mut service = Service::start(&shop.setup);
    service.wait_for_line("retention has deleted what lies between", SOON);
    reader.until("the other partition to go on", SOON, |read| visits(read, &["emil"]));
    assert!(!service.is_ready());
    assert_eq!(service.metric("sillage_shards_missing{why=\"parked\"}"), 1.0);
    assert_eq!(service.terminate().status.code(), Some(0));
    let commands = Configured::kafka(&shop.setup);
    commands.run(&["state", "verify"], &[], b"").refused("1 things are wrong");
    commands.run(&["reset"], &["--to", "earliest", "--state", "keep", "--yes"], b"").fine();
    let service = shop.serve();
    reader.until("what is left", SOON, |read| visits(read, &["dora"]));
    assert_eq!((service.look_up("anna"), service.look_up("carla")), (200, 404));
    assert_eq!(service.terminate().status.code(), Some(0));
}

#[test]
fn the_embedded_log_tells_the_same_again_from_what_it_has_kept() {
    let folder = tempfile::Builder::new().prefix("sillage-e2e-reset-").tempdir().expect("a temporary directory");
    let service = serve_store_with(folder.path(), "quick.yaml", 3);
    for number in 0..10 {
        post(&service, &format!("c{number}"), "product.viewed");
        post(&service, &format!("c{number}"), "cart.added");
    }
    for number in 0..4 {
        post(&service, &format!("c{number}"), "order.completed");
    }
    let total = 20 + 2 * 4 + 2 * 6;
    wait::until_true("everything", SOON, || on_store(&service).len() >= total);
    assert_eq!(service.terminate().status.code(), Some(0));
    let commands = Configured::embedded(folder.path(), &model("quick.yaml"), 3);
    let reset = ["--to", "earliest", "--state", "drop", "--yes"];
    let said = commands.run(&["reset"], &reset, b"").fine().text();
    assert!(said.contains("10 customers are dropped"), "{said}");
    let service = serve_store_with(folder.path(), "quick.yaml", 3);
    wait::until_true("everything again", SOON, || on_store(&service).len() >= 2 * total);
    let told = on_store(&service);
    let mut counted: BTreeMap<String, usize> = BTreeMap::new();
    told.iter().for_each(|(outcome, _)| *counted.entry(outcome.to_string()).or_default() += 1);
    assert_eq!((told.len(), counted.len()), (2 * total, total));
    assert!(counted.values().all(|times| *times == 2));
    assert_eq!(service.terminate().status.code(), Some(0));
}
