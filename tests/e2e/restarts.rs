//! What Sillage knows survives its processes: killed again and again in the middle of a live load, coming and going, the
//! workers tell the same stories as the oracle, because every shard's journeys are read back from the state log.

use std::time::{Duration, Instant};

use crate::harness::clients::{Reader, group, set_offset};
use crate::harness::service::{Service, Setup};
use crate::harness::{kafka, model, now_millis, say, wait};
use crate::lifecycle::SHORT_SESSION;
use crate::load;
use crate::shop::{SOON, Shop, story, tells};
use crate::story::{ALL_PASSED, OUTPUTS, compare, expected, write_amid};

const TOUCHPOINTS: usize = 60_000;
const PARTITIONS: i32 = 6;

#[test]
fn killed_workers_know_every_journey_again() {
    let Some(kafka) = kafka() else { return };
    let seed = std::env::var("SEED").map_or(4_711, |seed| seed.parse().expect("SEED is a number"));
    let customers = load::customers(seed, TOUCHPOINTS);
    let mut shop = Shop::open(kafka, "restarts", &["app", "web"], PARTITIONS);
    shop.setup.model = model("shop.yaml");
    shop.setup.extra.push(SHORT_SESSION.to_owned());
    let start = |instance: &str| {
        let mut service = Service::start(&Setup { instance: instance.to_owned(), ..shop.setup.clone() });
        service.wait_until_ready(SOON);
        service
    };
    let mut workers = vec![start("one"), start("two")];
    let reader = Reader::of(&shop.direct, &shop.setup.output_topics(&OUTPUTS));
    let begun = Instant::now();
    let begin = now_millis() + 500;
    let mut kills = 0;
    let end = write_amid(&shop, &customers, begin, |_| {
        let victim = workers.remove(0);
        let name = victim.name().to_owned();
        victim.kill();
        kills += 1;
        // Ready means that it has read its shards' state back.
        workers.push(start(&name));
        std::thread::sleep(Duration::from_millis(500));
    });
    let expected = expected(&customers, begin, end + ALL_PASSED);
    let total = expected.values().map(Vec::len).sum::<usize>();
    reader.until("as many outcomes as the oracle tells", SOON * 4, |read| read.len() >= total);
    let published = reader.to_the_end();
    for worker in workers {
        let ended = worker.terminate();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    }
    compare(&customers, &expected, &published);
    assert!(kills >= 5, "only {kills} kills");
    say(&format!(
        "restarts, seed {seed}: {TOUCHPOINTS} touchpoints, {kills} kills, {total} outcomes as the oracle tells, {:.0} s",
        begun.elapsed().as_secs_f64()
    ));
}

#[test]
fn a_basket_that_was_open_when_everything_stopped_is_abandoned_after_the_start() {
    let Some(kafka) = kafka() else { return };
    let shop = Shop::open(kafka, "overnight", &["web"], 2);
    let service = shop.serve();
    let reader = shop.reader();
    shop.does("anna", "cart.added", 0);
    reader.until("her decision", SOON, |read| !story(read, "anna").is_empty());
    service.terminate();
    wait::until_true("the deadline to have passed", SOON, {
        let begun = Instant::now();
        move || begun.elapsed() > Duration::from_millis(crate::shop::BASKET_QUIET as u64 + 500)
    });
    let service = shop.serve();
    reader.until("the abandoned basket", SOON, |read| tells(read, "anna", "abandonment basket"));
    let read = reader.to_the_end();
    // The second of the story, not the first of a new one.
    assert_eq!(story(&read, "anna")[..2], ["transition deciding", "abandonment basket"]);
    assert_eq!(service.terminate().status.code(), Some(0));
}

#[test]
fn without_offsets_a_group_goes_on_where_the_state_log_stands_and_with_foreign_ones_it_refuses() {
    let Some(kafka) = kafka() else { return };
    let mut shop = Shop::open(kafka, "offsets", &["web"], 1);
    shop.setup.extra.push(SHORT_SESSION.to_owned());
    let service = shop.serve();
    let reader = shop.reader();
    shop.does("anna", "cart.added", 0);
    reader.until("her decision", SOON, |read| !story(read, "anna").is_empty());
    service.terminate();

    // Another group has no offsets of its own, as if they had expired.
    let setup = Setup { group: format!("{}-later", shop.setup.group), ..shop.setup.clone() };
    let mut service = Service::start(&setup);
    service.wait_until_ready(SOON);
    reader.until("the abandoned basket", SOON, |read| tells(read, "anna", "abandonment basket"));
    let log = service.log();
    assert!(log.contains("they are taken from the state log"), "{log}");
    service.terminate();
    let read = reader.to_the_end();
    assert_eq!(story(&read, "anna")[..2], ["transition deciding", "abandonment basket"], "nothing was applied again");

    // Somebody sets the first group's offsets back, when its member is not waited for any more: the state log knows better,
    // and says so.
    wait::until_true("the group to be empty", SOON, || group(&shop.direct, &shop.setup.group).1 == 0);
    set_offset(&shop.direct, &shop.setup.group, &shop.setup.inputs[0], 0, 0);
    parks(&shop.setup, &["not Sillage's (set by hand?)", "When the state log does not fit"]);
}

/// The service parks its only shard, says why, and is not ready.
pub(crate) fn parks(setup: &Setup, words: &[&str]) {
    let mut service = Service::start(setup);
    service.wait_for_line("the shard is parked", SOON);
    let log = service.log();
    assert!(words.iter().all(|word| log.contains(word)), "{log}");
    wait::until_true("the metric to tell", SOON, || service.metric("sillage_shards_missing{why=\"parked\"}") == 1.0);
    assert!(!service.is_ready());
    assert_eq!(service.terminate().status.code(), Some(0));
}

#[test]
fn journeys_of_a_model_that_is_missing_are_refused_with_the_remedy() {
    let Some(kafka) = kafka() else { return };
    let mut shop = Shop::open(kafka, "changed", &["web"], 1);
    let service = shop.serve();
    let reader = shop.reader();
    shop.does("anna", "cart.added", 0);
    reader.until("her decision", SOON, |read| !story(read, "anna").is_empty());
    service.terminate();
    shop.setup.model = model("shop.yaml");
    parks(&shop.setup, &["under the model quick, which is not among the models that run now"]);
}
