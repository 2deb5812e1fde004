//! What is packed is opened again, and the customer who comes of it goes on as the one that was never packed.

use std::sync::Arc;

use super::*;
use crate::journey::{Moment, Noticed, Outcome};
use crate::model::{self, Model};
use crate::time::Span;
use crate::touchpoint::{Money, Touchpoint, Value};

const BASE: i64 = 1_767_225_600_000;

fn five_stages() -> Arc<Model> {
    let (model, faults) = model::load("five-stages.yaml", include_str!("../../../models/five-stages.yaml"));
    Arc::new(model.unwrap_or_else(|| panic!("{faults:?}")))
}

fn uuid(number: u64) -> CompactString {
    let bytes = xxhash_rust::xxh3::xxh3_128(&number.to_le_bytes()).to_le_bytes();
    uuid::Uuid::from_bytes(bytes).hyphenated().to_string().into()
}

fn touchpoint(number: u64, kind: &str, seconds: i64, properties: &[(&str, Value)]) -> Touchpoint {
    let mut properties: Vec<(CompactString, Value)> =
        properties.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
    properties.sort_by(|one, other| one.0.cmp(&other.0));
    Touchpoint {
        id: uuid(number),
        id_given: true,
        identity: Identity::customer(uuid(0)),
        linked: None,
        event_time: Timestamp::from_millis(BASE + seconds * 1_000 + 137),
        kind: kind.into(),
        channel: Some("web".into()),
        session: None,
        properties,
    }
}

fn cart(id: u64) -> Vec<(&'static str, Value)> {
    vec![("cart_id", Value::Text(uuid(id))), ("value", Value::Number(89.9)), ("currency", Value::Text("EUR".into()))]
}

/// Four touchpoints ever, five stages visited, one open basket, nothing closed.
fn profile() -> Vec<Touchpoint> {
    vec![
        touchpoint(1, "ad.seen", 0, &[]),
        touchpoint(2, "product.viewed", 3_600, &[]),
        touchpoint(3, "order.completed", 90_000, &[]),
        touchpoint(4, "cart.added", 400_000, &cart(9)),
    ]
}

fn apply(customer: &mut Customer, model: &Arc<Model>, touchpoint: &Touchpoint, history: usize) -> Vec<Outcome> {
    let (mut outcomes, mut noticed) = (Vec::new(), Noticed::default());
    let models = std::slice::from_ref(model);
    let now = touchpoint.event_time + Span::from_millis(40);
    while customer.next_deadline() <= now {
        let deadline = customer.next_deadline();
        customer.fire(models, deadline, &mut outcomes);
    }
    let moment = Moment::of(touchpoint, now, now, Span::from_secs(60));
    customer.apply(models, touchpoint, moment, history, &mut noticed, &mut outcomes);
    outcomes
}

/// A rule of the project: `docs/benchmarks.md` tells of it, and nobody notices otherwise that a customer has grown.
#[test]
fn the_profile_customer_packs_into_at_most_220_bytes() {
    let model = five_stages();
    let mut customer = Customer::new(Identity::customer(uuid(0)));
    for touchpoint in profile() {
        apply(&mut customer, &model, &touchpoint, 20);
    }
    let mut packed = Vec::new();
    customer.pack(&mut Words::default(), &mut packed);
    let journey = &customer.journeys[0];
    assert!(journey.reached.iter().filter(|at| at.is_some()).count() >= 4, "{:?}", journey.reached);
    assert_eq!(journey.episodes.len(), 1);
    assert!(packed.len() <= 220, "{} bytes", packed.len());
}

