//! The load is the same for a seed, in order, and behaves by the figures.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use super::figures::{self as f, Figure};
use compact_str::CompactString;

use super::*;
use crate::model;
use crate::touchpoint::{IdentityKind, MAX_NAME_BYTES, Value};
use crate::wire::{self, Arrival, Format, Limits};

const MODEL: &str = include_str!("../../models/five-stages.yaml");

/// Types that the model leaves out on purpose: they are progress, and nothing else.
const UNNAMED: [&str; 5] = ["account.signed_in", "order.shipped", "order.delivered", "ticket.opened", "ticket.resolved"];

fn settings(customers: u32) -> Settings {
    Settings {
        seed: 7,
        customers,
        start: Timestamp::parse("2026-11-02T08:00:00Z").expect("an instant"),
        opening: Opening::AllNew { within: Span::from_days(7) },
    }
}

/// Sixty days of 20,000 customers, told once.
fn season() -> &'static [Touchpoint] {
    static SEASON: OnceLock<Vec<Touchpoint>> = OnceLock::new();
    SEASON.get_or_init(|| {
        let settings = settings(20_000);
        let end = settings.start + Span::from_days(60);
        Load::new(&settings).take_while(|touchpoint| touchpoint.event_time < end).collect()
    })
}

fn checksum(settings: &Settings, count: usize) -> u64 {
    let mut bytes = Vec::new();
    for touchpoint in Load::new(settings).take(count) {
        wire::encode_touchpoint(Format::Json, &touchpoint, &mut bytes);
    }
    xxhash_rust::xxh3::xxh3_64(&bytes)
}

#[test]
fn the_same_seed_gives_the_same_touchpoints_for_ever() {
    // Written down once, so that another machine, or a change of a crate, that gave other ones would be seen.
    assert_eq!(checksum(&settings(500), 20_000), 9_616_513_852_851_994_443);
    assert_ne!(checksum(&settings(500), 2_000), checksum(&Settings { seed: 8, ..settings(500) }, 2_000));
}

#[test]
fn how_many_customers_there_are_changes_nobodys_life() {
    let of_third = |customers| -> Vec<Touchpoint> {
        let load = Load::new(&settings(customers)).take(customers as usize * 60);
        load.filter(|touchpoint| touchpoint.id.split('-').nth(1) == Some("3")).take(15).collect()
    };
    let among_ten = of_third(10);
    assert_eq!(among_ten.len(), 15);
    assert_eq!(among_ten, of_third(200));
}

#[test]
fn touchpoints_come_in_order_and_are_told_apart() {
    for opening in [Opening::InFullSwing, settings(1).opening] {
        let settings = Settings { opening, ..settings(300) };
        let touchpoints: Vec<Touchpoint> = Load::new(&settings).take(30_000).collect();
        assert!(touchpoints[0].event_time >= settings.start);
        assert!(touchpoints.windows(2).all(|pair| pair[0].event_time <= pair[1].event_time));
        let ids: BTreeSet<&str> = touchpoints.iter().map(|touchpoint| touchpoint.id.as_str()).collect();
        assert_eq!(ids.len(), touchpoints.len(), "an id was given twice");
        let mut last: BTreeMap<&str, Timestamp> = BTreeMap::new();
        for touchpoint in &touchpoints {
            let number = touchpoint.identity.id.trim_start_matches(['a', 'c', '-']);
            let before = last.insert(number, touchpoint.event_time);
            assert!(before < Some(touchpoint.event_time), "{number} does two things at once");
        }
    }
}

#[test]
fn a_load_without_customers_is_empty_and_any_other_is_endless() {
    let mut nobody = Load::new(&settings(0));
    assert_eq!((nobody.next_due(), nobody.next()), (None, None));
    let mut one = Load::new(&settings(1));
    for _ in 0..5_000 {
        let due = one.next_due();
        assert_eq!(one.next().map(|touchpoint| touchpoint.event_time), due);
    }
}

