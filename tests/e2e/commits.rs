//! A commit whose answer is lost: whatever became of it, every outcome is there once, and the state is right.

use std::time::Duration;

use crate::harness::clients::Published;
use crate::harness::kafka;
use crate::harness::proxy::{Cut, END_TXN, Then};
use crate::shop::{SOON, Shop, story, tells};

#[test]
fn cut_before_the_commit_arrives() {
    survives("uncommitted", Cut::BeforeRequest, Then::GoOn);
}

#[test]
fn cut_before_the_commit_is_answered() {
    survives("committed", Cut::BeforeAnswer, Then::GoOn);
}

#[test]
fn cut_off_for_long_before_the_commit_arrives() {
    survives("uncommitted-long", Cut::BeforeRequest, Then::Refuse);
}

#[test]
fn cut_off_for_long_before_the_commit_is_answered() {
    survives("committed-long", Cut::BeforeAnswer, Then::Refuse);
}

/// What the network held back arrives when the client has long repeated it, and a later transaction is open.
#[test]
fn a_commit_that_arrives_once_more_ends_no_later_transaction() {
    let Some(kafka) = kafka() else { return };
    let Some(proxy) = kafka.proxy() else { return };
    let mut shop = Shop::open(kafka, "late", &["web"], 3);
    shop.setup.brokers = proxy.address();
    // There is a transaction open nearly all the time, and most of it is written when the late request comes.
    shop.setup.commit_interval = "1s";
    let service = shop.serve();
    let reader = shop.reader();
    let customers: Vec<String> = (0..30).map(|number| format!("late-{number}")).collect();
    for (kind, held) in [("product.viewed", 600), ("cart.added", 2_000), ("order.completed", 1_300)] {
        proxy.arm(END_TXN, Cut::Late(Duration::from_millis(held)), Then::GoOn);
        for customer in &customers {
            shop.does(customer, kind, 0);
            std::thread::sleep(Duration::from_millis(80));
        }
        proxy.wait_for_hit(SOON);
    }
    let bought = |read: &[Published]| customers.iter().all(|customer| tells(read, customer, "transition bought"));
    reader.until("the purchases", SOON * 2, |read| read.len() >= 120 && bought(read));
    let read = reader.to_the_end();
    for customer in &customers {
        let mut told = story(&read, customer);
        told.retain(|line| !line.starts_with("abandonment") && !line.starts_with("recovery"));
        assert_eq!(
            told,
            ["transition browsing", "transition deciding", "completion basket", "transition bought"],
            "{customer}"
        );
    }
    assert!(service.terminate().status.success());
}

fn survives(name: &str, cut: Cut, then: Then) {
    let Some(kafka) = kafka() else { return };
    let Some(proxy) = kafka.proxy() else { return };
    let mut shop = Shop::open(kafka, name, &["web"], 3);
    shop.setup.brokers = proxy.address();
    // The next commit holds what was written during one interval, so this one is long enough for all customers.
    shop.setup.commit_interval = "1s";
    // What the client meets on its way is told there.
    shop.setup.extra.push("log_level: debug".to_owned());
    let mut service = shop.serve();
    let reader = shop.reader();
    let customers: Vec<String> = (0..30).map(|number| format!("{name}-{number}")).collect();
    let everybody = |kind: &str| {
        customers.iter().for_each(|customer| {
            shop.does(customer, kind, 0);
        });
    };
    let all_tell = |read: &[Published], line: &str| customers.iter().all(|customer| tells(read, customer, line));

    everybody("product.viewed");
    reader.until("the first transitions", SOON, |read| read.len() >= 30 && all_tell(read, "transition browsing"));
    proxy.arm(END_TXN, cut, then);
    everybody("cart.added");
    proxy.wait_for_hit(SOON);
    if then == Then::Refuse {
        service.wait_for_line("the end of a commit is unknown", SOON * 2);
        proxy.accept();
    }
    everybody("order.completed");
    reader.until("the purchases", SOON * 2, |read| read.len() >= 120 && all_tell(read, "transition bought"));
    let read = reader.to_the_end();
    for customer in &customers {
        let mut told = story(&read, customer);
        // While the worker is cut off for long, time does not stand still: the purchase may come after the deadlines.
        told.retain(|line| !line.starts_with("abandonment") && !line.starts_with("recovery"));
        let expected =
            ["transition browsing", "transition deciding", "completion basket", "transition bought"].map(ToOwned::to_owned);
        assert_eq!(told, expected, "{customer}");
    }
    let ended = service.terminate();
    assert!(ended.status.success(), "{}", ended.log);
}