#[test]
fn a_customer_who_rests_packed_goes_on_as_one_who_does_not() {
    let model = five_stages();
    for history in [0, 1, 3, 20] {
        let mut words = Words::default();
        let (mut awake, mut hand) = (Customer::new(Identity::customer(uuid(0))), Customer::default());
        let mut packed = Vec::new();
        awake.pack(&mut words, &mut packed);
        let kinds = [
            "ad.seen",
            "product.viewed",
            "cart.added",
            "checkout.started",
            "payment.failed",
            "payment.failed",
            "order.completed",
            "search.performed",
            "cart.added",
            "cart.emptied",
            "ticket.opened",
            "review.published",
        ];
        for number in 0..300_u64 {
            let kind = kinds[(number * 7 % 12) as usize];
            // Every tenth comes twice.
            let given =
                touchpoint(number - u64::from(number % 10 == 9), kind, (number * number * 40) as i64, &cart(number / 9));
            hand.open(&packed, &words).expect("packed");
            hand.show_namesakes(&given, &words);
            let said = apply(&mut awake, &model, &given, history);
            assert_eq!(apply(&mut hand, &model, &given, history), said, "touchpoint {number}, history of {history}");
            let before = std::mem::take(&mut packed);
            hand.pack(&mut words, &mut packed);
            let mut at_once = Vec::new();
            awake.pack(&mut words, &mut at_once);
            let (found, expected) = (Customer::image(&packed, &words), Customer::image(&at_once, &words));
            assert_eq!(found, expected, "touchpoint {number}, history of {history}");
            assert_eq!(expected.expect("readable"), awake, "touchpoint {number}, history of {history}");
            let (mut change, mut followed) = (Vec::new(), Vec::new());
            difference(&before, &packed, &mut change).expect("packed");
            follow(&before, &change, &mut followed).expect("it follows");
            assert_eq!(followed, packed);
        }
    }
}

#[test]
fn bytes_that_were_not_written_are_refused_and_never_panic() {
    let model = five_stages();
    let mut customer = Customer::new(Identity::customer("c-17"));
    for number in 0..40 {
        apply(&mut customer, &model, &touchpoint(number, "cart.added", number as i64 * 50, &cart(number / 4)), 20);
    }
    let (mut words, mut packed) = (Words::default(), Vec::new());
    customer.pack(&mut words, &mut packed);
    for end in 0..packed.len() {
        drop(Customer::image(&packed[..end], &words));
        for bit in 0..8 {
            let mut damaged = packed.clone();
            damaged[end] ^= 1 << bit;
            drop(Customer::image(&damaged, &words));
        }
    }
    assert_eq!(Customer::image(&packed, &Words::default()), Err(Damaged), "without its words");
}

#[test]
fn money_of_any_currency_comes_back() {
    let mut words = Words::default();
    let mut out = Vec::new();
    let currency = crate::touchpoint::Currency::parse("CHF").expect("a currency");
    let money = Money { micros: -7, currency };
    let customer = Customer::default();
    tallies::pack_money(money, &mut Packer::of(&customer, &mut words, &mut out));
    let mut opener = Opener::of(Bytes(&out), &words, &customer.recent, 0);
    assert_eq!(tallies::open_money(&mut opener), Ok(money));
}

#[test]
fn contacts_lie_beside_the_window_and_in_no_image_of_it() {
    let model = five_stages();
    let models = std::slice::from_ref(&model);
    let (grace, max_delay) = (Span::from_days(1), Span::from_secs(60));
    let rules = crate::journey::Rules { grace, max_delay, history: 20, stale_after: Span::ZERO };
    let (mut words, mut retelling) = (Words::default(), crate::journey::Retelling::default());
    let mut customer = Customer::new(Identity::customer(uuid(0)));
    let mut images: Vec<Vec<u8>> = Vec::new();
    for (number, touchpoint) in profile().iter().enumerate() {
        let at = touchpoint.event_time;
        let received = crate::journey::Received { touchpoint, log_time: at, stream_time: at };
        customer.receive(models, received, &rules, &mut words, &mut retelling, &mut Vec::new());
        customer.contacts.state(&"chat".into(), number % 2 == 0, at);
        let mut packed = Vec::new();
        customer.pack(&mut words, &mut packed);
        customer.open(&packed, &words).expect("as it was packed");
        images.push(packed);
    }
    for pair in images.windows(2) {
        let (mut change, mut followed) = (Vec::new(), Vec::new());
        difference(&pair[0], &pair[1], &mut change).expect("packed customers");
        assert_eq!((follow(&pair[0], &change, &mut followed), &followed), (Ok(()), &pair[1]));
    }
    let last = images.last().expect("four touchpoints");
    let mut left = Customer::default();
    left.open(without_window(last).expect("a packed customer"), &words).expect("what is left");
    assert!(!left.has_window() && customer.has_window());
    assert_eq!(left.contacts, customer.contacts);
    let mut anchor = Customer::default();
    anchor.open_rest(customer.window.anchor(), &words).expect("an anchor");
    assert!(anchor.contacts.is_empty());
}