#[test]
fn in_full_swing_the_first_day_shows_every_part_of_a_journey() {
    let settings = Settings { opening: Opening::InFullSwing, ..settings(3_000) };
    let end = settings.start + Span::from_days(1);
    let kinds: BTreeSet<CompactString> = Load::new(&settings)
        .take_while(|touchpoint| touchpoint.event_time < end)
        .map(|touchpoint| touchpoint.kind)
        .collect();
    for kind in ["ad.seen", "product.viewed", "cart.added", "checkout.started", "order.completed", "review.published"] {
        assert!(kinds.contains(kind), "{kind} is missing among {kinds:?}");
    }
}

#[test]
fn every_type_is_named_by_the_model_or_noticed_on_purpose() {
    let (model, diagnostics) = model::load("five-stages.yaml", MODEL);
    let model = model.unwrap_or_else(|| panic!("{diagnostics:?}"));
    let kinds: BTreeSet<&str> = season().iter().map(|touchpoint| touchpoint.kind.as_str()).collect();
    for kind in &kinds {
        assert!(model.types.names(kind) != UNNAMED.contains(kind), "{kind}");
    }
    for kind in UNNAMED {
        assert!(kinds.contains(kind), "{kind} never happens");
    }
    // And nothing that the model waits for stays away.
    for kind in ["ad.seen", "email.opened", "post.seen", "press.read", "page.viewed", "product.viewed", "search.performed"]
        .into_iter()
        .chain(["list.viewed", "promo.engaged", "review.read", "store.visited", "cart.added", "checkout.started"])
        .chain(["checkout.step", "payment.submitted", "payment.failed", "coupon.denied", "cart.emptied"])
        .chain(["question.asked", "question.answered", "order.completed"])
        .chain(["survey.answered", "review.published", "referral.shared"])
    {
        assert!(kinds.contains(kind) && model.types.names(kind), "{kind}");
    }
}

#[test]
fn touchpoints_are_what_wire_reads_back() {
    let limits = Limits::default();
    for touchpoint in Load::new(&settings(400)).take(20_000) {
        let names = touchpoint.properties.iter().map(|(name, _)| name);
        assert!(names.clone().zip(names.skip(1)).all(|(one, next)| one < next), "unsorted: {touchpoint:?}");
        assert!(touchpoint.id.len() < MAX_NAME_BYTES && touchpoint.properties.len() < limits.properties);
        for format in [Format::Json, Format::Avro] {
            let mut bytes = Vec::new();
            wire::encode_touchpoint(format, &touchpoint, &mut bytes);
            let arrival = Arrival { log_time: touchpoint.event_time, topic: "touchpoints", partition: 0, offset: 0, limits };
            let decoded = wire::decode(format, None, &bytes, &arrival).expect("readable");
            assert_eq!((decoded.touchpoint, decoded.clamped), (touchpoint.clone(), false));
        }
    }
}

/// What one checkout looked like from outside.
#[derive(Default)]
struct Checkout {
    /// Of every touchpoint that carries its id: type and instant, in order.
    seen: Vec<(String, Timestamp)>,
}

impl Checkout {
    fn first(&self, kind: &str) -> Option<Timestamp> {
        self.seen.iter().find(|(seen, _)| seen == kind).map(|(_, at)| *at)
    }

    fn within(&self, from: Timestamp, span: Span, wanted: impl Fn(&str) -> bool) -> bool {
        self.seen.iter().any(|(kind, at)| *at > from && at.since(from) <= span && wanted(kind))
    }
}

fn checkouts(touchpoints: &[Touchpoint]) -> Vec<Checkout> {
    let mut found: BTreeMap<String, Checkout> = BTreeMap::new();
    for touchpoint in touchpoints {
        if let Some(Value::Text(id)) = touchpoint.property("checkout_id") {
            let seen = (touchpoint.kind.to_string(), touchpoint.event_time);
            found.entry(id.to_string()).or_default().seen.push(seen);
        }
    }
    found.into_values().filter(|checkout| checkout.first("checkout.started").is_some()).collect()
}

/// Whether `part` of `whole` is the figure's share, within one and a half points of a hundred.
fn assert_share(figure: &Figure, part: usize, whole: usize) {
    let permille = part as f64 * 1e3 / whole as f64;
    assert!((permille - f64::from(figure.permille)).abs() < 15.0, "{}: {permille:.0} ‰ of {whole}", figure.what);
}

