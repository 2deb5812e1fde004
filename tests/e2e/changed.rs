//! A model that changes under running journeys: they go on in it, and nothing fires because of the change.

use std::time::Duration;

use crate::harness::{kafka, model, now_millis, say};
use crate::restarts::parks;
use crate::shop::{SOON, Shop, outcome, story, tells};

/// How long a basket may lie under the first version, and under the second, in milliseconds.
const BEFORE: i64 = 40_000;
const AFTER: i64 = 2_000;
const CUSTOMERS: usize = 40;

#[test]
fn open_baskets_go_on_under_a_changed_model_and_none_is_given_up_by_the_change() {
    let Some(kafka) = kafka() else { return };
    let mut shop = Shop::open(kafka, "changing", &["web"], 1);
    shop.setup.model = model("changing-1.yaml");
    let service = shop.serve();
    let reader = shop.reader();
    let customers: Vec<String> = (0..CUSTOMERS).map(|number| format!("waits-{number}")).collect();
    let begun: Vec<i64> = customers.iter().map(|customer| shop.does(customer, "cart.added", 0)).collect();
    for customer in ["looks", "stays"] {
        shop.does(customer, "product.viewed", 0);
    }
    shop.does("moves", "cart.added", 0);
    reader.until("everybody's stage", SOON, |read| {
        let everybody = customers.iter().map(String::as_str).chain(["looks", "stays", "moves"]);
        everybody.clone().all(|customer| !story(read, customer).is_empty())
    });
    assert!(service.terminate().status.success());

    // By the new span all baskets are overdue; by what was armed none is.
    shop.setup.model = model("changing-2.yaml");
    let service = shop.serve();
    let served = now_millis();
    let before = begun.iter().filter(|begun| **begun + AFTER < served && served < **begun + BEFORE).count();
    shop.does("looks", "cart.added", 0);
    shop.does("stays", "review.read", 0);
    let progress = shop.does("moves", "cart.viewed", 0);
    // Progress counts by the new span.
    let read = reader.until("the basket that has moved", SOON, |read| tells(read, "moves", "abandonment basket"));
    assert_eq!(deadline(outcome(&read, "moves", "abandonment", "basket").json()["at"].as_str()), progress + AFTER);
    let read = reader.until("new names", SOON, |read| {
        tells(read, "looks", "transition deciding") && tells(read, "stays", "transition comparing")
    });
    for customer in ["looks", "stays"] {
        let to = if customer == "looks" { "deciding" } else { "comparing" };
        let moved = outcome(&read, customer, "transition", to).json();
        assert_eq!((moved["from"].as_str(), moved["model_version"].as_u64()), (Some("looking"), Some(2)), "{moved}");
    }
    let armed = Duration::from_millis(BEFORE as u64) + SOON;
    let read = reader.until("every basket that was open", armed, |read| {
        customers.iter().all(|customer| tells(read, customer, "abandonment basket"))
    });
    for (customer, begun) in customers.iter().zip(&begun) {
        assert_eq!(story(&read, customer), ["transition deciding", "abandonment basket"], "{customer}");
        let abandoned = outcome(&read, customer, "abandonment", "basket");
        assert_eq!(deadline(abandoned.json()["at"].as_str()), begun + BEFORE, "{customer}");
        assert!(abandoned.timestamp >= begun + BEFORE, "{customer} was told early");
    }
    assert!(service.terminate().status.success());
    say(&format!("a changed model: {before} of {CUSTOMERS} baskets were overdue by the new span, and kept their deadlines"));

    // Who is rolled back meets what it does not know.
    shop.setup.model = model("changing-1.yaml");
    parks(&shop.setup, &["version 2 of the model changing, and this is version 1: use version 2 or a later one"]);
}

/// An instant of an outcome in milliseconds.
fn deadline(at: Option<&str>) -> i64 {
    let at = at.expect("an instant");
    let (day, time) = at.trim_end_matches('Z').split_once('T').expect("a day and a time");
    let number = |text: &str| text.parse::<i64>().expect("a number");
    let [year, month, day] = day.split('-').map(number).collect::<Vec<_>>()[..] else { panic!("{at}") };
    let (time, millis) = time.split_once('.').expect("milliseconds");
    let [hours, minutes, seconds] = time.split(':').map(number).collect::<Vec<_>>()[..] else { panic!("{at}") };
    // Days since 1970, in years that begin with March.
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = years * 365 + years / 4 - years / 100 + years / 400 + (months * 153 + 2) / 5 + day - 719_469;
    ((days * 24 + hours) * 60 + minutes) * 60_000 + seconds * 1_000 + number(millis)
}
