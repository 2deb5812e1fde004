//! Starting, stopping, coming and going: of workers and of brokers.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::clients::{Published, Record, Writer, committed, create_topic, group};
use crate::harness::service::{Service, Setup};
use crate::harness::{kafka, private_broker, wait};
use crate::shop::{SOON, Shop, story, tells};

const PARTITIONS: i32 = 6;
/// A member that died is missed only after its session.
pub(crate) const SHORT_SESSION: &str = "properties: { session.timeout.ms: 6000, heartbeat.interval.ms: 500 }";

/// Writes records that cannot be used until told to stop: each must become one dead letter with its origin, so the dead
/// letters show which records were applied, and how often.
struct Stream<'a> {
    shop: &'a Shop,
    stop: AtomicBool,
    written: AtomicUsize,
}

impl<'a> Stream<'a> {
    fn of(shop: &'a Shop) -> Self {
        Stream { shop, stop: AtomicBool::new(false), written: AtomicUsize::new(0) }
    }

    fn flow(&self) {
        while !self.stop.load(Ordering::Acquire) {
            for topic in &self.shop.setup.inputs {
                for partition in 0..PARTITIONS {
                    self.shop.writer.send(Record { topic, key: "k", value: b"unusable", partition: Some(partition) });
                    self.written.fetch_add(1, Ordering::AcqRel);
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.shop.writer.flush();
    }

    fn written(&self) -> usize {
        self.written.load(Ordering::Acquire)
    }

    /// Runs `work` while the stream flows.
    fn during(&self, work: impl FnOnce()) {
        std::thread::scope(|scope| {
            scope.spawn(|| self.flow());
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            self.stop.store(true, Ordering::Release);
            if let Err(panic) = ended {
                std::panic::resume_unwind(panic);
            }
        });
    }
}

fn origins(letters: &[Published]) -> BTreeSet<(String, String, String)> {
    let origin = |letter: &Published| {
        let header = |name| letter.header(name).to_owned();
        (header("sillage-topic"), header("sillage-partition"), header("sillage-offset"))
    };
    letters.iter().map(origin).collect()
}

#[test]
fn sigterm_drains_commits_and_keeps_the_place_in_the_group() {
    let Some(kafka) = kafka() else { return };
    let shop = Shop::open(kafka, "drain", &["web", "app"], PARTITIONS);
    let service = shop.serve();
    let dead = shop.dead_letters();
    let stream = Stream::of(&shop);
    stream.during(|| {
        dead.until("some records", SOON, |read| read.len() > 2_000);
        let begun = Instant::now();
        let ended = service.terminate();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
        assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
    });
    // What is committed is exactly what was published, and its place is kept until its session ends (45 s).
    assert_eq!(group(&shop.direct, &shop.setup.group).1, 1);
    let letters = dead.to_the_end();
    let applied: i64 =
        shop.setup.inputs.iter().flat_map(|input| committed(&shop.direct, &shop.setup.group, input, PARTITIONS)).sum();
    assert_eq!((letters.len() as i64, origins(&letters).len() as i64), (applied, applied));
    assert!(letters.len() < stream.written(), "the signal came in the middle");

    let begun = Instant::now();
    let service = shop.serve();
    assert!(begun.elapsed() < Duration::from_secs(10), "the same member has its shards at once: {:?}", begun.elapsed());
    let letters = dead.until("the rest", SOON, |read| read.len() >= stream.written());
    assert_eq!((letters.len(), origins(&letters).len()), (stream.written(), stream.written()));
    assert!(service.terminate().status.success());
}

#[test]
fn workers_that_join_leave_and_die_lose_and_double_nothing() {
    join_leave_and_die("rebalance", SHORT_SESSION);
}

/// KIP-848: the brokers deal the shards, and only those that move are given up.
#[test]
fn with_the_consumer_protocol_they_lose_and_double_nothing_either() {
    join_leave_and_die("rebalance-848", "group_protocol: consumer");
}

fn join_leave_and_die(name: &str, line: &str) {
    let Some(kafka) = kafka() else { return };
    let mut shop = Shop::open(kafka, name, &["web", "app"], PARTITIONS);
    shop.setup.extra.push(line.to_owned());
    let member = |instance: &str| {
        let mut service = Service::start(&Setup { instance: instance.to_owned(), ..shop.setup.clone() });
        service.wait_until_ready(SOON);
        service
    };
    let first = member("one");
    let dead = shop.dead_letters();
    let stream = Stream::of(&shop);
    let more = |what: &str, count: usize| {
        let target = stream.written() + count;
        dead.until(what, SOON * 2, |read| read.len() >= target);
    };
    stream.during(|| {
        more("records by one worker", 2_000);
        let second = member("two");
        wait::until_true("both to have their half", SOON, || {
            first.metric("sillage_shards_assigned") == 3.0 && second.metric("sillage_shards_assigned") == 3.0
        });
        more("records by two workers", 4_000);
        let third = member("three");
        more("records by three workers", 2_000);
        let ended = second.terminate();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
        more("records by two workers again", 2_000);
        third.kill();
        wait::until_true("the one that is left to have all", SOON, || first.metric("sillage_shards_assigned") == 6.0);
        more("records by the one that is left", 2_000);
    });
    dead.until("everything", SOON, |read| read.len() >= stream.written());
    let letters = dead.to_the_end();
    assert_eq!((letters.len(), origins(&letters).len()), (stream.written(), stream.written()));
    let ended = first.terminate();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
}

#[test]
fn the_latest_start_is_kept_even_if_nothing_was_committed_since() {
    let Some(kafka) = kafka() else { return };
    let mut shop = Shop::open(kafka, "latest", &["web", "app"], 2);
    shop.setup.start = "latest";
    shop.setup.extra.push(SHORT_SESSION.to_owned());
    shop.does("before", "cart.added", 0);
    let service = shop.serve();
    service.kill();
    // What comes now is new, though the worker that decided what "latest" is has died without any commit of its own.
    shop.does("between", "cart.added", 1);
    let service = shop.serve();
    shop.does("after", "cart.added", 0);
    let reader = shop.reader();
    let all = ["between", "after"];
    let read = reader.until("what is new", SOON * 2, |read| all.iter().all(|who| tells(read, who, "transition deciding")));
    assert!(story(&read, "before").is_empty(), "what came before the first start is not read");
    assert!(service.terminate().status.success());
}

#[test]
fn without_a_broker_it_says_so_and_waits_or_exits() {
    let Some(broker) = private_broker() else { return };
    let mut setup = Setup {
        brokers: broker.bootstrap(),
        group: "group".to_owned(),
        instance: "one".to_owned(),
        inputs: vec!["web".to_owned()],
        output: "out".to_owned(),
        model: crate::harness::model("quick.yaml"),
        start: "earliest",
        commit_interval: "100ms",
        extra: Vec::new(),
        arguments: vec!["--exit-on-unreachable"],
    };
    let begun = Instant::now();
    let ended = Service::start(&setup).wait_for_end(SOON);
    assert_eq!(ended.status.code(), Some(2), "{}", ended.log);
    assert!(ended.log.contains(&setup.brokers) && ended.log.contains("no broker answers"), "{}", ended.log);
    assert!(begun.elapsed() > Duration::from_secs(9), "it gave up after {:?}", begun.elapsed());

    setup.arguments.clear();
    let begun = Instant::now();
    let mut service = Service::start(&setup);
    service.wait_for_line("no broker answers", Duration::from_secs(14));
    assert!(begun.elapsed() > Duration::from_secs(9), "it complained after {:?}", begun.elapsed());
    broker.start();
    service.wait_until_ready(SOON * 2);
    create_topic(&broker.bootstrap(), "unrelated", 1, &[]);

    // A broker that dies and comes back is no reason to end, nor to forget.
    let direct = broker.bootstrap();
    let shop = Shop { writer: Writer::new(&direct), direct, setup };
    let reader = shop.reader();
    shop.does("before", "cart.added", 0);
    shop.does("across", "cart.added", 0);
    reader.until("what came before", SOON, |read| tells(read, "across", "transition deciding"));
    broker.kill();
    broker.start();
    shop.does("across", "order.completed", 0);
    shop.does("after", "product.viewed", 0);
    let read = reader.until("what came after", SOON * 2, |read| {
        tells(read, "across", "transition bought") && tells(read, "after", "transition browsing")
    });
    let mut across = story(&read, "across");
    // The broker may have been away for longer than the basket's span.
    across.retain(|line| !line.starts_with("abandonment") && !line.starts_with("recovery"));
    assert_eq!(across, ["transition deciding", "completion basket", "transition bought"]);
    wait::until_true("the group to be whole", SOON, || group(&shop.direct, "group") == ("Stable".to_owned(), 1));

    // Nothing is left to commit, so it needs no broker to end well.
    broker.kill();
    let ended = service.terminate();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
}