#[test]
fn buyers_need_help_and_leave_without_it_as_the_figures_say() {
    let minutes = |minutes: i64| Span::from_secs(60 * minutes);
    let checkouts = checkouts(season());
    assert!(checkouts.len() > 5_000, "{} checkouts", checkouts.len());
    let asked: Vec<(&Checkout, Timestamp)> =
        checkouts.iter().filter_map(|checkout| Some((checkout, checkout.first("question.asked")?))).collect();
    assert_share(&f::NEEDS_HELP, asked.len(), checkouts.len());

    let (quick, alone): (Vec<_>, Vec<_>) =
        asked.iter().partition(|(checkout, at)| checkout.within(*at, minutes(2), |kind| kind == "question.answered"));
    assert_share(&f::ANSWERED_QUICKLY, quick.len(), asked.len());

    // Whoever stays goes on within half an hour; whoever comes back does so later.
    let goes_on =
        |(checkout, at): &&(&Checkout, Timestamp)| checkout.within(*at, minutes(30), |kind| !kind.starts_with("question."));
    let left = alone.len() - alone.iter().filter(|pair| goes_on(pair)).count();
    assert_share(&f::LEAVES_UNANSWERED, left, alone.len());
    assert_eq!(quick.iter().filter(|pair| !goes_on(pair)).count(), 0, "nobody leaves over a quick answer");
}

#[test]
fn payments_fail_and_orders_are_given_as_the_figures_say() {
    let checkouts = checkouts(season());
    let paid: Vec<&Checkout> = checkouts.iter().filter(|checkout| checkout.first("payment.submitted").is_some()).collect();
    let failed = paid.iter().filter(|checkout| checkout.first("payment.failed").is_some()).count();
    assert_share(&f::PAYMENT_FAILS, failed, paid.len());
    let twice =
        paid.iter().filter(|checkout| checkout.seen.iter().filter(|(kind, _)| kind == "order.completed").count() > 1);
    assert_eq!(twice.count(), 0, "an order is given once");
}

#[test]
fn a_message_is_seen_seven_times_before_it_is_noticed() {
    let mut seen: BTreeMap<CompactString, (u32, Option<u32>)> = BTreeMap::new();
    for touchpoint in season() {
        let (exposures, before_notice) = seen.entry(touchpoint.identity.id.clone()).or_default();
        match touchpoint.kind.as_str() {
            "ad.seen" | "email.opened" | "post.seen" | "press.read" => *exposures += 1,
            _ => *before_notice = before_notice.or(Some(*exposures)),
        }
    }
    // Of those who look further after the first run of messages.
    let noticed: Vec<u32> =
        seen.values().filter_map(|(_, noticed)| *noticed).filter(|seen| (1..=10).contains(seen)).collect();
    let mean = f64::from(noticed.iter().sum::<u32>()) / noticed.len() as f64;
    assert!((mean - f64::from(f::EXPOSURES_BEFORE_NOTICE)).abs() < 0.1, "{mean}");
}

#[test]
fn some_customers_are_anonymous_until_they_sign_in_once() {
    let (mut anonymous, mut linked) = (BTreeSet::new(), BTreeMap::new());
    let mut all = BTreeSet::new();
    for touchpoint in season() {
        let id = touchpoint.identity.id.to_string();
        all.insert(id.trim_start_matches(['a', 'c']).to_owned());
        if let Some(cookie) = &touchpoint.linked {
            *linked.entry(cookie.to_string()).or_insert(0) += 1;
        } else if touchpoint.identity.kind == IdentityKind::Anonymous {
            assert!(!linked.contains_key(&id), "{id} is anonymous again");
            anonymous.insert(id);
        }
    }
    assert_share(&f::BEGINS_ANONYMOUS, anonymous.len(), all.len());
    assert!(linked.len() > anonymous.len() / 4 && linked.values().all(|times| *times == 1), "{}", linked.len());
}

