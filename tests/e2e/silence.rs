//! Absence: noticed in time, and only where it is true.

use std::time::Duration;

use crate::harness::clients::{Record, Writer};
use crate::harness::{kafka, now_millis, say};
use crate::shop::{BASKET_QUIET, SOON, STAGE_QUIET, Shop, outcome, story, tells, touchpoint};

/// settle + commit interval + 1 s.
const AFTER_DEADLINE: i64 = 50 + 100 + 1_000;

#[test]
fn when_input_stops_abandonments_come_within_their_time() {
    let Some(kafka) = kafka() else { return };
    let shop = Shop::open(kafka, "silence", &["web", "app"], 3);
    let _service = shop.serve();
    let reader = shop.reader();
    let customers: Vec<String> = (0..12).map(|number| format!("quiet-{number}")).collect();
    let begun: Vec<i64> =
        customers.iter().enumerate().map(|(number, customer)| shop.does(customer, "cart.added", number % 2)).collect();

    let mut latest = i64::MIN;
    for (subject, quiet) in [("basket", BASKET_QUIET), ("deciding", STAGE_QUIET)] {
        let line = format!("abandonment {subject}");
        for (customer, begun) in customers.iter().zip(&begun) {
            let read = reader.until(&line, SOON, |read| tells(read, customer, &line));
            let (deadline, seen) = (begun + quiet, now_millis());
            let record = outcome(&read, customer, "abandonment", subject);
            let published = record.timestamp;
            assert!(published >= deadline, "{customer}: {line} was published {} ms early", deadline - published);
            assert!(published <= deadline + AFTER_DEADLINE, "{customer}: {line} came {} ms late", published - deadline);
            latest = latest.max(seen - deadline);
        }
    }
    // Read in the order of the deadlines, so what was seen late was late, or read late behind another one.
    assert!(latest <= AFTER_DEADLINE, "an abandonment was readable only {latest} ms after its deadline");
    for customer in &customers {
        let expected = ["transition deciding", "abandonment basket", "abandonment deciding"];
        assert_eq!(story(&reader.to_the_end(), customer), expected, "{customer}");
    }
    say(&format!("silence: the latest abandonment could be read {latest} ms after its deadline"));
}

#[test]
fn an_open_upstream_transaction_holds_time_until_it_ends() {
    let Some(kafka) = kafka() else { return };
    let shop = Shop::open(kafka, "upstream", &["web"], 1);
    let topic = shop.setup.inputs[0].as_str();
    let service = shop.serve();
    let reader = shop.reader();
    let upstream = Writer::transactional(&shop.direct, &format!("{}-upstream", shop.setup.group));
    let purchase = |customer: &str| {
        let value = touchpoint(customer, "order.completed", now_millis());
        upstream.write(Record { topic, key: customer, value: &value, partition: None });
    };
    let behind = || service.metric("sillage_stream_time_behind_seconds");

    // The purchase stands in the log before the deadline, in a transaction that is committed after it.
    shop.does("buys", "cart.added", 0);
    upstream.begin();
    purchase("buys");
    crate::harness::wait::until_true("stream time to be held past the deadline", SOON, || behind() > 6.0);
    assert_eq!(story(&reader.to_the_end(), "buys"), ["transition deciding"]);
    upstream.commit();
    let read = reader.until("the purchase", SOON, |read| tells(read, "buys", "transition bought"));
    let bought = ["transition deciding", "completion basket", "transition bought"];
    assert_eq!(story(&read, "buys"), bought);
    crate::harness::wait::until_true("stream time to go on", SOON, || behind() < 1.0);

    // The same, but the purchase is taken back: the absence is true, and told once it is known to be.
    shop.does("regrets", "cart.added", 0);
    upstream.begin();
    purchase("regrets");
    crate::harness::wait::until_true("stream time to be held past the deadline", SOON, || behind() > 6.0);
    assert_eq!(story(&reader.to_the_end(), "regrets"), ["transition deciding"]);
    let undone = now_millis();
    upstream.abort();
    let read = reader.until("the abandonment", SOON, |read| tells(read, "regrets", "abandonment basket"));
    assert!(outcome(&read, "regrets", "abandonment", "basket").timestamp >= undone);
    assert_eq!(story(&read, "buys"), bought);

    // Somebody else's transaction stands open, and the purchase behind it: a reader of committed records cannot see it yet.
    crate::harness::wait::until_true("stream time to go on again", SOON, || behind() < 1.0);
    shop.does("waits", "cart.added", 0);
    upstream.begin();
    purchase("somebody else");
    shop.does("waits", "order.completed", 0);
    crate::harness::wait::until_true("stream time to be held past the deadline", SOON, || behind() > 6.0);
    assert_eq!(story(&reader.to_the_end(), "waits"), ["transition deciding"]);
    upstream.abort();
    let read = reader.until("the purchase behind", SOON, |read| tells(read, "waits", "transition bought"));
    assert_eq!(story(&read, "waits"), bought);
}

