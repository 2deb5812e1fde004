//! A backlog is decided as it would have been live: what comes later in the log than its deadline's beginning still counts.

use crate::harness::clients::Record;
use crate::harness::{kafka, now_millis, wait};
use crate::shop::{BASKET_QUIET, SOON, Shop, outcome, story, tells, touchpoint};

#[test]
fn a_purchase_further_on_in_the_backlog_prevents_the_abandonment() {
    let Some(kafka) = kafka() else { return };
    let shop = Shop::open(kafka, "backlog", &["web", "app"], 1);
    // Nobody reads yet. More than one fetch lies between basket and purchase.
    let begun = ["same", "other", "nobody"].map(|customer| shop.does(customer, "cart.added", 0));
    let filling = "x".repeat(1_000);
    for input in &shop.setup.inputs {
        for number in 0..6_000 {
            let customer = format!("filler-{}", number % 100);
            let mut value = touchpoint(&customer, "page.scrolled", now_millis());
            value.pop();
            value.extend_from_slice(format!(",\"note\":\"{filling}\"}}").as_bytes());
            shop.writer.send(Record { topic: input, key: &customer, value: &value, partition: None });
        }
    }
    shop.writer.flush();
    for (customer, input) in [("same", 0), ("other", 1)] {
        let at = shop.does(customer, "order.completed", input);
        assert!(at.max(now_millis()) < begun[0] + BASKET_QUIET, "this machine is too slow for the test");
    }
    wait::until_true("the deadlines to pass", SOON, || now_millis() > begun[2] + BASKET_QUIET + 1_000);

    let _service = shop.serve();
    let reader = shop.reader();
    let read = reader.until("what is true", SOON, |read| {
        tells(read, "nobody", "abandonment basket")
            && ["same", "other"].iter().all(|who| tells(read, who, "transition bought"))
    });
    for customer in ["same", "other"] {
        assert_eq!(story(&read, customer), ["transition deciding", "completion basket", "transition bought"], "{customer}");
    }
    let abandoned = outcome(&read, "nobody", "abandonment", "basket").json();
    let deadline = abandoned["at"].as_str().expect("an instant").parse::<jiff::Timestamp>().expect("an instant");
    assert_eq!(deadline.as_millisecond(), begun[2] + BASKET_QUIET, "however late it was found");
}