#[test]
fn what_is_left_comes_back_in_the_share_and_at_the_time_that_the_figures_say() {
    let mut carts: BTreeMap<CompactString, Vec<Timestamp>> = BTreeMap::new();
    for touchpoint in season() {
        if let Some(Value::Text(id)) = touchpoint.property("cart_id") {
            carts.entry(id.clone()).or_default().push(touchpoint.event_time);
        }
    }
    let gaps: Vec<Span> = carts
        .values()
        .filter_map(|seen| seen.windows(2).map(|pair| pair[1].since(pair[0])).max())
        .filter(|gap| *gap > Span::from_secs(1_800))
        .collect();
    assert!(gaps.len() > 1_000, "{} baskets were taken up again", gaps.len());
    assert!(gaps.iter().all(|gap| *gap < Span::from_days(7)), "a basket came back after its recovery window");
}

#[test]
fn every_figure_is_a_share_with_words_and_a_source() {
    for figure in f::ALL {
        let why = match figure.source {
            f::Source::LifeCycleArticle => "the article",
            f::Source::Chosen(why) => why,
        };
        assert!(figure.permille <= 1_000 && !figure.what.is_empty() && !why.is_empty(), "{figure:?}");
    }
}

/// Whoever has gone for half an hour is offered something: the share that comes back does so within minutes, and of all others
/// nobody lives otherwise.
#[test]
fn who_is_offered_something_comes_back_for_it_as_the_figure_says() {
    let settings = Settings { start: settings(1).start, opening: Opening::InFullSwing, ..settings(4_000) };
    let number = |touchpoint: &Touchpoint| touchpoint.identity.id[2..].to_owned();
    let leaves = ["cart.added", "checkout.step", "question.asked", "coupon.denied", "payment.failed"];
    let away = Span::from_secs(31 * 60);
    let mut load = Load::new(&settings);
    let mut open: BTreeMap<String, (Timestamp, Identity)> = BTreeMap::new();
    let (mut offered, mut accepted, mut ordered) = (BTreeMap::new(), 0, 0);
    let mut told: BTreeMap<String, Vec<Touchpoint>> = BTreeMap::new();
    for _ in 0..200_000 {
        let due = load.next_due().expect("an endless load");
        open.retain(|number, (since, who)| {
            let is_away = due.since(*since) > away;
            if is_away {
                load.offer(who, due);
                offered.insert(number.clone(), due);
            }
            !is_away
        });
        let touchpoint = load.next().expect("an endless load");
        let number = number(&touchpoint);
        open.remove(&number);
        if leaves.contains(&touchpoint.kind.as_str()) && !offered.contains_key(&number) {
            open.insert(number.clone(), (touchpoint.event_time, touchpoint.identity.clone()));
        }
        if let Some(at) = offered.get(&number).filter(|_| touchpoint.kind == "offer.accepted") {
            assert!(touchpoint.event_time.since(*at) <= Span::from_secs(600));
            accepted += 1;
        }
        ordered += usize::from(touchpoint.kind == "order.completed");
        told.entry(number).or_default().push(touchpoint);
    }
    assert_share(&f::TAKES_OFFER_UP, accepted, offered.len());
    let mut undisturbed: BTreeMap<String, Vec<Touchpoint>> = BTreeMap::new();
    let mut ordered_alone = 0;
    for touchpoint in Load::new(&settings).take(200_000) {
        ordered_alone += usize::from(touchpoint.kind == "order.completed");
        undisturbed.entry(number(&touchpoint)).or_default().push(touchpoint);
    }
    assert!(ordered > ordered_alone, "{ordered} orders with offers, {ordered_alone} without");
    let mut compared = 0;
    for (number, lived) in told.iter().filter(|(number, _)| !offered.contains_key(*number)) {
        // Both loads end after so many touchpoints, not at one instant.
        let (lived, alone) = (lived.iter(), undisturbed.get(number).into_iter().flatten());
        assert!(lived.zip(alone).all(|(one, other)| one == other), "{number} lives otherwise");
        compared += 1;
    }
    assert!(compared > 1_000, "{compared}");
}

#[test]
fn who_is_not_of_the_load_hears_no_offer() {
    let mut load = Load::new(&settings(3));
    let now = load.next_due().expect("a load");
    for stranger in ["", "c", "c-", "c-x", "c-99", "c-4294967296", "ü-1"] {
        load.offer(&Identity::customer(stranger), now);
    }
    assert_eq!(load.take(100).collect::<Vec<_>>(), Load::new(&settings(3)).take(100).collect::<Vec<_>>());
}