#[test]
fn a_worker_cut_off_from_the_broker_takes_no_silence_for_granted() {
    let Some(kafka) = kafka() else { return };
    let Some(proxy) = kafka.proxy() else { return };
    let mut shop = Shop::open(kafka, "frozen", &["web", "app"], 1);
    shop.setup.brokers = proxy.address();
    let _service = shop.serve();
    let reader = shop.reader();

    let mut deadlines = Vec::new();
    for customer in ["same", "other"] {
        deadlines.push(shop.does(customer, "cart.added", 0) + BASKET_QUIET);
    }
    reader.until("the baskets", SOON, |read| tells(read, "other", "transition deciding"));
    proxy.freeze();
    for (customer, input) in [("same", 0), ("other", 1)] {
        let acknowledged_by = shop.does(customer, "order.completed", input).max(now_millis());
        assert!(deadlines.iter().all(|deadline| acknowledged_by < *deadline), "this machine is too slow for the test");
    }
    let thaw_at = deadlines[1] + 2_000;
    crate::harness::wait::until_true("the deadlines to pass", SOON, || now_millis() > thaw_at);
    proxy.thaw();
    // A basket of later proves that stream time has passed the deadlines.
    shop.does("later", "cart.added", 0);
    let read = reader.until("an abandonment of later", SOON, |read| tells(read, "later", "abandonment basket"));
    for customer in ["same", "other"] {
        assert_eq!(story(&read, customer), ["transition deciding", "completion basket", "transition bought"], "{customer}");
    }
}

#[test]
fn a_connection_that_comes_and_goes_loses_and_doubles_nothing() {
    let Some(kafka) = kafka() else { return };
    let Some(proxy) = kafka.proxy() else { return };
    let mut shop = Shop::open(kafka, "shaky", &["web"], 2);
    shop.setup.brokers = proxy.address();
    let service = shop.serve();
    let reader = shop.reader();
    let customers: Vec<String> = (0..120).map(|number| format!("shaky-{number}")).collect();
    for (number, customer) in customers.iter().enumerate() {
        shop.does(customer, "cart.added", 0);
        shop.does(customer, "order.completed", 0);
        match number % 12 {
            3 => proxy.cut(),
            6 => proxy.freeze(),
            9 => proxy.thaw(),
            _ => {}
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let done = |read: &[_]| customers.iter().all(|customer| tells(read, customer, "transition bought"));
    // Looking at every story is slow; three per customer are awaited first.
    reader.until("all outcomes", SOON * 2, |read| read.len() >= customers.len() * 3 && done(read));
    let read = reader.to_the_end();
    for customer in &customers {
        assert_eq!(story(&read, customer), ["transition deciding", "completion basket", "transition bought"], "{customer}");
    }
    assert!(service.terminate().status.success());
}
